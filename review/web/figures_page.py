"""`/figures`: how often flags were fraud, how verdicts go, and, for leads, whose, and what the models miss."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.templating import Jinja2Templates

from review.precision import Precision
from review.verdict_figures import Day, days_before, times_to_verdict, verdicts_a_day, waiting
from review.web.account_desk import person_of
from review.web.bar_chart import BarChart, Column, bar_chart
from review.web.dashboard_view import span
from review.web.needs import needs
from review.web.parts import Parts
from review.web.wording import percent

DAYS = {"7": "7 days", "30": "30 days", "90": "90 days"}
NAMES_SHOWN = 50


def figures_routes(parts: Parts, templates: Jinja2Templates) -> list[Route]:
    """The page of figures: every role sees those of models and rules."""
    page, looks = FiguresPage(parts, templates), needs("viewer")
    return [Route("/figures", looks(page.page))]


class FiguresPage:
    """Figures of one store."""

    def __init__(self, parts: Parts, templates: Jinja2Templates) -> None:
        self._parts = parts
        self._templates = templates

    async def page(self, request: Request) -> Response:
        """`GET /figures?days=7|30|90`."""
        days = request.query_params.get("days", "30")
        days = days if days in DAYS else "30"
        now, leads = self._parts.clock(), person_of(request).may("lead")
        found = await self._parts.off_loop(self._read, now, int(days), leads)
        context = {"at": "/figures", "now": now, "days": days, "choices": DAYS, "leads": leads, "span": span, **found}
        return self._templates.TemplateResponse(request, "figures.html", context)

    def _read(self, now: datetime, days: int, leads: bool) -> dict[str, Any]:
        cases, since = self._parts.cases, days_before(now, days)
        waits = waiting(cases.database, now)
        a_day = verdicts_a_day(cases.database, since, now)
        return {
            "chart": chart_of(a_day),
            "decided": sum(one.fraud + one.legit + one.unknown for one in a_day),
            "fraud": sum(one.fraud for one in a_day),
            "times": times_to_verdict(cases.database, since),
            "overdue": waits.overdue,
            "open": waits.cases,
            "models": _most(cases.precision("model", since)),
            "rules": _most(cases.precision("rule", since)),
            "analysts": _most(cases.precision("analyst", since)) if leads else [],
            "missed": cases.missed(since) if leads else None,
        }


def chart_of(days: list[Day]) -> BarChart | None:
    """Verdicts a day; None where there is none."""
    if not any(one.fraud or one.legit or one.unknown for one in days):
        return None
    columns = [
        Column(
            f"{one.day.day} {one.day:%b}",
            {"fraud": one.fraud, "legit": one.legit, "unknown": one.unknown},
            f"{one.day}: {one.fraud:,} fraud, {one.legit:,} legit, {one.unknown:,} unknown, "
            f"{percent(one.fraud / max(one.fraud + one.legit, 1))} fraud",
        )
        for one in days
    ]
    return bar_chart(columns, 720.0, 190.0)


def _most(found: list[Precision]) -> list[Precision]:
    return found[:NAMES_SHOWN]
