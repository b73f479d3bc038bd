"""A hash table from 64-bit keys to small numbers, in numpy arrays: looked up from Python or within compiled loops.

Open addressing with linear probing, at most half full. What it holds does not depend on the order of insertion, its
layout does: whoever writes state down writes the keys by number, and builds the table again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Keys = NDArray[np.int64]
Numbers = NDArray[np.int32]
SLOTS_LEAST = 64


def _slot_py(key: int, last: int) -> int:
    """Where a key's search begins: a mix of all its bits, so that keys in sequence do not cluster."""
    mixed = np.uint64(key)
    mixed = (mixed ^ (mixed >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    mixed = (mixed ^ (mixed >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return np.int64((mixed ^ (mixed >> np.uint64(33))) & np.uint64(last))  # type: ignore[return-value]


_slot: Any = njit(inline="always")(_slot_py)


def _find_one_py(keys: Keys, numbers: Numbers, key: int) -> int:
    last = keys.shape[0] - 1
    slot = _slot(key, last)
    while numbers[slot] >= 0:
        if keys[slot] == key:
            return numbers[slot]  # type: ignore[no-any-return]
        slot = (slot + 1) & last
    return -1


find_one: Callable[[Keys, Numbers, int], int] = njit("int64(int64[::1], int32[::1], int64)", cache=True, nogil=True)(
    _find_one_py
)
"""The number of one key in the slots of a table, or -1: for compiled loops."""


def _insert_py(keys: Keys, numbers: Numbers, added: Keys, first: Numbers) -> None:
    last = keys.shape[0] - 1
    for i in range(added.shape[0]):
        slot = _slot(added[i], last)
        while numbers[slot] >= 0 and keys[slot] != added[i]:
            slot = (slot + 1) & last
        keys[slot] = added[i]
        numbers[slot] = first[i]


def _drop_py(keys: Keys, numbers: Numbers, key: int) -> bool:
    last = keys.shape[0] - 1
    slot = _slot(key, last)
    while numbers[slot] >= 0 and keys[slot] != key:
        slot = (slot + 1) & last
    if numbers[slot] < 0:
        return False
    # Move back what would no longer be found across the gap.
    gap = slot
    while True:
        slot = (slot + 1) & last
        if numbers[slot] < 0:
            break
        home = _slot(keys[slot], last)
        if ((slot - home) & last) >= ((slot - gap) & last):
            keys[gap] = keys[slot]
            numbers[gap] = numbers[slot]
            gap = slot
    numbers[gap] = -1
    return True


_insert: Callable[[Keys, Numbers, Keys, Numbers], None] = njit(
    "void(int64[::1], int32[::1], int64[::1], int32[::1])", cache=True, nogil=True
)(_insert_py)
_drop: Callable[[Keys, Numbers, int], bool] = njit("boolean(int64[::1], int32[::1], int64)", cache=True, nogil=True)(
    _drop_py
)


class NumberTable:
    """Keys are any int64, numbers at least 0. One writer; readers beside it may miss what is being added.

    Attributes
    ----------
    slots
        Keys and numbers by slot, for compiled loops; -1 is no number.
    """

    def __init__(self) -> None:
        # Both arrays in one tuple, so that a reader beside the writer never has the keys of one and the numbers of
        # another table.
        self.slots = _no_slots(SLOTS_LEAST)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def find_one(self, key: int) -> int:
        """The number of one key, or -1."""
        return find_one(*self.slots, key)

    def put(self, key: int, number: int) -> None:
        """Add a key that is not there."""
        self.put_many(np.array([key], dtype=np.int64), np.array([number], dtype=np.int32))

    def put_many(self, keys: Keys, numbers: Numbers) -> None:
        """Add distinct keys that are not there."""
        self._count += keys.shape[0]
        if 2 * self._count > self.slots[0].shape[0]:
            old_keys, old_numbers = self.slots
            slots = SLOTS_LEAST
            while slots < 4 * self._count:
                slots *= 2
            fresh = _no_slots(slots)
            held = old_numbers >= 0
            _insert(*fresh, old_keys[held], old_numbers[held])
            self.slots = fresh
        _insert(*self.slots, keys, numbers)

    def drop(self, key: int) -> None:
        """Forget a key; nothing where it is not there."""
        self._count -= _drop(*self.slots, key)


def _no_slots(slots: int) -> tuple[Keys, Numbers]:
    return np.zeros(slots, dtype=np.int64), np.full(slots, -1, dtype=np.int32)
