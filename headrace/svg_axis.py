"""Axes of plots: from numbers to places, and ticks that a person would choose."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

Scale = Literal["linear", "log", "day"]
TICKS = 6
DAYS_BETWEEN = (1, 2, 3, 4, 7, 14, 28, 91, 182, 364)


@dataclass(frozen=True)
class Axis:
    """One axis. `low` and `high` are what it shows; a day is counted from 1970. `tick_text` writes a number."""

    title: str
    low: float
    high: float
    tick_text: Callable[[float], str]
    scale: Scale = "linear"

    def place(self, value: float) -> float:
        """Where a number is, 0 at the low end and 1 at the high one; what lies beyond an end is at that end."""
        held = min(max(value, self.low), self.high)
        if self.scale == "log":
            return math.log(held / self.low) / math.log(self.high / self.low)
        return (held - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Where the axis has its numbers: at most seven or so, each a round one."""
        if self.scale == "log":
            return _powers(self.low, self.high)
        if self.scale == "day":
            span = self.high - self.low
            step = next((days for days in DAYS_BETWEEN if span / days <= TICKS), 728)
            return [float(day) for day in range(math.ceil(self.low), math.floor(self.high) + 1, step)]
        return round_ticks(self.low, self.high)


def linear(title: str, values: Iterable[float], tick_text: Callable[[float], str]) -> Axis:
    """An axis that shows 0 and these numbers, with round ends."""
    shown = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(*shown, 0.0), max(*shown, 0.0)
    if high <= low:
        high = 1.0
    step = _step(low, high)
    return Axis(title, math.floor(low / step) * step, math.ceil(high / step) * step, tick_text)


def logarithmic(title: str, values: Iterable[float], tick_text: Callable[[float], str], floor: float) -> Axis:
    """An axis of powers of ten that shows these numbers; what is below `floor` is at the low end."""
    shown = [value for value in values if math.isfinite(value) and value > floor] or [floor * 10]
    low = 10.0 ** math.floor(math.log10(max(min(shown), floor)))
    high = 10.0 ** math.ceil(math.log10(max(shown)))
    return Axis(title, low, high if high > low else low * 10, tick_text, "log")


def days(title: str, values: Iterable[str]) -> Axis:
    """An axis of days, each written as `2026-01-31`, with half a day to spare at each end."""
    numbers = [day_number(value) for value in values] or [0.0]
    return Axis(title, min(numbers) - 0.5, max(numbers) + 0.5, day_text, "day")


def day_number(day: str) -> float:
    """A day as a number, counted from 1970."""
    return float((date.fromisoformat(day) - date(1970, 1, 1)).days)


def day_text(number: float) -> str:
    """A day's number as people write it.

    >>> day_text(day_number("2026-01-03"))
    '3 Jan'
    """
    day = date(1970, 1, 1) + timedelta(days=round(number))
    return f"{day.day} {day:%b}"


def round_ticks(low: float, high: float) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten between two numbers.

    >>> round_ticks(0.0, 1.0)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    step = _step(low, high)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def _step(low: float, high: float) -> float:
    rough = (high - low) / (TICKS - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))


def _powers(low: float, high: float) -> list[float]:
    first, last = round(math.log10(low)), round(math.log10(high))
    every = max(1, math.ceil((last - first) / TICKS))
    return [10.0**power for power in range(first, last + 1, every)]
