"""How often a rule fires, day by day, as columns of fraud, good and unknown: a template draws them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, timedelta
from typing import NamedTuple

from review.rule_facts import Day, HitsOfDay

WIDTH, HEIGHT = 760.0, 220.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, 8.0, 10.0, 26.0
COLUMNS_LIMIT = 92
"""More days than this are drawn as weeks, and more weeks as spans of four."""
WIDEST = 34.0
SPARK_WIDTH, SPARK_HEIGHT = 98.0, 24.0


class Piece(NamedTuple):
    """One part of a column: its kind, its place."""

    kind: str
    y: float
    height: float


class Column(NamedTuple):
    """One day, or span of days."""

    x: float
    width: float
    pieces: tuple[Piece, ...]
    title: str


class Tick(NamedTuple):
    """One line to read by, and its words."""

    at: float
    text: str


class HitsChart(NamedTuple):
    """All of it, in the units of a box of `WIDTH` and `HEIGHT`. `span` is how many days a column has."""

    columns: list[Column]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    span: int
    width: float = WIDTH
    height: float = HEIGHT
    left: float = LEFT
    right: float = WIDTH - RIGHT
    bottom: float = HEIGHT - BOTTOM


def hits_chart(days: Sequence[Day], first: date, last: date) -> HitsChart:
    """Columns from the first to the last day; on those that are not in `days` nothing fired."""
    whole = (last - first).days + 1
    span = next((span for span in (1, 7, 28) if whole <= COLUMNS_LIMIT * span), math.ceil(whole / COLUMNS_LIMIT))
    count = math.ceil(whole / span)
    sums = [[0, 0, 0] for _ in range(count)]
    for day, *numbers in days:
        place = (day - first).days // span
        if 0 <= place < count:
            sums[place] = [before + number for before, number in zip(sums[place], numbers, strict=True)]
    y_ticks = _round_ticks(max(map(sum, sums), default=0))
    highest = y_ticks[-1]
    room = (WIDTH - RIGHT - LEFT) / count
    width = min(WIDEST, room * 0.78)

    def down(number: float) -> float:
        return HEIGHT - BOTTOM - number / highest * (HEIGHT - BOTTOM - TOP)

    columns = []
    for place, numbers in enumerate(sums):
        pieces, below = [], 0
        for kind, number in zip(("fraud", "legit", "unknown"), numbers, strict=True):
            if number:
                top = down(below + number)
                pieces.append(Piece(kind, round(top, 1), round(down(below) - top, 1)))
                below += number
        since = first + timedelta(days=place * span)
        title = f"{_named(since, span)}: {numbers[0]:,} fraud, {numbers[1]:,} legit, {numbers[2]:,} unknown"
        columns.append(
            Column(round(LEFT + room * place + (room - width) / 2, 1), round(width, 1), tuple(pieces), title)
        )
    each = max(1, math.ceil(count / 8))
    x_ticks = [
        Tick(round(LEFT + room * (place + 0.5), 1), _short(first + timedelta(days=place * span)))
        for place in range(0, count, each)
    ]
    return HitsChart(columns, x_ticks, [Tick(round(down(number), 1), f"{number:,}") for number in y_ticks], span)


class Spark(NamedTuple):
    """A small picture of some days: for each its place, how high it is, and whether it was only in shadow."""

    columns: list[tuple[float, float, float, bool]]
    words: str
    width: float = SPARK_WIDTH
    height: float = SPARK_HEIGHT


def spark(days: Sequence[HitsOfDay]) -> Spark | None:
    """The days of one rule; None where nothing happened on any."""
    highest = max((max(day.live, day.shadow) for day in days), default=0)
    if not highest:
        return None
    step = SPARK_WIDTH / len(days)
    columns = []
    for place, day in enumerate(days):
        number, is_shadow = (day.live, False) if day.live else (day.shadow, True)
        height = max(1.5, number / highest * (SPARK_HEIGHT - 2)) if number else 0.0
        columns.append((round(place * step, 1), round(SPARK_HEIGHT - height, 1), round(height, 1), is_shadow))
    counts = ", ".join(f"{max(day.live, day.shadow):,}" for day in days)
    return Spark(columns, f"fired a day, the oldest first: {counts}")


def _round_ticks(highest: int) -> list[int]:
    """Some whole numbers from 0 to at least the highest.

    >>> _round_ticks(7), _round_ticks(430), _round_ticks(0)
    ([0, 2, 4, 6, 8], [0, 100, 200, 300, 400, 500], [0, 1])
    """
    if highest < 1:
        return [0, 1]
    size = 10 ** int(math.log10(highest))
    step = next((step for step in (max(1, size // 5), max(1, size // 2), size, 2 * size) if highest / step <= 5), size)
    return list(range(0, (math.ceil(highest / step) + 1) * step, step))


def _named(since: date, span: int) -> str:
    if span == 1:
        return f"{since:%a} {_short(since)}"
    return f"{_short(since)} to {_short(since + timedelta(days=span - 1))}"


def _short(day: date) -> str:
    return f"{day.day} {day:%b}"
