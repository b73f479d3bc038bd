"""How sure a share is that was counted."""

from __future__ import annotations

from typing import NamedTuple

Z = 1.959963984540054


class Interval(NamedTuple):
    """A share and the bounds in which the true one lies, 95 times of 100."""

    share: float
    low: float
    high: float


def wilson(hits: int, tries: int) -> Interval | None:
    """Wilson's interval of a share: it stays in [0, 1], also for few tries. None without any.

    >>> [round(number, 3) for number in wilson(1, 10)]
    [0.1, 0.018, 0.404]
    >>> [round(number, 3) for number in wilson(0, 10)], wilson(0, 0)
    ([0.0, 0.0, 0.278], None)
    """
    if tries == 0:
        return None
    share, square = hits / tries, Z * Z / tries
    middle = (share + square / 2) / (1 + square)
    spread = Z * (share * (1 - share) / tries + square / (4 * tries)) ** 0.5 / (1 + square)
    return Interval(share, max(0.0, middle - spread), min(1.0, middle + spread))
