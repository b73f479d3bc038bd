"""Durations as people write them in declarations and settings: `10m`, `1h`, `7d`."""

import re

UNIT_US = {"ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}


def duration_us(text: str) -> int:
    """Microseconds of a duration. Raises `ValueError` that quotes what was given.

    >>> duration_us("10m")
    600000000
    """
    match = re.fullmatch(r"([0-9]{1,6})(ms|s|m|h|d)", text)
    if not match:
        raise ValueError(f"{text!r} is not a duration; write a whole number and ms, s, m, h or d, such as '10m'")
    return int(match[1]) * UNIT_US[match[2]]
