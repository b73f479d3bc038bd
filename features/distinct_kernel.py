"""The loops of `features.distinct`, compiled: put members into the table, and estimate from the sketch.

Compiled by numba when first imported on a machine, then kept in its cache.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from features.distinct import POSITION_SHIFT, RANK_SHIFT, REGISTER_BITS, REGISTER_SHIFT, REGISTERS, SKETCH, Ints
from features.view import MEMBER_LIMIT

ALPHA = 0.709
LINEAR_UP_TO = 2.5 * REGISTERS


def _register_py(key: int) -> int:
    return (key >> 4) & (REGISTERS - 1)


def _rank_py(key: int) -> int:
    """One more than how many zeros the rest of the hash ends in: n members reach a rank near log2(n)."""
    rest = key >> (4 + REGISTER_BITS)
    rank = 1
    while rank < 64 - 4 - REGISTER_BITS and rest & 1 == 0:
        rest >>= 1
        rank += 1
    return rank


register_of: Any = njit(inline="always")(_register_py)
rank_of: Any = njit(inline="always")(_rank_py)


def _keep_py(table: Ints, keys: Ints, times: Ints) -> tuple[Ints, int]:
    """The table with these members in it, and until when members have given way (0: none)."""
    is_sketch = (table[:, 0] & 0xF) == SKETCH
    sketch = np.empty((len(table) + len(keys), 2), dtype=np.int64)
    n_sketch = 0
    every = np.empty((len(table) + len(keys), 2), dtype=np.int64)
    n_every = 0
    for i in range(len(table)):
        if is_sketch[i]:
            sketch[n_sketch] = table[i]
            n_sketch += 1
        else:
            every[n_every] = table[i]
            n_every += 1
    for i in range(len(keys)):
        every[n_every, 0] = keys[i]
        every[n_every, 1] = times[i]
        n_every += 1
    order = np.argsort(every[:n_every, 0], kind="mergesort")
    n_known = 0
    known = np.empty((n_every, 2), dtype=np.int64)
    for i in order:
        if n_known > 0 and known[n_known - 1, 0] == every[i, 0]:
            known[n_known - 1, 1] = max(known[n_known - 1, 1], every[i, 1])
        else:
            known[n_known] = every[i]
            n_known += 1
    evicted_until = np.int64(0)
    if n_known > MEMBER_LIMIT:
        oldest_first = np.argsort(known[:n_known, 1], kind="mergesort")
        n_old = n_known - MEMBER_LIMIT
        for i in oldest_first[:n_old]:
            evicted_until = known[i, 1]
            n_sketch = _note(sketch, n_sketch, known[i, 0], known[i, 1])
        kept = known[oldest_first[n_old:]]
    else:
        kept = known[:n_known]
    return np.concatenate((kept, sketch[:n_sketch])), evicted_until  # type: ignore[return-value]


def _note_py(sketch: Ints, size: int, key: int, seen_us: int) -> int:
    """Put one member into the sketch, unless a later one of its register outdoes it; the sketch's new size."""
    own = (register_of(key) << REGISTER_SHIFT) | ((key & 0xF) << POSITION_SHIFT) | SKETCH
    rank = rank_of(key)
    for i in range(size):
        if sketch[i, 0] & 0xFFFF == own and sketch[i, 1] >= seen_us and sketch[i, 0] >> RANK_SHIFT >= rank:
            return size
    left = 0
    for i in range(size):
        if sketch[i, 0] & 0xFFFF == own and sketch[i, 1] <= seen_us and sketch[i, 0] >> RANK_SHIFT <= rank:
            continue
        sketch[left] = sketch[i]
        left += 1
    sketch[left, 0] = own | (rank << RANK_SHIFT)
    sketch[left, 1] = seen_us
    return left + 1


_note: Any = njit(_note_py)
keep_members: Callable[..., tuple[Ints, int]] = njit(
    "Tuple((int64[:,::1], int64))(Array(int64, 2, 'C', readonly=True), int64[::1], int64[::1])", cache=True
)(_keep_py)


def _estimate_py(ranks: Ints) -> float:
    """HyperLogLog's estimate from the largest rank of each register, shape (REGISTERS,), 0 where it saw none."""
    total = 0.0
    empty = 0
    for rank in ranks:
        total += 2.0 ** -float(rank)
        empty += rank == 0
    found = ALPHA * REGISTERS * REGISTERS / total
    if found <= LINEAR_UP_TO and empty > 0:
        return REGISTERS * np.log(REGISTERS / empty)  # type: ignore[no-any-return]
    return found


estimate: Any = njit(_estimate_py)
