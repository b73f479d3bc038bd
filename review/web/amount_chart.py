"""An entity's amounts over time as dots: where each stands, and the lines to read it by. A template draws it."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from review.web.wording import money, stamp
from stream.records import Decision

WIDTH, HEIGHT = 720.0, 190.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 14.0, 12.0, 26.0
X_TICKS = 5
UNITS_LIMIT = 3


class Dot(NamedTuple):
    """One event: its place, its outcome, whether it is of the case that is looked at, and what it says of itself."""

    x: float
    y: float
    outcome: str
    own: bool
    title: str


class Tick(NamedTuple):
    """One line to read by, and its words."""

    at: float
    text: str


class AmountChart(NamedTuple):
    """All of it, in the units of a box of `WIDTH` and `HEIGHT`."""

    dots: list[Dot]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    unit: str
    width: float = WIDTH
    height: float = HEIGHT
    left: float = LEFT
    right: float = WIDTH - RIGHT
    bottom: float = HEIGHT - BOTTOM


def amount_chart(decisions: Sequence[Decision], own: Collection[str]) -> AmountChart | None:
    """Amounts on a scale of powers of ten, since one fraud beside many coffees is the usual picture; None for none.

    `own` are the ids of the case's events. Amounts below 1 stand on the lowest line.
    """
    if not decisions:
        return None
    times = [decision.event_timestamp for decision in decisions]
    first, last = min(times), max(times)
    if first == last:
        first, last = first - timedelta(hours=1), last + timedelta(hours=1)
    highest = max(10.0, *(decision.record.amount for decision in decisions))
    powers = math.ceil(math.log10(highest) - 1e-9)

    def across(at: datetime) -> float:
        return LEFT + 6 + (at - first) / (last - first) * (WIDTH - RIGHT - LEFT - 12)

    def down(amount: float) -> float:
        share = math.log10(max(amount, 1.0)) / powers
        return HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)

    dots = [
        Dot(
            round(across(decision.event_timestamp), 1),
            round(down(decision.record.amount), 1),
            decision.outcome,
            decision.event_id in own,
            f"{money(decision.record.amount)} {decision.record.currency}, {decision.outcome}, "
            f"{stamp(decision.event_timestamp)}",
        )
        for decision in decisions
    ]
    step = max(1, math.ceil(powers / 5))
    y_ticks = [Tick(round(down(10.0**power), 1), _short(10.0**power)) for power in range(0, powers + 1, step)]
    moments = [first + (last - first) * number / (X_TICKS - 1) for number in range(X_TICKS)]
    befores = [None, *moments]
    x_ticks = [
        Tick(round(across(moment), 1), _moment(moment, last - first, before))
        for moment, before in zip(moments, befores, strict=False)
    ]
    unit = " and ".join(sorted({decision.record.currency for decision in decisions})[:UNITS_LIMIT])
    return AmountChart(dots, x_ticks, y_ticks, unit)


def _short(amount: float) -> str:
    """A power of ten in few characters.

    >>> _short(100.0), _short(10_000.0), _short(1e6)
    ('100', '10k', '1M')
    """
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if amount >= size:
            return f"{amount / size:g}{letter}"
    return f"{amount:g}"


def _moment(moment: datetime, span: timedelta, before: datetime | None) -> str:
    """The time in UTC; with its day where that is another than the one `before` it."""
    at = moment.astimezone(UTC)
    if span < timedelta(days=2):
        is_same = before is not None and before.astimezone(UTC).date() == at.date()
        day = "" if is_same else f"{at.day} {at:%b} "
        return f"{day}{at:%H:%M:%S}" if span < timedelta(minutes=10) else f"{day}{at:%H:%M}"
    return f"{at.day} {at:%b}"
