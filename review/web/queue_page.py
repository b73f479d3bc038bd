"""The queue: what is shown of it, the next case, saved views."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from review.web.panes import Panes
from review.web.parts import Parts
from review.web.queue_address import address_of, filter_in

VIEW_NAME_LIMIT = 40


class QueuePages:
    """Pages of the queue over one store."""

    def __init__(self, parts: Parts, panes: Panes) -> None:
        self._parts = parts
        self._panes = panes

    async def queue(self, request: Request) -> Response:
        """`GET /review`, and `GET /review/list` for a script that wants the list alone."""
        return await self._panes.page(request)

    async def next(self, request: Request) -> Response:
        """`POST /review/next`: claim the most urgent case that is free, and open it."""
        filter = filter_in(request.query_params)
        person, now = request.state.person, self._parts.clock()
        case = await self._parts.off_loop(self._parts.cases.claim_next, person.name, now, filter)
        if case is None:
            return await self._panes.page(
                request, problem="No case of this view is free: the others have them, or they are snoozed."
            )
        return RedirectResponse(f"/review/cases/{case.case_id}{address_of(filter)}", 303)

    async def save_view(self, request: Request) -> Response:
        """`POST /review/views`: keep the filter of the address under a name."""
        filter = filter_in(request.query_params)
        form = await request.form()
        name = str(form.get("name", "")).strip()
        if not 1 <= len(name) <= VIEW_NAME_LIMIT:
            problem = f"A view's name has 1 to {VIEW_NAME_LIMIT} characters; this one has {len(name)}."
            return await self._panes.page(request, status=422, problem=problem)
        shared = form.get("shared") == "true"
        try:
            await self._parts.off_loop(self._parts.cases.save_view, request.state.person.name, name, filter, shared)
        except ValueError as error:
            return await self._panes.page(request, status=422, problem=str(error))
        return RedirectResponse(f"/review{address_of(filter)}", 303)

    async def drop_view(self, request: Request) -> Response:
        """`POST /review/views/drop`: forget a view of one's own."""
        form = await request.form()
        await self._parts.off_loop(self._parts.cases.drop_view, request.state.person.name, str(form.get("name", "")))
        return RedirectResponse("/review", 303)
