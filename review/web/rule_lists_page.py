"""Kept lists: who is on them and until when; putting values on, pasted by the hundred, and taking them off."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from review.person import Person
from review.rule_desk import RuleRefused
from review.web.rule_form import LIVES, Form, until_in, whole, why_in
from review.web.rule_room import RuleRoom, form_of

SHOWN = 200
PASTED_LIMIT = 5000
_BETWEEN = re.compile(r"[\n\r,;\t]+")
_QUOTES = "\"' "


class RuleListsPage:
    """`/rules/lists` and what is done there."""

    def __init__(self, room: RuleRoom) -> None:
        self._room = room

    async def page(self, request: Request) -> Response:
        """`GET /rules/lists`: all lists, or one of them with its values: `?list=&field=&text=`."""
        return await self._shown(request)

    async def put(self, request: Request) -> Response:
        """`POST /rules/lists/put`: what was pasted, on a list."""
        return await self._done(request, "put")

    async def take_off(self, request: Request) -> Response:
        """`POST /rules/lists/take-off`: what is ticked, off it."""
        return await self._done(request, "take-off")

    async def agree(self, request: Request) -> Response:
        """`POST /rules/lists/agree`: to a change that waits, by a lead who did not propose it."""
        return await self._done(request, "agreed")

    async def refuse(self, request: Request) -> Response:
        """`POST /rules/lists/refuse`: by a lead, or by whoever proposed it, who withdraws it."""
        return await self._done(request, "refused")

    async def _done(self, request: Request, deed: str) -> Response:
        ticked = [str(one) for one in (await request.form()).getlist("value")][:SHOWN]
        form, person, now = await form_of(request), request.state.person, self._room.parts.clock()
        act = self._answer if deed in ("agreed", "refused") else self._do
        try:
            waits = await self._room.off_loop(act, deed, form, ticked, person, now)
        except RuleRefused as error:
            return await self._shown(request, str(error), 422, form)
        done = ("urgent" if form.get("urgent") else "waits") if waits else deed
        where = {"list": form.get("list", "").strip(), "field": form.get("field", ""), "done": done}
        return RedirectResponse(f"/rules/lists?{urlencode(where)}", 303)

    def _answer(self, deed: str, form: Form, _: list[str], person: Person, now: datetime) -> bool:
        desk, version = self._room.desk, whole(form, "version", 10**9)
        found = next((one for one in desk.book(now).waiting if one.version == version), None)
        if found is None:
            raise RuleRefused("that change does not wait any more; somebody else answered it, or its week is over")
        if not person.may("lead") and (deed == "agreed" or found.by != person.name):
            raise RuleRefused(f"a lead answers what {found.by} proposed")
        desk.answer(found.list, version, deed == "agreed", person.name, why_in(form), now)
        return False

    def _do(self, deed: str, form: Form, ticked: list[str], person: Person, now: datetime) -> bool:
        by = person.name
        desk, name, field, why = self._room.desk, form.get("list", "").strip(), form.get("field", ""), why_in(form)
        if deed == "take-off":
            if not ticked:
                raise RuleRefused("nothing is ticked; tick what is to come off the list")
            return desk.take_off(name, field, ticked, by, why, now)
        values = pasted(form.get("values", ""))
        if not values:
            raise RuleRefused("there is nothing in the field; write or paste values, one a line")
        if len(values) > PASTED_LIMIT:
            raise RuleRefused(f"these are {len(values):,} values; paste at most {PASTED_LIMIT:,} at once")
        until, urgent = until_in(form, "days", now), form.get("urgent") == "1"
        return desk.put(name, field, values, until, by, why, now, urgent=urgent)

    async def _shown(
        self, request: Request, problem: str = "", status: int = 200, form: Form | None = None
    ) -> Response:
        asked = form or request.query_params
        chosen = str(asked.get("list", ""))[:64], str(asked.get("field", ""))[:64]
        text = request.query_params.get("text", "").strip()[:128]
        context = await self._room.off_loop(self._read, *chosen, text)
        return self._room.page(
            request,
            "rule_lists.html",
            status,
            **context,
            problem=problem,
            form=form or {},
            lives=LIVES,
        )

    def _read(self, list: str, field: str, text: str) -> dict[str, Any]:
        now, desk = self._room.parts.clock(), self._room.desk
        book = desk.book(now)
        found, total = desk.members(list, field, text, SHOWN, now) if list and field else ([], 0)
        return {
            "lists": book.lists,
            "waiting": book.waiting,
            "fields": desk.fields(),
            "list": list,
            "field": field,
            "text": text,
            "members": found,
            "total": total,
            "pasted_limit": PASTED_LIMIT,
        }


def pasted(text: str) -> list[str]:
    """The values of pasted text: one a line, or with commas, semicolons or tabs between; each once, without quotes.

    >>> pasted('card-1, "card-2"\\ncard-1')
    ['card-1', 'card-2']
    """
    return list(dict.fromkeys(value for one in _BETWEEN.split(text) if (value := one.strip(_QUOTES))))
