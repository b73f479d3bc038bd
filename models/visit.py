"""What is known of a visitor at a moment: all that candidates are made from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RECENT_LIMIT = 200
"""How many recent items of a visitor candidates are made from. The batch fit asks all of them, online sources fewer."""


class Visit(NamedTuple):
    """A visitor at `at_us`. Items are numbers of `ItemIndex`, known ones only.

    `items` are the recent items, newest first, distinct, at most `RECENT_LIMIT`, with the time and the weight of the
    newest action on each; an item of weight 0 is one that the visitor did not want. `seen` are all items that must not
    be recommended again, in no order, those of `items` too. `category` narrows answers to one category; -1 does not.
    """

    user: str
    items: NDArray[np.int32]
    times_us: NDArray[np.int64]
    weights: NDArray[np.float32]
    seen: NDArray[np.int32]
    at_us: int
    scenario: str = ""
    category: int = -1


def empty_visit(user: str, at_us: int, scenario: str = "", category: int = -1) -> Visit:
    """A visitor of whom nothing is known."""
    none = np.zeros(0, dtype=np.int32)
    return Visit(
        user, none, np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32), none, at_us, scenario, category
    )
