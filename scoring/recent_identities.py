"""The last identities that were seen, within a fixed bound: a record that comes again is known."""

from __future__ import annotations

from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from models.number_table import NumberTable
from models.packed import Arrays

IDENTITIES_LIMIT = 131_072
"""A relay repeats 250 records at most, a client its newest ones: what comes again later counts again."""


class RecentIdentities:
    """A ring of 64-bit hashes; which are in it depends on the order of their coming alone.

    >>> recent = RecentIdentities(limit=2)
    >>> [recent.add(identity) for identity in (7, 8, 7, 9, 7)]
    [True, True, False, True, True]
    """

    def __init__(self, limit: int = IDENTITIES_LIMIT) -> None:
        self._ring: NDArray[np.int64] = np.zeros(limit, dtype=np.int64)
        self._added = 0
        self._table = NumberTable()

    def add(self, identity: int) -> bool:
        """Remember one; False where it is remembered already."""
        if self._table.find_one(identity) >= 0:
            return False
        place = self._added % self._ring.shape[0]
        if self._added >= self._ring.shape[0]:
            self._table.drop(int(self._ring[place]))
        self._ring[place] = identity
        self._table.put(identity, place)
        self._added += 1
        return True

    def digest(self) -> bytes:
        """The same for two that remember the same, in the same order."""
        return sha256(self._ring.tobytes() + str(self._added).encode()).digest()

    def arrays(self) -> Arrays:
        """All that is remembered."""
        used = min(self._added, self._ring.shape[0])
        sizes = np.array([self._added, self._ring.shape[0]], dtype=np.int64)
        return {"recent.ring": self._ring[:used], "recent.sizes": sizes}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> RecentIdentities:
        """What `arrays` was taken from."""
        added, limit = arrays["recent.sizes"].tolist()
        found = cls(limit)
        ring = arrays["recent.ring"]
        found._added = added
        found._ring[: ring.shape[0]] = ring
        found._table.put_many(ring, np.arange(ring.shape[0], dtype=np.int32))
        return found
