"""What changes in the simulator's world as time goes on: when each kind of fraud is about, and how high amounts are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

EVER = datetime.max.replace(tzinfo=UTC)
ALWAYS = datetime.min.replace(tzinfo=UTC)


class Span(NamedTuple):
    """From `begins` until before `ends`, both with a zone."""

    begins: datetime = ALWAYS
    ends: datetime = EVER


class AmountShift(NamedTuple):
    """From `at` on, everybody's amounts are `factor` times what they would have been, fraud or not."""

    at: datetime
    factor: float


class Changes(NamedTuple):
    """What a world is told to change; by default nothing.

    `active` says on which days episodes of a pattern begin; a pattern that is not named is always about. Episodes that
    have begun go on to their end, some weeks later at most. Patterns that are about share the frauds aimed at between
    them: a new one adds a kind of fraud and not a number of frauds. Where none is about, there is none.
    """

    active: Mapping[str, Span] = {}
    amounts: tuple[AmountShift, ...] = ()

    def about(self, patterns: Sequence[str], day: datetime) -> list[str]:
        """The patterns of which episodes begin on the day that starts then."""
        spans = {name: self.active.get(name, Span()) for name in patterns}
        return [name for name, span in spans.items() if span.begins <= day < span.ends]

    def amount_factor(self, day: datetime) -> float:
        """By what the amounts of that day are multiplied."""
        factor = 1.0
        for shift in self.amounts:
            if shift.at <= day:
                factor *= shift.factor
        return factor

    def check(self, patterns: Sequence[str]) -> None:
        """Raises `ValueError` where it names a pattern that is not committed, or means nothing."""
        for name, span in self.active.items():
            if name not in patterns:
                raise ValueError(f"no fraud pattern {name!r} is committed; there are {', '.join(patterns)}")
            _zoned(f"when {name} begins", span.begins)
            _zoned(f"when {name} ends", span.ends)
            if span.begins >= span.ends:
                raise ValueError(f"{name} begins {span.begins.isoformat()} and ends no later; let it end after that")
        for shift in self.amounts:
            _zoned("the shift of amounts", shift.at)
            if not 0.01 <= shift.factor <= 100.0:
                raise ValueError(f"amounts shift by the factor {shift.factor:g}; give one from 0.01 to 100")


def _zoned(what: str, moment: datetime) -> None:
    if moment.tzinfo is None:
        raise ValueError(f"{what}, {moment.isoformat()}, has no zone; give one, such as UTC")
