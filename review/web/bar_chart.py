"""Bars side by side, each of one or several parts on top of each other: where each stands, and the lines to read it by.

A template draws it (`bars.html`); colours come from the parts' names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

TOP, BOTTOM, RIGHT = 8.0, 22.0, 6.0
LABELS = 6
CHARACTER = 6.6
LEAST_HEIGHT = 1.5
WIDEST = 64.0


class Column(NamedTuple):
    """One place on the axis: its name there, its parts from below, what it says of itself. No parts: nobody knows."""

    name: str
    parts: Mapping[str, float]
    says: str = ""


class Part(NamedTuple):
    """One rectangle."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    says: str


class Line(NamedTuple):
    """A line to read by, or a name under the axis."""

    at: float
    text: str


class BarChart(NamedTuple):
    """All of it, in the units of a box of `width` and `height`."""

    parts: list[Part]
    names: list[Line]
    lines: list[Line]
    width: float
    height: float
    left: float
    right: float
    bottom: float


def bar_chart(
    columns: Sequence[Column], width: float = 720.0, height: float = 180.0, most: float | None = None, unit: str = ""
) -> BarChart | None:
    """The chart; None where there is nothing to draw. `most`: where the axis ends, if that is fixed (1 for shares)."""
    totals = [sum(max(value, 0.0) for value in column.parts.values()) for column in columns]
    if not columns or not any(column.parts for column in columns):
        return None
    steps = [0.0, most] if most else ticks(max(totals))
    top = steps[-1]
    texts = [short(step) + unit for step in steps]
    left = max(len(text) for text in texts) * CHARACTER + 12.0
    wide = (width - left - RIGHT) / len(columns)
    gap = max(min(3.0, wide * 0.22), wide - WIDEST)
    bottom = height - BOTTOM
    parts = []
    for number, column in enumerate(columns):
        low = bottom
        for kind, value in column.parts.items():
            tall = max(value, 0.0) / top * (bottom - TOP)
            # What is there must be seen, however small beside the others.
            tall = max(tall, LEAST_HEIGHT) if value > 0.0 else 0.0
            low -= tall
            if tall:
                x = left + number * wide + gap / 2
                parts.append(Part(_r(x), _r(low), _r(wide - gap), _r(tall), kind, column.says))
    every = max(1, math.ceil(len(columns) / LABELS), math.ceil(max(len(c.name) for c in columns) * CHARACTER / wide))
    names = [
        Line(_r(min(left + (number + 0.5) * wide, width - len(column.name) * CHARACTER / 2)), column.name)
        for number, column in enumerate(columns)
        if (len(columns) - 1 - number) % every == 0
    ]
    lines = [Line(_r(bottom - step / top * (bottom - TOP)), text) for step, text in zip(steps, texts, strict=True)]
    return BarChart(parts, names, lines, width, height, _r(left), width - RIGHT, bottom)


def ticks(most: float) -> list[float]:
    """Round numbers from 0 to at least `most`, some three of them.

    >>> ticks(7.0), ticks(0.03), ticks(0.0)
    ([0.0, 2.0, 4.0, 6.0, 8.0], [0.0, 0.01, 0.02, 0.03], [0.0, 1.0])
    """
    if most <= 0.0 or not math.isfinite(most):
        return [0.0, 1.0]
    power = 10.0 ** math.floor(math.log10(most / 2.0))
    step = next(power * times for times in (1.0, 2.0, 5.0, 10.0) if power * times * 4.0 >= most * (1 - 1e-9))
    count = math.ceil(most / step - 1e-9)
    return [float(f"{step * number:.6g}") for number in range(count + 1)]


def short(value: float) -> str:
    """A number in few characters.

    >>> short(1200.0), short(0.25), short(3_000_000.0)
    ('1.2k', '0.25', '3M')
    """
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def _r(value: float) -> float:
    return round(value, 1)
