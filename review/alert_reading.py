"""What a condition sees in its series at one moment: a value and where it stands, or that there is no word."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from review.alert_condition import Burn, Condition, Jump
from review.alert_series import MEANINGS, Series
from review.alert_words import in_time, in_unit

LEAST_SEEN = 0.5
"""Of a window, the share that has to be covered by points for its mean to say something."""
MANY_TIMES = 1000.0
"""What something is of nothing."""
Points = Sequence[tuple[float, float]]


class Reading(NamedTuple):
    """`value` is in the condition's measure; None: nothing is known, then it is neither `is_passed` nor `is_clear`.

    Of that, `is_silent` is that there is no word; else there is, and too little of it for a mean.
    """

    value: float | None
    words: str
    heard_at_s: float | None
    is_passed: bool = False
    is_clear: bool = False
    is_silent: bool = False


def read(condition: Condition, series: Series, now_s: float, stale_s: float, began_s: float) -> Reading:
    """The condition at this moment. Values older than `stale_s` say nothing about now.

    Where there never was a word, the silence is as long as somebody has listened: since `began_s`.
    """
    latest = series.latest(condition.series)
    heard_at_s = latest[0] if latest else None
    quiet_s = now_s - (began_s if heard_at_s is None else heard_at_s)
    if condition.kind == "silent":
        words = _no_word(heard_at_s) if quiet_s > condition.level else "heard of"
        return Reading(quiet_s, words, heard_at_s, condition.is_passed(quiet_s), condition.is_clear(quiet_s))
    if latest is None or quiet_s > stale_s:
        return Reading(None, _no_word(heard_at_s), heard_at_s, is_silent=True)
    if condition.burn:
        value, words = _burnt(condition.burn, condition.series, series, now_s)
    elif condition.jump:
        value, words = _jumped(condition.jump, condition.series, series, now_s)
    elif condition.window_s is not None:
        value = mean(series.since(condition.series, now_s - condition.window_s), now_s - condition.window_s, now_s)
        words = f"{_said(condition.series, value)} over {in_time(condition.window_s)}" if value is not None else ""
    else:
        value, words = latest[1], _said(condition.series, latest[1])
    if value is None:
        return Reading(None, words or f"too little is known of the last {in_time(condition.window_s or 0)}", heard_at_s)
    return Reading(value, words, heard_at_s, condition.is_passed(value), condition.is_clear(value))


def mean(points: Points, begin_s: float, end_s: float) -> float | None:
    """The mean over a time, each point as long as until the next. None where half of the time was not heard of.

    A point speaks for a minute and a half at most, as long as two that are a minute apart: a gap counts for nothing.

    >>> mean([(0, 1.0), (60, 3.0)], 0, 120), mean([(110, 1.0)], 0, 120)
    (2.0, None)
    """
    inside = [(at_s, value) for at_s, value in points if begin_s <= at_s <= end_s]
    total = seen_s = 0.0
    for index, (at_s, value) in enumerate(inside):
        until_s = inside[index + 1][0] if index + 1 < len(inside) else end_s
        lasts_s = min(until_s - at_s, 90.0)
        total += value * lasts_s
        seen_s += lasts_s
    return total / seen_s if seen_s >= LEAST_SEEN * (end_s - begin_s) and seen_s > 0 else None


def _burnt(burn: Burn, bad: str, series: Series, now_s: float) -> tuple[float | None, str]:
    """How many times faster than evenly, over both windows: the smaller of the two, since both have to be beyond."""
    shares = []
    for window_s in (burn.long_s, burn.short_s):
        begin_s = now_s - window_s
        every = mean(series.since(burn.of, begin_s), begin_s, now_s)
        failed = mean(series.since(bad, begin_s), begin_s, now_s)
        if every is None or failed is None:
            return None, f"less than half of the last {in_time(window_s)} is known"
        shares.append(failed / every if every > 0 else 0.0)
    value = min(shares) / burn.budget
    longer, shorter = (f"{100 * share:.3g}%" for share in shares)
    words = f"{MEANINGS[bad].words}: {longer} over {in_time(burn.long_s)}, {shorter} over {in_time(burn.short_s)}"
    return value, f"{words}; the budget of {100 * burn.budget:g}% burns {value:.3g} times as fast as evenly"


def _jumped(jump: Jump, name: str, series: Series, now_s: float) -> tuple[float | None, str]:
    """How many times the same hour before; 1 at most where it is not `least` more."""
    then_s = now_s - jump.before_s
    points = series.since(name, then_s - jump.window_s)
    current, before = mean(points, now_s - jump.window_s, now_s), mean(points, then_s - jump.window_s, then_s)
    if current is None:
        return None, f"less than half of the last {in_time(jump.window_s)} is known"
    if before is None:
        return None, f"nothing to compare with: no word of {in_time(jump.before_s)} before"
    value = current / before if before > 0 else (MANY_TIMES if current > 0 else 1.0)
    value = min(value, MANY_TIMES if current - before >= jump.least else 1.0)
    return (
        value,
        f"{_said(name, current)}, against {in_unit(before, MEANINGS[name].unit)} {in_time(jump.before_s)} before",
    )


def _said(name: str, value: float) -> str:
    meaning = MEANINGS[name]
    return f"{meaning.words}: {in_unit(value, meaning.unit)}"


def _no_word(heard_at_s: float | None) -> str:
    if heard_at_s is None:
        return "no word yet"
    return f"no word since {datetime.fromtimestamp(heard_at_s, UTC):%Y-%m-%d %H:%M:%S} UTC"
