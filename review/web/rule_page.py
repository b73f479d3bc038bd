"""One rule: what is live, what is on its way, its backtest, its snoozes, its history, and what may be done to it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from review.backtests import Backtest
from review.rule_desk import RuleRefused
from review.rule_facts import ACTIONS, Fault
from review.web.backtest_page import backtest_context
from review.web.rule_form import (
    LIVES,
    PERIODS,
    SNOOZES_H,
    Form,
    one_line,
    period_in,
    place_of,
    rule_text,
    until_in,
    whole,
    why_in,
)
from review.web.rule_room import RuleRoom, form_of, from_its_first_word
from review.web.rule_wording import name_in, rule_address
from review.web.rules_page import RulesPage

STEPS_SHOWN = 100
SNOOZE_LIMIT_H = 24 * 366

Done = Callable[[str, Form, str, datetime], str]
"""Does it, for a name, a form, somebody, now; what to add to the rule's address."""


class RulePage:
    """`/rules/{name}` and its deeds."""

    def __init__(self, room: RuleRoom, book: RulesPage) -> None:
        self._room = room
        self._book = book
        self._deeds: dict[str, Done] = {
            "write": self._write,
            "backtest": self._backtest,
            "shadow": self._shadow,
            "snooze": self._snooze,
            "wake": self._wake,
        }
        self._lead_deeds: dict[str, Done] = {"approve": self._approve, "expire": self._expire}

    async def page(self, request: Request) -> Response:
        """`GET /rules/{name}`."""
        return await self._shown(request)

    async def do(self, request: Request) -> Response:
        """`POST /rules/{name}/{deed}`, for analysts."""
        return await self._done(request, self._deeds)

    async def lead(self, request: Request) -> Response:
        """`POST /rules/{name}/lead/{deed}`, approve and expire, for leads."""
        return await self._done(request, self._lead_deeds)

    async def _done(self, request: Request, deeds: dict[str, Done]) -> Response:
        name, deed = name_in(request.path_params["name"]), request.path_params["deed"]
        if deed not in deeds:
            return self._room.refuse(request, 404, f"nothing is called {deed[:40]!r} here")
        form, by, now = await form_of(request), request.state.person.name, self._room.parts.clock()
        try:
            more = await self._room.off_loop(deeds[deed], name, form, by, now)
        except RuleRefused as error:
            written = from_its_first_word(form) if deed == "write" else None
            return await self._shown(request, str(error), 422, written, error.fault)
        return RedirectResponse(rule_address(name) + more, 303)

    async def _shown(
        self,
        request: Request,
        problem: str = "",
        status: int = 200,
        written: Form | None = None,
        fault: Fault | None = None,
    ) -> Response:
        name = name_in(request.path_params["name"])
        trial = self._room.backtests.find(request.query_params.get("trial", ""))
        context = await self._room.off_loop(self._read, name, trial)
        if context is None:
            return self._room.refuse(request, 404, f"there is no rule {name[:64]!r} in the book")
        text = context["following"].text if context["following"] else None
        form = written or {} if text is None else written or form_of_text(text)
        return self._room.page(
            request,
            "rule.html",
            status,
            **context,
            problem=problem,
            form=form,
            fault=fault,
            place=place_of(form.get("when", ""), fault) if fault else None,
            is_written=written is not None,
            actions=ACTIONS,
            lives=LIVES,
            periods=PERIODS,
            snoozes_h=SNOOZES_H,
            value=request.query_params.get("value", "")[:128],
        )

    def _read(self, name: str, trial: Backtest | None) -> dict[str, Any] | None:
        now = self._room.parts.clock()
        desk = self._room.desk
        rule = desk.book(now).rule(name)
        if rule is None:
            return None
        if trial is None or trial.name != name or trial.text is not None:
            trial = self._room.backtests.newest(name)
        return {
            "rule": rule,
            "row": self._book.row(rule, now),
            # What one would change: the revision on its way, else the live one.
            "following": rule.next or rule.live,
            "steps": desk.steps(name, STEPS_SHOWN),
            "fields": desk.fields(),
            **backtest_context(trial, now),
        }

    def _write(self, name: str, form: Form, by: str, now: datetime) -> str:
        self._room.desk.draft(rule_text(form, name), by, why_in(form), now)
        return "?done=written"

    def _backtest(self, name: str, form: Form, by: str, now: datetime) -> str:
        since, until, words = period_in(form, now)
        rule = self._room.desk.book(now).rule(name)
        if rule is not None and (tried := rule.next or rule.live) and tried.revision:
            words = f"revision {tried.revision}, {words}"
        trial = self._room.desk.trial(name, since, until, form.get("lists") == "now", by)
        return f"?trial={self._room.backtests.begin(trial, name, None, by, words).id}#backtest"

    def _shadow(self, name: str, form: Form, by: str, now: datetime) -> str:
        self._room.desk.shadow(name, whole(form, "revision", 10**6), by, why_in(form), now)
        return "?done=shadow"

    def _approve(self, name: str, form: Form, by: str, now: datetime) -> str:
        until = until_in(form, "days", now)
        self._room.desk.approve(name, whole(form, "revision", 10**6), until, by, why_in(form), now)
        return "?done=approve"

    def _expire(self, name: str, form: Form, by: str, now: datetime) -> str:
        self._room.desk.expire(name, by, why_in(form), now)
        return "?done=expire"

    def _snooze(self, name: str, form: Form, by: str, now: datetime) -> str:
        hours = whole(form, "hours", SNOOZE_LIMIT_H)
        value = one_line(form.get("value", "")).strip()
        if not value:
            raise RuleRefused("a snooze is for one value, such as a card's id: write it")
        until = now + timedelta(hours=hours)
        self._room.desk.snooze(name, form.get("field", ""), value, until, by, why_in(form), now)
        return "?done=snooze#snoozes"

    def _wake(self, name: str, form: Form, by: str, now: datetime) -> str:
        self._room.desk.wake(name, form.get("field", ""), form.get("value", ""), by, now)
        return "?done=wake#snoozes"


def form_of_text(text: Any) -> dict[str, str]:
    """A rule's text as its form has it."""
    return {
        "name": text.name,
        "when": text.when,
        "action": text.action,
        "because": text.because,
        "priority": str(text.priority),
        "add": "" if text.add is None else f"{text.add:g}",
        "tag": text.tag or "",
    }
