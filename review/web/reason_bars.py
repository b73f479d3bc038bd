"""A reason's value beside what is usual, as a bar with a mark."""

from __future__ import annotations

import math
from typing import NamedTuple

from stream.records import Reason

WIDTH = 150.0


class Bar(NamedTuple):
    """How long the bar of the value is and where the mark of the usual stands, in units of a box of `WIDTH`."""

    value: float
    usual: float
    below: bool
    width: float = WIDTH


def bar(reason: Reason) -> Bar | None:
    """Both on one scale from 0; None where one is unknown or below 0, or both are 0: nothing to compare by eye."""
    value, usual = reason.value, reason.usual
    if value is None or usual is None or not (math.isfinite(value) and math.isfinite(usual)):
        return None
    most = max(value, usual)
    if min(value, usual) < 0.0 or most <= 0.0:
        return None
    room = WIDTH - 4.0
    return Bar(round(max(room * value / most, 1.0), 1), round(room * usual / most, 1), value < usual)
