"""The rule book: what all steps so far come to, and which steps may follow.

Whoever appends a step and whoever reads it apply it with the same function. So a step that may not be done is neither
appended by an honest writer nor followed by any reader.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from features.expression import ListRef
from scoring.rule_report import RuleReport
from scoring.rule_steps import (
    Answered,
    Approved,
    Backtested,
    Drafted,
    Expired,
    Listed,
    RuleStep,
    Shadowed,
    Snoozed,
    SnoozeStep,
    Step,
    Unlisted,
    same_person,
    seconds,
)
from scoring.rules import LISTS, Circumstances, Rule

Stage = Literal["draft", "backtested", "shadow", "live", "expired"]
SHIPPED = "(shipped)"
ENTRIES_LIMIT = 100_000
SNOOZES_LIMIT = 1000
WAITING_LIMIT = 100
WAITS_S = 7 * 86_400.0
"""A change of a list to which nobody agreed within that time is void."""


class ForbiddenStep(ValueError):
    """A step may not follow on what the book says now. It names the rule, what it is, and what may be done."""


@dataclass(frozen=True)
class Written:
    """One revision of a rule: what it says, who wrote it when, and how far it has come."""

    rule: Rule
    revision: int
    author: str
    at: datetime | None
    stage: Stage
    report: RuleReport | None = None
    approved_by: str = ""
    expires_at: datetime | None = None

    def ended(self, now: datetime) -> bool:
        """Whether it was live until a time that has passed."""
        return self.expires_at is not None and self.expires_at <= now

    def at_stage(self, stage: Stage, **changes: object) -> Written:
        """The same revision, further on."""
        return Written(**{**self.__dict__, "stage": stage, **changes})


@dataclass
class Name:
    """All that there is under one name: the live revision, the one that is to follow it, and the newest number."""

    newest: int = 0
    live: Written | None = None
    next: Written | None = None


@dataclass
class Book:
    """The state after `version` steps. One thread changes it, step by step.

    `entries` has each list's values by list and field, with the time at which each leaves (seconds since 1970);
    `snoozes` by rule and (field, value) the time at which it ends.
    """

    names: dict[str, Name]
    version: int = 0
    entries: dict[ListRef, dict[str, float]] = field(default_factory=dict)
    snoozes: dict[str, dict[tuple[str, str], float]] = field(default_factory=dict)
    waiting: dict[int, Listed | Unlisted] = field(default_factory=dict)
    """Changes of lists that wait for another person, by the version that proposed them."""

    @classmethod
    def shipped(cls, rules: Sequence[Rule]) -> Book:
        """Version 0: the shipped rules are live, for ever."""
        return cls({rule.name: Name(live=Written(rule, 0, SHIPPED, None, "live")) for rule in rules})

    @property
    def lists(self) -> list[str]:
        """The names of all lists."""
        return sorted({*LISTS, *(ref.list for ref in self.entries)})

    def live(self, now: datetime) -> list[Written]:
        """What is live, by name."""
        found = [name.live for _, name in sorted(self.names.items()) if name.live is not None]
        return [one for one in found if not one.ended(now)]

    def shadow(self) -> list[Written]:
        """What is in shadow, by name."""
        found = [name.next for _, name in sorted(self.names.items()) if name.next is not None]
        return [one for one in found if one.stage == "shadow"]

    def circumstances(self) -> Circumstances:
        """A copy of what the rules' answers depend on besides the rules."""
        return Circumstances(
            {ref: dict(values) for ref, values in self.entries.items()},
            {name: seconds(one.live.expires_at) for name, one in self.names.items() if one.live is not None},
            {name: dict(values) for name, values in self.snoozes.items()},
        )

    def apply(self, step: Step) -> None:
        """Follow one step, all of it or nothing. Raises `ForbiddenStep`; the version counts it in either case."""
        self.version += 1
        match step:
            case Drafted() | Backtested() | Shadowed() | Approved() | Expired():
                self._apply_to_rule(step)
            case Snoozed():
                self._snooze(step, step.until)
            case Listed(waits=True) | Unlisted(waits=True):
                self._propose(step)
            case Answered():
                self._answer(step)
            case Listed():
                self._list(step, step.at)
            case _:
                self._take_back(step)

    def _apply_to_rule(self, step: RuleStep) -> None:
        if isinstance(step, Drafted):
            known = self.names.get(step.name, Name())
            if step.revision != known.newest + 1:
                raise ForbiddenStep(
                    f"rule {step.name!r} has revision {known.newest} by now, so {step.revision} cannot be the next; "
                    "look at it and write yours again"
                )
            known.newest, known.next = step.revision, Written(step.rule, step.revision, step.by, step.at, "draft")
            self.names[step.name] = known
            return
        known = self._known(step.name)
        if isinstance(step, Expired):
            if known.live is None and known.next is None:
                raise ForbiddenStep(f"rule {step.name!r} has ended already")
            known.live = known.next = None
            self.snoozes.pop(step.name, None)
            return
        written = known.next
        if written is None:
            raise ForbiddenStep(
                f"rule {step.name!r} has no draft: what is live or has ended stays as it is; write a new revision"
            )
        if written.revision != step.revision:
            raise ForbiddenStep(
                f"rule {step.name!r} is at revision {written.revision} by now, not {step.revision}; look at it first"
            )
        match step:
            case Backtested(report=report):
                known.next = written.at_stage(
                    "backtested" if written.stage == "draft" else written.stage, report=report
                )
            case Shadowed():
                if written.report is None:
                    raise ForbiddenStep(f"rule {step.name!r} has not been backtested; do that first")
                if written.stage == "shadow":
                    raise ForbiddenStep(f"rule {step.name!r} is in shadow already; it can be approved")
                known.next = written.at_stage("shadow")
            case Approved(by=by, at=at, expires_at=expires_at):
                if written.stage != "shadow":
                    raise ForbiddenStep(f"rule {step.name!r} is {written.stage}; only what is in shadow goes live")
                if same_person(by, written.author):
                    raise ForbiddenStep(
                        f"rule {step.name!r} was written by {written.author}; another has to approve it"
                    )
                if expires_at is not None and expires_at <= at:
                    raise ForbiddenStep(f"rule {step.name!r} would expire before it is approved; give a later time")
                known.live = written.at_stage("live", approved_by=by, expires_at=expires_at)
                known.next = None

    def _propose(self, step: Listed | Unlisted) -> None:
        for version in [one for one, earlier in self.waiting.items() if _is_void(earlier, step.at)]:
            del self.waiting[version]
        if len(self.waiting) >= WAITING_LIMIT:
            raise ForbiddenStep(f"{WAITING_LIMIT} changes of lists wait for another person; have some answered first")
        self.waiting[self.version] = step

    def _answer(self, answer: Answered) -> None:
        step = self.waiting.get(answer.version)
        if step is None or step.list != answer.list or _is_void(step, answer.at):
            raise ForbiddenStep(f"no change {answer.version} of list {answer.list!r} waits; look at the list again")
        if answer.agreed and same_person(answer.by, step.by):
            raise ForbiddenStep(f"{step.by} wants list {step.list!r} changed; another has to agree")
        if answer.agreed and isinstance(step, Listed):
            self._list(step, answer.at)
        elif answer.agreed:
            # Meanwhile some may have left by themselves, or been taken off: all that matters is that they are gone.
            held = self.entries.get(ListRef(step.list, step.field), {})
            for value in step.values:
                held.pop(value, None)
        del self.waiting[answer.version]

    def _list(self, step: Listed, now: datetime) -> None:
        ref = ListRef(step.list, step.field)
        values = self.entries.get(ref, {})
        added = sum(value not in values for value in step.values)
        if added and sum(map(len, self.entries.values())) + added > ENTRIES_LIMIT:
            # Those that have left by themselves make room first.
            self._forget(now.timestamp())
            if sum(map(len, self.entries.values())) + added > ENTRIES_LIMIT:
                raise ForbiddenStep(f"the lists would hold more than {ENTRIES_LIMIT:,} values; take some off first")
        self.entries.setdefault(ref, {}).update(dict.fromkeys(step.values, seconds(step.until)))

    def _snooze(self, step: Snoozed, until: datetime) -> None:
        self._known(step.name)
        if until <= step.at:
            raise ForbiddenStep(f"the snooze of {step.name!r} would end before it begins; give a later time")
        own = self.snoozes.setdefault(step.name, {})
        for key in [key for key, ends in own.items() if ends <= step.at.timestamp()]:
            del own[key]
        if (step.field, step.value) not in own and len(own) >= SNOOZES_LIMIT:
            raise ForbiddenStep(f"rule {step.name!r} is snoozed for {SNOOZES_LIMIT:,} values; expire it instead")
        own[step.field, step.value] = until.timestamp()

    def _take_back(self, step: Unlisted | SnoozeStep) -> None:
        if isinstance(step, Unlisted):
            held = self.entries.get(ListRef(step.list, step.field), {})
            unknown = [value for value in step.values if value not in held]
            if unknown:
                raise ForbiddenStep(f"list {step.list!r} does not have {step.field} {unknown[0]!r}")
            for value in step.values:
                held.pop(value, None)
            return
        if self.snoozes.get(step.name, {}).pop((step.field, step.value), None) is None:
            raise ForbiddenStep(f"rule {step.name!r} is not snoozed for {step.field} {step.value!r}")

    def _known(self, name: str) -> Name:
        found = self.names.get(name)
        if found is None:
            raise ForbiddenStep(f"there is no rule {name!r}; 'headrace rules list' shows those that there are")
        return found

    def _forget(self, now_s: float) -> None:
        for values in self.entries.values():
            for value in [value for value, until in values.items() if until <= now_s < math.inf]:
                del values[value]


def _is_void(step: Listed | Unlisted, now: datetime) -> bool:
    return (now - step.at).total_seconds() > WAITS_S
