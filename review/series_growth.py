"""How much totals grew over a stretch of time, whatever restarts lie within it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from review.series import Point
from review.series_history import SeriesHistory


def growth(points: Sequence[Point], is_new: bool = False) -> float:
    """The sum of a total's steps upwards. One that falls has begun anew; what it had before its first step is lost.

    `is_new`: the series came after others that were looked at, so that it began at 0.

    >>> growth([Point(0.0, 10.0), Point(1.0, 14.0), Point(2.0, 1.0), Point(3.0, 4.0)])
    7.0
    """
    steps = [max(0.0, later.value - earlier.value) for earlier, later in pairwise(points)]
    return sum(steps) + (points[0].value if is_new and points else 0.0)


def grown(history: SeriesHistory, prefix: str, since_s: float, until_s: float) -> dict[str, float]:
    """Of all totals called `prefix.name`, how much each grew since a time, by name.

    Raises nothing: where nobody has looked, nothing grew. The traps: before the last hour there are means of minutes,
    so that the ends of the stretch are blurred by one; and of a restart within it the first steps are missing.
    """
    first_s = min((at for at in history.columns(["events_total"], since_s, until_s).at_s[:1]), default=since_s)
    found = {}
    for name in history.names():
        if name.startswith(f"{prefix}."):
            points = history.since(name, since_s)
            is_new = bool(points) and points[0].at_s > first_s + 90.0
            found[name.removeprefix(f"{prefix}.")] = growth(points, is_new)
    return found
