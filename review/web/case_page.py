"""One case: all that is known of it, and what takes longer, when it is asked for."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.templating import Jinja2Templates

from review.ports import Explanation
from review.refusals import UnknownCase
from review.verdict_life import VerdictLife, life_of
from review.web.link_layout import link_drawing
from review.web.panes import Panes
from review.web.parts import Parts
from review.web.queue_address import address_of, filter_in

NEAREST = 5
LINKED_LIMIT = 120
SHARES_LIMIT = 25
SHARE_WIDTH = 56.0


class CasePages:
    """Pages of cases over one store."""

    def __init__(self, parts: Parts, panes: Panes, templates: Jinja2Templates) -> None:
        self._parts = parts
        self._panes = panes
        self._templates = templates

    async def case(self, request: Request) -> Response:
        """`GET /review/cases/{case_id}`: the case beside its queue."""
        return await self._panes.page(request, request.path_params["case_id"])

    async def nearest(self, request: Request) -> Response:
        """`GET /review/cases/{case_id}/nearest`: decided cases like it."""
        try:
            similar = await self._parts.off_loop(self._parts.cases.nearest, request.path_params["case_id"], NEAREST)
        except UnknownCase as error:
            return await self._panes.page(request, status=404, problem=str(error))
        return self._part(request, "nearest.html", similar=similar, here=address_of(filter_in(request.query_params)))

    async def linked(self, request: Request) -> Response:
        """`GET /review/cases/{case_id}/linked`: what shares its device, customer or place, drawn and as a list."""
        cases, case_id = self._parts.cases, request.path_params["case_id"]
        try:
            graph = await self._parts.off_loop(cases.linked, case_id, depth=2, limit=LINKED_LIMIT)
        except UnknownCase as error:
            return await self._panes.page(request, status=404, problem=str(error))
        here = address_of(filter_in(request.query_params))
        return self._part(request, "linked.html", drawing=link_drawing(graph), nodes=graph.nodes, here=here)

    async def life(self, request: Request) -> Response:
        """`GET /review/cases/{case_id}/life`: how far the case's verdict is; nothing where it has none."""
        case_id = request.path_params["case_id"]
        try:
            life = await self._parts.off_loop(self._life, case_id)
        except UnknownCase as error:
            return await self._panes.page(request, status=404, problem=str(error))
        if life is None:
            return Response('<div id="life"></div>', media_type="text/html")
        here = address_of(filter_in(request.query_params))
        return self._part(request, "life.html", life=life, path=f"/review/cases/{case_id}", here=here)

    def _life(self, case_id: str) -> VerdictLife | None:
        cases = self._parts.cases
        labels = cases.labels(case_id)
        return life_of(cases.case(case_id), labels, self._parts.lessons, self._parts.series, self._parts.clock())

    async def exact(self, request: Request) -> Response:
        """`GET /review/cases/{case_id}/exact`: the gravest event's score, shared out exactly."""
        try:
            exact = await self._parts.off_loop(self._explained, request.path_params["case_id"])
        except (LookupError, ValueError) as error:
            return self._part(request, "exact.html", problem=str(error))
        most = max((abs(one.contribution) for one in exact.contributions), default=0.0) or 1.0
        shares = [
            (one, round(abs(one.contribution) / most * SHARE_WIDTH, 1)) for one in exact.contributions[:SHARES_LIMIT]
        ]
        return self._part(request, "exact.html", exact=exact, shares=shares, problem="")

    def _explained(self, case_id: str) -> Explanation:
        if self._parts.explain is None:
            raise LookupError("these pages have no models to explain from")
        decision = self._parts.cases.decision(self._parts.cases.case(case_id))
        if decision is None:
            raise LookupError("the event that this would explain was erased")
        return self._parts.explain.explain(decision)

    def _part(self, request: Request, name: str, **context: object) -> Response:
        is_part = "hx-request" in request.headers
        return self._templates.TemplateResponse(request, name, {"at": "/review", "is_part": is_part, **context})
