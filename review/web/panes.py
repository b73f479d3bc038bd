"""The page of queue and case: one template, whole for a browser, in part for a script that asks for a part."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.templating import Jinja2Templates

from review.case import Place
from review.case_filter import QueueFilter
from review.person import Person
from review.refusals import UnknownCase
from review.verdict_life import life_of
from review.web.case_view import case_view
from review.web.colleagues import Colleagues
from review.web.due import due
from review.web.parts import Parts
from review.web.queue_address import BUILT_IN, EVERYTHING, Asked, InvalidFilter, address_of, asked, chips
from review.web.toast import toast_of

DONE_LIMIT = 200
"""How many cases one press may decide, and so take back."""
PARTS = {"case": "case", "list": "list", "more": "list"}
"""What a script wants to put in place, and the part of the page that has it."""


class Panes:
    """Renders queue and case for whoever asks."""

    def __init__(self, parts: Parts, templates: Jinja2Templates, colleagues: Colleagues) -> None:
        self._parts = parts
        self._templates = templates
        self._colleagues = colleagues

    async def page(
        self, request: Request, case_id: str = "", status: int = 200, problem: str = "", done: tuple[str, ...] = ()
    ) -> Response:
        """Queue and case, or that part of it which the request's `HX-Target` names. 404 where there is no such case.

        `done` are cases that this request decided; a request that only shows has those of its address.
        """
        part = PARTS.get(request.headers.get("hx-target", ""), "")
        try:
            wanted = asked(request.query_params)
        except InvalidFilter as error:
            wanted, problem, status = asked({}), problem or str(error), max(status, 422)
        done = done or tuple(filter(None, request.query_params.get("done", "").split(",")))[:DONE_LIMIT]
        person: Person = request.state.person
        try:
            context = await self._parts.off_loop(self._read, person, wanted, case_id, done, part)
        except UnknownCase as error:
            problem, status = str(error), 404
            context = await self._parts.off_loop(self._read, person, wanted, "", done, part)
        name = f"{part}_part.html" if part else "review.html"
        # A form that was refused has an address that nobody can open: the page's own stays.
        headers = {"hx-push-url": "false"} if request.method == "POST" else None
        return self._templates.TemplateResponse(request, name, {**context, "problem": problem}, status, headers)

    def _read(self, person: Person, wanted: Asked, case_id: str, done: tuple[str, ...], part: str) -> dict[str, Any]:
        now = self._parts.clock()
        context: dict[str, Any] = {
            "at": "/review",
            "now": now,
            "filter": wanted.filter,
            "here": address_of(wanted.filter),
            # Read before all else: what is done while the rest is read is told again.
            "after": self._parts.cases.last_deed(),
            "may_act": person.may("analyst"),
            "view": None,
            "life": None,
            "toast": None,
            "due": due,
            "everything": EVERYTHING,
        }
        if part != "list":
            context |= self._of_case(person, case_id, now)
        if part != "case":
            context |= self._of_list(person, wanted, now)
        if not part:
            context |= self._of_queue(person, wanted.filter)
            context["toast"] = toast_of(self._parts.cases, person, done, now, self._parts.policy.undo_s)
        return context

    def _of_case(self, person: Person, case_id: str, now: datetime) -> Mapping[str, Any]:
        view = case_view(self._parts.cases, case_id, person, now) if case_id else None
        life = None
        if view is not None:
            life = life_of(view.case, view.labels, self._parts.lessons, self._parts.series, now)
        return {
            "view": view,
            "life": life,
            "colleagues": self._colleagues.names(),
            "explains": self._parts.explain is not None,
        }

    def _of_list(self, person: Person, wanted: Asked, now: datetime) -> Mapping[str, Any]:
        page = self._parts.cases.page(wanted.limit, wanted.after, wanted.filter, now, person.name)
        more = address_of(wanted.filter, after=Place.of(page.cases[-1]).text) if page.has_more else ""
        return {
            "cases": page.cases,
            "more": more,
            "total": page.total,
            "is_first": wanted.after is None,
            "is_least": page.is_least,
        }

    def _of_queue(self, person: Person, filter: QueueFilter) -> Mapping[str, Any]:
        cases = self._parts.cases
        views = cases.views(person.name)
        return {
            "chips": chips(filter),
            "tabs": [(name, address_of(one), one == filter) for name, one in BUILT_IN],
            "views": [(view, address_of(view.filter), view.filter == filter) for view in views],
            "rules": cases.rules(),
            "use_cases": cases.use_cases(),
            "people": self._colleagues.names(),
            "is_known": any(one == filter for _, one in BUILT_IN) or any(view.filter == filter for view in views),
        }
