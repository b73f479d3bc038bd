"""How alerts put numbers, lengths of time and conditions into words."""

from __future__ import annotations

from review.alert_condition import Condition
from review.alert_series import MEANINGS


def in_time(seconds: float) -> str:
    """A length of time in the largest unit that it is a whole number of, roughly.

    >>> in_time(90), in_time(300), in_time(7200), in_time(86400)
    ('90 s', '5 min', '2 h', '1 d')
    """
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 100 * size or (seconds >= size and seconds % size < 1):
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"


def in_unit(value: float, unit: str) -> str:
    """A value as one reads it.

    >>> in_unit(0.034, "share"), in_unit(95.0, "s"), in_unit(2.5, "a second"), in_unit(3.0, "")
    ('3.4%', '95 s', '2.5 a second', '3')
    """
    if unit == "share":
        return f"{100 * value:.3g}%"
    if unit == "s":
        return in_time(value) if value >= 1 else f"{value:.2g} s"
    return f"{value:.3g} {unit}".rstrip()


def condition_words(condition: Condition) -> str:
    """What it says of its series, in a line.

    >>> from review.alert_file import load_alerts
    >>> condition_words(load_alerts().named("lag"))
    'the oldest unread record waits more than 10 s for 2 min'
    """
    meaning = MEANINGS[condition.series]
    lasting = f" for {in_time(condition.for_s)}" if condition.for_s else ""
    if condition.silent_s is not None:
        return f"no word of {meaning.words} for {in_time(condition.silent_s)}{lasting}"
    if condition.burn:
        burn = condition.burn
        words = (
            f"{meaning.words} burn their budget of {100 * burn.budget:g}% more than {burn.factor:g} times as fast as"
        )
        return f"{words} evenly, over {in_time(burn.long_s)} and {in_time(burn.short_s)}{lasting}"
    if condition.jump:
        jump = condition.jump
        words = f"{meaning.words} over {in_time(jump.window_s)} more than {jump.ratio:g} times that of"
        return f"{words} {in_time(jump.before_s)} before, and {in_unit(jump.least, meaning.unit)} more{lasting}"
    over = f" over {in_time(condition.window_s)}" if condition.window_s else ""
    side = "less" if condition.kind == "below" else "more"
    return f"{meaning.words}{over} {side} than {in_unit(condition.level, meaning.unit)}{lasting}"
