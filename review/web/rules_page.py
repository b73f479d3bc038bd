"""The rule book: every rule with its state, how often it fires, how right it was, and the kept lists."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from review.precision import Precision
from review.rule_facts import STATES, BookedRule, HitsOfDay, Revision, State
from review.web.hits_chart import Spark, spark
from review.web.rule_room import RuleRoom

HISTORY_SHOWN = 200
PRECISION_OVER = timedelta(days=90)
PRECISION_KEPT = timedelta(seconds=30)
STATE_NAMES: dict[State, str] = {
    "live": "Live",
    "shadow": "In shadow",
    "backtested": "Backtested",
    "draft": "Drafts",
    "ended": "Ended",
}


class RuleRow(NamedTuple):
    """One rule as the book's page shows it. `hits` are None while they are counted."""

    rule: BookedRule
    shown: Revision | None
    spark: Spark | None
    today: int | None
    days: int | None
    precision: Precision | None


class RulesPage:
    """`/rules` and `/rules/history`."""

    def __init__(self, room: RuleRoom) -> None:
        self._room = room
        self._precision: tuple[datetime, dict[str, Precision]] | None = None

    async def page(self, request: Request) -> Response:
        """`GET /rules`: the book; `?state=` and `?text=` choose some of it."""
        wanted, text = request.query_params.get("state", ""), request.query_params.get("text", "").strip()[:100]
        return self._room.page(request, "rules.html", **await self._room.off_loop(self._read, wanted, text))

    async def history(self, request: Request) -> Response:
        """`GET /rules/history`: what everybody did, the newest first."""
        steps = await self._room.off_loop(self._room.desk.steps, None, HISTORY_SHOWN)
        return self._room.page(request, "rule_history.html", steps=steps, limit=HISTORY_SHOWN)

    def row(self, rule: BookedRule, now: datetime) -> RuleRow:
        """What is known of one rule."""
        return self._row(rule, self._room.desk.hits(now), self._precisions(now))

    def _read(self, wanted: str, text: str) -> dict[str, Any]:
        now = self._room.parts.clock()
        book, hits, right = self._room.desk.book(now), self._room.desk.hits(now), self._precisions(now)
        counts = {state: sum(state in rule.states for rule in book.rules) for state in STATES}
        rules = [rule for rule in book.rules if _fits(rule, wanted, text)]
        # What is live first, by how much it decides; what ended last.
        rules.sort(key=lambda rule: (STATES.index(rule.states[0]), -_priority(rule), rule.name))
        return {
            "book": book,
            "rows": [self._row(rule, hits, right) for rule in rules],
            "counts": counts,
            "tabs": [(state, STATE_NAMES[state], counts[state]) for state in STATES if counts[state]],
            "wanted": wanted,
            "text": text,
            "is_counted": hits is not None,
            "here": f"?{urlencode({'state': wanted, 'text': text})}",
        }

    def _row(self, rule: BookedRule, hits: dict[str, list[HitsOfDay]] | None, right: dict[str, Precision]) -> RuleRow:
        own = [] if hits is None else hits.get(rule.name, [])
        fired = None if hits is None else [max(day.live, day.shadow) for day in own]
        return RuleRow(
            rule,
            rule.shown,
            spark(own) if own else None,
            None if fired is None else (fired[-1] if fired else 0),
            None if fired is None else sum(fired),
            right.get(rule.name),
        )

    def _precisions(self, now: datetime) -> dict[str, Precision]:
        """By decided cases, read now and then: two pages may read them at once."""
        kept = self._precision
        if kept is None or not timedelta() <= now - kept[0] < PRECISION_KEPT:
            found = self._room.parts.cases.precision("rule", now - PRECISION_OVER)
            kept = self._precision = (now, {one.name: one for one in found})
        return kept[1]


def _fits(rule: BookedRule, wanted: str, text: str) -> bool:
    if wanted and wanted not in rule.states:
        return False
    words = [rule.name, *(f"{one.text.when} {one.text.because}" for one in (rule.live, rule.next) if one)]
    return not text or any(text.casefold() in word.casefold() for word in words)


def _priority(rule: BookedRule) -> int:
    return rule.shown.text.priority if rule.shown else 0
