"""Numbers, times and names as pages write them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86400


def money(amount: float) -> str:
    """An amount without its currency: cents up to ten thousand, none above.

    >>> money(1234.5), money(1234567.8)
    ('1,234.50', '1,234,568')
    """
    return f"{amount:,.2f}" if abs(amount) < 10_000 else f"{amount:,.0f}"


def percent(share: float | None) -> str:
    """A share as percent, with as many digits as say something.

    >>> percent(0.934), percent(0.0042), percent(None)
    ('93%', '0.42%', '–')
    """
    if share is None or math.isnan(share):
        return "–"
    return f"{100 * share:.0f}%" if share >= 0.1 else f"{100 * share:.2g}%"


def number(value: float | None) -> str:
    """A feature's value, in four digits or so.

    >>> number(3.0), number(0.12345), number(81234.5), number(None)
    ('3', '0.1235', '81,234', 'unknown')
    """
    if value is None or math.isnan(value):
        return "unknown"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:,.4g}"


def ago(then: datetime, now: datetime) -> str:
    """How far a time is from now, in the largest unit that is not coarse.

    >>> noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    >>> ago(datetime(2026, 1, 1, 9, tzinfo=UTC), noon), ago(datetime(2026, 1, 1, 12, 20, tzinfo=UTC), noon)
    ('3 h ago', 'in 20 min')
    """
    seconds = round((then - now).total_seconds())
    size = abs(seconds)
    if size < MINUTE_S:
        return "now"
    if size < 90 * MINUTE_S:
        text = f"{round(size / MINUTE_S)} min"
    elif size < 36 * HOUR_S:
        text = f"{round(size / HOUR_S)} h"
    else:
        text = f"{round(size / DAY_S)} d"
    return f"{text} ago" if seconds < 0 else f"in {text}"


def stamp(moment: datetime) -> str:
    """A time in full, in UTC.

    >>> stamp(datetime(2026, 1, 1, 9, 5, 7, tzinfo=UTC))
    '2026-01-01 09:05:07 UTC'
    """
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def since(then: datetime, now: datetime) -> Markup:
    """A time as how far it is from now, which the page keeps right; in full where one points at it."""
    mark = '<time datetime="{}" title="{}" data-ago>{}</time>'
    return Markup(mark).format(then.astimezone(UTC).isoformat(timespec="seconds"), stamp(then), ago(then, now))


def count(number: int, one: str, many: str = "") -> str:
    """So many of something.

    >>> count(1, "case"), count(1200, "case")
    ('1 case', '1,200 cases')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def initials(name: str) -> str:
    """Two letters for a person.

    >>> initials("ann.lee@example.org"), initials("Bo")
    ('al', 'bo')
    """
    words = re.findall(r"[^-._ ]+", name.split("@", maxsplit=1)[0])
    letters = words[0][0] + words[1][0] if len(words) > 1 else (words[0] if words else name)[:2]
    return letters.lower()


FILTERS: dict[str, Callable[..., Any]] = {
    "money": money,
    "percent": percent,
    "number": number,
    "ago": ago,
    "stamp": stamp,
    "since": since,
    "count": count,
    "initials": initials,
}
