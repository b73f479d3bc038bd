"""Writing a rule: the page of a new one, what a script asks while somebody types, and trying a text at once."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from review.rule_desk import RuleRefused
from review.rule_facts import ACTIONS, Fault
from review.web.rule_form import PERIODS, WHEN_LIMIT, Form, one_line, period_in, place_of, rule_text, why_in
from review.web.rule_room import RuleRoom, form_of, from_its_first_word
from review.web.rule_wording import rule_address

UNNAMED = "untitled"
FIELDS = ("name", "when", "action", "because", "priority", "add", "tag")


class RuleEditorPage:
    """`/rules/new`, `/rules/check`, `/rules/words` and `/rules/try`."""

    def __init__(self, room: RuleRoom) -> None:
        self._room = room

    async def new(self, request: Request) -> Response:
        """`GET /rules/new`: empty, or with what the address says; nothing is kept until somebody says so."""
        given = request.query_params
        form = from_its_first_word({name: given[name][: 2 * WHEN_LIMIT] for name in FIELDS if name in given})
        fault = None
        if form.get("when"):
            fault = await self._room.off_loop(self._room.desk.fault, one_line(form["when"]))
        return self._page(request, form, fault)

    async def write(self, request: Request) -> Response:
        """`POST /rules/new`: write the draft of a name that there is not."""
        form = from_its_first_word(await form_of(request))
        try:
            text = rule_text(form)
            await self._room.off_loop(self._draft, form, request.state.person.name)
        except RuleRefused as error:
            return self._page(request, form, error.fault, str(error), 422)
        return RedirectResponse(f"{rule_address(text.name)}?done=written", 303)

    async def check(self, request: Request) -> Response:
        """`POST /rules/check`: what is wrong with a condition, as JSON, while somebody types it."""
        when = (await form_of(request)).get("when", "")[: 4 * WHEN_LIMIT]
        if not when.strip():
            return JSONResponse({"fault": None})
        fault = await self._room.off_loop(self._room.desk.fault, one_line(when))
        if fault is None:
            return JSONResponse({"fault": None})
        place = place_of(when, fault)
        before = one_line(when)[: fault.column]
        said = {"at": _units(before), "length": _units(place.at), "line": place.line, "column": place.column}
        return JSONResponse({"fault": said | {"message": fault.message}})

    async def words(self, request: Request) -> Response:
        """`GET /rules/words`: the language, for completion."""
        return JSONResponse([one._asdict() for one in await self._room.off_loop(self._room.desk.words)])

    async def attempt(self, request: Request) -> Response:
        """`POST /rules/try`: backtest a text that is in no book, and so leaves no trace in one."""
        form, now = from_its_first_word(await form_of(request)), self._room.parts.clock()
        by = request.state.person.name
        try:
            since, until, words = period_in(form, now)
            text = rule_text({**form, "name": form.get("name", "").strip() or UNNAMED})
            trial = await self._room.off_loop(self._room.desk.trial, text, since, until, False, by)
            begun = self._room.backtests.begin(trial, text.name, text, by, words)
        except RuleRefused as error:
            return self._page(request, form, error.fault, str(error), 422)
        return RedirectResponse(f"/rules/trials/{begun.id}", 303)

    def _draft(self, form: Form, by: str) -> None:
        desk, now = self._room.desk, self._room.parts.clock()
        text = rule_text(form)
        if desk.book(now).rule(text.name) is not None:
            raise RuleRefused(f"there is a rule {text.name!r} already; choose another name, or write its next revision")
        desk.draft(text, by, why_in(form), now)

    def _page(
        self, request: Request, form: Form, fault: Fault | None = None, problem: str = "", status: int = 200
    ) -> Response:
        return self._room.page(
            request,
            "rule_new.html",
            status,
            form=form,
            fault=fault,
            place=place_of(form.get("when", ""), fault) if fault else None,
            problem=problem,
            actions=ACTIONS,
            periods=PERIODS,
        )


def _units(text: str) -> int:
    """How long a text is to a script, which counts in units of UTF-16."""
    return len(text.encode("utf-16-le")) // 2
