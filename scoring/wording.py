"""Words for values: a number with its unit, as an analyst reads it."""

from __future__ import annotations

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
SPANS = ((86_400.0, "days"), (3600.0, "hours"), (60.0, "minutes"))
SPAN_FROM = 1.5
"""A longer unit of time is spoken of from one and a half of it on."""
SPOKEN_UNITS = frozenset({"km", "km/h"})
WHOLE_FROM = 100.0


def spoken(value: float | None, unit: str, currency: str = "") -> str:
    """A value in words; None is unknown. `unit` is the catalogue's.

    >>> [spoken(5400.0, "seconds"), spoken(0.125, "share"), spoken(3.0, "hours"), spoken(1299.9, "currency", "EUR")]
    ['1.5 hours', '12.5%', '03:00', '1,299.90 EUR']
    """
    if value is None or value != value:  # noqa: PLR0124  NaN
        return "unknown"
    match unit:
        case "seconds":
            return duration(value)
        case "share":
            return f"{100 * value:.3g}%"
        case "hours":
            return f"{int(value) % 24:02d}:00"
        case "days":
            return WEEKDAYS[int(value) % 7]
        case "currency":
            return f"{value:,.2f} {currency}".rstrip()
        case "ratio":
            return f"{number(value)} times"
        case "deviations":
            return f"{number(value)} standard deviations"
    return f"{number(value)} {unit}" if unit in SPOKEN_UNITS else number(value)


def number(value: float) -> str:
    """As many digits as say something: whole from 100 on, three below.

    >>> [number(2555163.4), number(0.30001), number(4.0), number(99.96)]
    ['2,555,163', '0.3', '4', '100']
    """
    if abs(value) >= WHOLE_FROM or value == int(value):
        return f"{value:,.0f}"
    text = f"{value:.3g}"
    return text if "e" not in text else f"{value:.1e}"


def duration(value_s: float) -> str:
    """A time in the longest unit that it fills.

    >>> [duration(0.0), duration(89.0), duration(600.0), duration(2555163.0)]
    ['0 seconds', '89 seconds', '10 minutes', '29.6 days']
    """
    for size_s, name in SPANS:
        if abs(value_s) >= SPAN_FROM * size_s:
            return f"{number(value_s / size_s)} {name}"
    return f"{number(round(value_s, 1))} seconds"
