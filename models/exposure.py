"""How often each item was shown and clicked in slates: what exploration draws from.

A click counts once for each item of a slate, and only for slates among the last `SLATES_LIMIT`. Counts decay by
halves whenever an item's impressions reach `IMPRESSIONS_LIMIT`, so that an old record does not outweigh what is new.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.growing import grown
from models.number_table import NumberTable
from models.packed import Arrays

Floats = NDArray[np.float32]

SLATES_LIMIT = 65_536
PLACES_LIMIT = 32
"""How many items of one slate are kept."""
IMPRESSIONS_LIMIT = 10_000.0
NOBODY = -1
CLICKED = -2
SHOWN, CLICKS, EXPLORED, EXPLORED_CLICKS = range(4)
"""The columns of counts: all impressions, their clicks, and those of exploration places alone."""


class Exposure:
    """Impressions and clicks by item number, and the last slates by the hash of their id."""

    def __init__(self) -> None:
        self._counts = np.zeros((0, 4), dtype=np.float32)
        self._length = 0
        self._table = NumberTable()
        self._keys = np.zeros(0, dtype=np.int64)
        self._items = np.zeros((0, PLACES_LIMIT), dtype=np.int32)
        self._explored = np.zeros((0, PLACES_LIMIT), dtype=np.bool_)
        self._slates = 0

    def reserve(self, length: int) -> None:
        """Have a place for each of so many items."""
        if length > self._length:
            self._counts = grown(self._counts, length)
            self._length = length

    def shown(self, slate: int, items: Sequence[int], explored: Sequence[bool]) -> bool:
        """Count a slate's impressions; nothing, and False, for a slate that was counted already."""
        if self._table.find_one(slate) >= 0:
            return False
        place = self._slates % SLATES_LIMIT
        self._slates += 1
        if place >= self._keys.shape[0] or self._slates <= SLATES_LIMIT:
            self._keys = grown(self._keys, place + 1)
            self._items = grown(self._items, place + 1)
            self._explored = grown(self._explored, place + 1)
        else:
            self._table.drop(int(self._keys[place]))
        kept = min(len(items), PLACES_LIMIT)
        self._keys[place] = slate
        self._items[place] = NOBODY
        self._items[place, :kept] = items[:kept]
        self._explored[place] = False
        self._explored[place, :kept] = explored[:kept]
        self._table.put(slate, place)
        for item, was_explored in zip(items, explored, strict=True):
            counts = self._counts[item]
            counts[SHOWN] += 1.0
            if was_explored:
                counts[EXPLORED] += 1.0
            if counts[SHOWN] >= IMPRESSIONS_LIMIT:
                counts *= np.float32(0.5)
        return True

    def clicked(self, slate: int, item: int) -> bool:
        """Count a click on an item of a slate; whether it counted: not twice, nor where it was not shown."""
        place = self._table.find_one(slate)
        if place < 0 or item < 0:
            return False
        where = np.flatnonzero(self._items[place] == item)
        if not where.shape[0]:
            return False
        self._items[place, where[0]] = CLICKED
        self._counts[item, CLICKS] += 1.0
        if self._explored[place, where[0]]:
            self._counts[item, EXPLORED_CLICKS] += 1.0
        return True

    @property
    def by_item(self) -> Floats:
        """By number impressions and clicks, all and explored: float32[n, 4] by `SHOWN` to `EXPLORED_CLICKS`; clicks are
        at most impressions. A view: do not write."""
        return self._counts[: self._length]

    def arrays(self) -> Arrays:
        """All that it knows."""
        used = min(self._slates, SLATES_LIMIT)
        return {
            "exposure.counts": self._counts[: self._length],
            "exposure.keys": self._keys[:used],
            "exposure.items": self._items[:used],
            "exposure.explored": self._explored[:used],
            "exposure.slates": np.array([self._slates], dtype=np.int64),
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Exposure:
        """What `arrays` was taken from."""
        found = cls()
        found._counts = arrays["exposure.counts"]
        found._length = found._counts.shape[0]
        found._keys, found._items = arrays["exposure.keys"], arrays["exposure.items"]
        found._explored = arrays["exposure.explored"]
        found._slates = int(arrays["exposure.slates"][0])
        found._table.put_many(found._keys, np.arange(found._keys.shape[0], dtype=np.int32))
        return found
