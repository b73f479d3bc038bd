"""What the pages of rules ask of whoever keeps the book. `headrace` binds it; without one the pages say so."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from review.refusals import Refused
from review.rule_facts import (
    BookStep,
    Example,
    Fault,
    Findings,
    HitsOfDay,
    Member,
    RuleBook,
    RuleText,
    Suggested,
    Word,
)


class RulesUnavailable(Exception):
    """The book cannot be read or written now; trying again may help."""


class RuleRefused(Refused):
    """The book is as it was. The words are the book's own. `fault` points into the condition, where that is why."""

    def __init__(self, words: str, fault: Fault | None = None) -> None:
        self.fault = fault
        super().__init__(words)


class Trial(Protocol):
    """One backtest that can be run once, by one thread, and be watched and ended by others."""

    def run(self) -> Findings:
        """Try it. Raises `RuleRefused` with words for why there is nothing to show, also where it was cancelled."""
        ...

    def cancel(self) -> None:
        """End it soon, also before it began."""
        ...

    def progress(self) -> float | None:
        """The share that is done; None where nobody can say."""
        ...


class RuleDesk(Protocol):
    """A rule book and an archive. Every call blocks; any number of threads may call. All may raise `RulesUnavailable`.

    `by` is who did it, as it stands in the book. Whatever changes the book raises `RuleRefused`.
    """

    def book(self, now: datetime) -> RuleBook:
        """Everything that is in it."""
        ...

    def steps(self, of: str | None, limit: int) -> list[BookStep]:
        """The newest steps first; of one rule or list, or all."""
        ...

    def hits(self, now: datetime) -> dict[str, list[HitsOfDay]] | None:
        """How often each rule fired on each of the last days, as far as it is archived; None while it is counted."""
        ...

    def words(self) -> list[Word]:
        """The language, with the lists that there are now."""
        ...

    def fields(self) -> list[str]:
        """The fields that lists and snoozes may name."""
        ...

    def fault(self, when: str) -> Fault | None:
        """What is wrong with a condition, if anything is."""
        ...

    def draft(self, text: RuleText, by: str, why: str, now: datetime) -> int:
        """Write a rule, or its next revision; the revision's number."""
        ...

    def shadow(self, name: str, revision: int, by: str, why: str, now: datetime) -> None:
        """Have it asked without effect."""
        ...

    def approve(self, name: str, revision: int, until: datetime | None, by: str, why: str, now: datetime) -> None:
        """Make it live, until a time or for ever; refused to its author."""
        ...

    def expire(self, name: str, by: str, why: str, now: datetime) -> None:
        """End whatever is under that name."""
        ...

    def snooze(self, name: str, field: str, value: str, until: datetime, by: str, why: str, now: datetime) -> None:
        """Keep it silent for one value."""
        ...

    def wake(self, name: str, field: str, value: str, by: str, now: datetime) -> None:
        """End a snooze."""
        ...

    def members(self, list: str, field: str, containing: str, limit: int, now: datetime) -> tuple[list[Member], int]:
        """Values of a list that contain a text, in order, and how many there are in all."""
        ...

    def put(
        self,
        list: str,
        field: str,
        values: Sequence[str],
        until: datetime | None,
        by: str,
        why: str,
        now: datetime,
        *,
        urgent: bool = False,
    ) -> bool:
        """Put values on a list, all or, where there are very many, the first thousands before one that is refused.

        True where another person has to agree first, since a live rule asks the list and the policy wants it. What is
        `urgent` is on the list meanwhile, for a day at most.
        """
        ...

    def take_off(self, list: str, field: str, values: Sequence[str], by: str, why: str, now: datetime) -> bool:
        """Take values off a list. True where another person has to agree first."""
        ...

    def answer(self, list: str, version: int, agreed: bool, by: str, why: str, now: datetime) -> None:
        """Agree to a change of a list that waits, or refuse it; its author may withdraw it, and never agree."""
        ...

    def trial(
        self, text: RuleText | str, since: datetime | None, until: datetime | None, lists_now: bool, by: str
    ) -> Trial:
        """A backtest of a text that is nowhere yet, or of what is on its way or live under a name.

        The figures of what is on its way are noted in the book. Raises `RuleRefused`.
        """
        ...

    def suggest(self, examples: Sequence[Example]) -> Suggested:
        """Short conditions that tell these frauds from the others. Takes up to some seconds."""
        ...
