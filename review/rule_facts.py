"""What the pages know of rules: plain facts, whoever keeps the book. Times have a zone, amounts a currency."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal, NamedTuple

import msgspec

from stream.records import Decision, Outcome, Verdict

State = Literal["live", "shadow", "backtested", "draft", "ended"]
STATES: tuple[State, ...] = ("live", "shadow", "backtested", "draft", "ended")
ACTIONS = ("review", "decline", "approve", "add", "tag")


class RuleText(msgspec.Struct, frozen=True, kw_only=True):
    """A rule as somebody writes it. `add` is what an `add` rule adds to the score, `tag` what a `tag` rule attaches."""

    name: str
    when: str
    action: str
    because: str = ""
    priority: int = 0
    add: float | None = None
    tag: str | None = None

    @property
    def does(self) -> str:
        """What it does, in a word or two."""
        if self.add is not None:
            return f"add {self.add:+g}"
        return f"tag {self.tag}" if self.tag is not None else self.action


class Overlap(NamedTuple):
    """How a rule lies to another rule, or to an outcome: decisions of that one, and of both."""

    name: str
    decisions: int
    both: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of a backtest. What each means is in `scoring/rule_report.py`, whose words these are."""

    since: datetime | None
    until: datetime | None
    label_delay_days: float
    decisions: int
    immature: int
    other_definition: int
    fired: int
    fraud: int
    legit: int
    unlabelled: int
    frauds: int
    changed: int
    saved: dict[str, float]
    harmed: dict[str, float]
    outcomes: tuple[Overlap, ...]
    rules: tuple[Overlap, ...]

    @property
    def judged(self) -> int:
        """What fired and has a verdict."""
        return self.fraud + self.legit

    @property
    def precision(self) -> float | None:
        """Of what fired and has a verdict, the share that was fraud."""
        return self.fraud / self.judged if self.judged else None

    @property
    def recall(self) -> float | None:
        """Of the known frauds, the share for which it fires."""
        return self.fraud / self.frauds if self.frauds else None

    @property
    def fired_rate(self) -> float | None:
        """Of all decisions, the share for which it fires."""
        return self.fired / self.decisions if self.decisions else None


class Day(NamedTuple):
    """What fired on one day, by what it turned out to be."""

    day: date
    fraud: int
    legit: int
    unknown: int


class Hit(NamedTuple):
    """One decision for which a rule fires. `verdict` is that of its newest label, if there is one."""

    event_id: str
    at: datetime
    entity: str
    merchant_id: str
    amount: float
    currency: str
    score: float
    outcome: Outcome
    verdict: Verdict | None


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """All that a backtest found. `amounts` has the currency and, of what fired: all, fraud's and legit's amounts.

    `kept`: whether the figures are in the rule's history; those of a text that was only tried are nowhere else.
    """

    report: Report
    days: tuple[Day, ...] = ()
    hits: tuple[Hit, ...] = ()
    amounts: tuple[tuple[str, float, float, float], ...] = ()
    kept: bool = False


class Revision(msgspec.Struct, frozen=True, kw_only=True):
    """What one revision of a rule says, who wrote it and how far it has come. Revision 0 is shipped."""

    text: RuleText
    revision: int
    state: State
    author: str
    written_at: datetime | None = None
    approved_by: str = ""
    expires_at: datetime | None = None
    report: Report | None = None


class Snooze(NamedTuple):
    """A rule is silent for one value of a field."""

    field: str
    value: str
    until: datetime


class BookedRule(msgspec.Struct, frozen=True, kw_only=True):
    """All there is under one name: what is live, what is to follow it, for whom it is silent."""

    name: str
    live: Revision | None = None
    next: Revision | None = None
    newest: int = 0
    snoozes: tuple[Snooze, ...] = ()

    @property
    def shown(self) -> Revision | None:
        """The revision that a list of rules shows: the live one, else the one on its way."""
        return self.live or self.next

    @property
    def states(self) -> tuple[State, ...]:
        """Every state that something of this name is in."""
        return tuple(one.state for one in (self.live, self.next) if one is not None) or ("ended",)


class KeptList(NamedTuple):
    """A list of values of one field, and how many it has."""

    list: str
    field: str
    size: int


class Member(NamedTuple):
    """A value on a list, until a time or for ever (None)."""

    value: str
    until: datetime | None


class Waiting(NamedTuple):
    """A change of a list that waits for another person: its first values, of how many, and whether they come off."""

    version: int
    list: str
    field: str
    values: tuple[str, ...]
    size: int
    off: bool
    until: datetime | None
    by: str
    at: datetime
    why: str


class RuleBook(msgspec.Struct, frozen=True, kw_only=True):
    """The book at one moment. `problems` counts the steps that were not followed."""

    version: int
    rules: tuple[BookedRule, ...]
    lists: tuple[KeptList, ...]
    problems: int = 0
    waiting: tuple[Waiting, ...] = ()

    def rule(self, name: str) -> BookedRule | None:
        """What there is under a name."""
        return next((one for one in self.rules if one.name == name), None)


class BookStep(NamedTuple):
    """One thing that somebody did. `refused` says why nobody follows it, where that is so."""

    version: int
    at: datetime
    by: str
    do: str
    of: str
    what: str
    why: str
    refused: str


class HitsOfDay(NamedTuple):
    """How often a rule fired on a day, by what it was then."""

    day: date
    live: int
    shadow: int
    snoozed: int


class Word(NamedTuple):
    """A word of the language. `kind` is field, feature, list, function or sign; `says` is for whoever chooses it."""

    text: str
    kind: str
    gives: str
    says: str


class Fault(NamedTuple):
    """Where a text is wrong, counted from 0, and why."""

    column: int
    message: str


class Example(NamedTuple):
    """A decided case as rules are looked for in it: its gravest event, and whether it was fraud."""

    decision: Decision
    is_fraud: bool


class Suggestion(NamedTuple):
    """A condition that was found in cases: of those for which it holds, how many are fraud."""

    when: str
    conditions: tuple[str, ...]
    fraud: int
    legit: int
    words: str


class Suggested(NamedTuple):
    """What was found in so many frauds and others. `left_out` are cases that were scored with other features."""

    suggestions: tuple[Suggestion, ...]
    fraud: int
    legit: int
    left_out: int
    method: str
