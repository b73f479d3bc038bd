"""Where the mean of a series of numbers changed: River's ADWIN. One of two files that know River."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from river import drift


class ChangePoint(NamedTuple):
    """The last place at which a mean changed.

    `position` is how many numbers ADWIN still holds for of the old kind; `before` and `after` are the means of those up
    to it and of those since.
    """

    position: int
    before: float
    after: float


def last_change(values: Iterable[float], delta: float) -> ChangePoint | None:
    """The newest change of the mean of numbers in [0, 1]; None where there is none.

    `delta` bounds the probability of one false alarm at each look; ADWIN looks at every 32nd number. Source: A. Bifet,
    R. Gavaldà, "Learning from time-changing data with adaptive windowing", 2007.
    """
    adwin = drift.ADWIN(delta=delta)
    sums = [0.0]
    for value in values:
        adwin.update(value)
        sums.append(sums[-1] + value)
    seen, total = len(sums) - 1, sums[-1]
    # What it has dropped is of another mean than what it holds.
    changed_at = seen - int(adwin.width)
    if not changed_at:
        return None
    return ChangePoint(changed_at, sums[changed_at] / changed_at, (total - sums[changed_at]) / (seen - changed_at))
