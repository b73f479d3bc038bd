"""The pages as one application: the live dashboard, `/review`, the accounts' pages, and what they load."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from review.engine import CasesUnavailable
from review.web.account_desk import AccountDesk
from review.web.account_routes import account_routes
from review.web.alerts_page import alert_routes
from review.web.case_deeds import CaseDeeds
from review.web.case_page import CasePages
from review.web.colleagues import Colleagues
from review.web.dashboard_page import dashboard_routes
from review.web.deed_watch import DeedWatch
from review.web.events_page import EventsPage
from review.web.figures_page import figures_routes
from review.web.gate import Gate
from review.web.needs import needs
from review.web.panes import Panes
from review.web.parts import Parts
from review.web.queue_page import QueuePages
from review.web.refusal import CASES_AWAY, Refuse, refusal_pages
from review.web.rule_routes import rule_routes
from review.web.safe_headers import SafeHeaders
from review.web.sql_page import sql_routes
from review.web.theme import theme_page
from review.web.widget_desk import widget_routes

Answer = Callable[[Request, Exception], Awaitable[Response]]
SEGMENTS = frozenset(
    {
        *("", "account", "alerts", "dashboard", "figures", "review", "rules", "set-password", "sign-in", "sign-out"),
        *("sql", "static", "theme", "users", "widgets"),
    }
)
"""First parts of the paths of pages; the empty one is `/`."""
logger = logging.getLogger(__name__)


def make_app(parts: Parts, more: Sequence[BaseRoute] = ()) -> ASGIApp:
    """All pages behind the gate. `more` are other pages of the same site, which have to say whom they need."""
    templates = parts.templates()
    refuse = refusal_pages(templates)
    desk = AccountDesk(parts.accounts, parts.site, templates, parts.clock, parts.off_loop, parts.provider)
    routes: list[BaseRoute] = [
        Route("/static/{name:path}", parts.files.page),
        Route("/theme", theme_page, methods=["POST"]),
        *review_routes(parts),
        *account_routes(desk),
        *alert_routes(parts),
        *dashboard_routes(parts, templates),
        *rule_routes(parts, templates),
        *widget_routes(parts, templates),
        *sql_routes(parts, templates),
        *figures_routes(parts, templates),
        *more,
    ]
    pages = Starlette(
        routes=routes, exception_handlers={HTTPException: _refused(refuse), CasesUnavailable: _refused(refuse)}
    )
    pages.state.alerts = parts.alerts
    free = ("/static/", "/widgets/")
    return SafeHeaders(Gate(pages, parts.accounts, parts.site, parts.clock, refuse, free))


def review_routes(parts: Parts) -> list[BaseRoute]:
    """The routes under `/review`, without a gate: a viewer looks, an analyst acts."""
    templates = parts.templates()
    colleagues = Colleagues(parts.accounts, parts.clock)
    panes = Panes(parts, templates, colleagues)
    queue, case, deeds = (
        QueuePages(parts, panes),
        CasePages(parts, panes, templates),
        CaseDeeds(parts, panes, colleagues),
    )
    events = EventsPage(DeedWatch(parts.cases, parts.off_loop))
    looks, acts = needs("viewer"), needs("analyst")
    return [
        Route("/review", looks(queue.queue)),
        Route("/review/list", looks(queue.queue)),
        Route("/review/events", looks(events.page)),
        Route("/review/next", acts(queue.next), methods=["POST"]),
        Route("/review/bulk", acts(deeds.bulk), methods=["POST"]),
        Route("/review/undo", acts(deeds.undo), methods=["POST"]),
        Route("/review/views", acts(queue.save_view), methods=["POST"]),
        Route("/review/views/drop", acts(queue.drop_view), methods=["POST"]),
        Route("/review/cases/{case_id}", looks(case.case)),
        Route("/review/cases/{case_id}/nearest", looks(case.nearest)),
        Route("/review/cases/{case_id}/linked", looks(case.linked)),
        Route("/review/cases/{case_id}/life", looks(case.life)),
        Route("/review/cases/{case_id}/exact", looks(case.exact)),
        Route("/review/cases/{case_id}/touch", acts(deeds.touch), methods=["POST"]),
        Route("/review/cases/{case_id}/{deed}", acts(deeds.do), methods=["POST"]),
    ]


def _refused(refuse: Refuse) -> Answer:
    async def answer(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException):
            return refuse(request, error.status_code, error.detail, error.headers or {})
        logger.error("the case store: %s", error)
        return refuse(request, 503, CASES_AWAY, {"retry-after": "5"})

    return answer
