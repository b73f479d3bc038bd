"""How many different members a history has seen: the newest exactly, the others by a sketch that knows times.

The table of members has rows `(key, last seen)`. Members that were seen longest ago give way to a sliding HyperLogLog
(Chabchoub and Hébrail 2010): of each register it keeps the ranks that no later, larger one outdoes, with their times.
It answers for every window that ends now with the same relative standard error, 1.04 / sqrt(64) = 13%, whatever the
window's length. Rows of the sketch stand in the same table; the low four bits of a key tell them apart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from features.view import MEMBER_LIMIT

Ints = NDArray[np.int64]

SKETCH = 15
"""In the low bits of a key: a row of the sketch. Members have the position of their field there."""
REGISTER_BITS = 6
REGISTERS = 1 << REGISTER_BITS
POSITION_SHIFT, REGISTER_SHIFT, RANK_SHIFT = 4, 8, 16
ALPHA = 0.709
LINEAR_UP_TO = 2.5 * REGISTERS
RELATIVE_ERROR = 1.04 / REGISTERS**0.5


def member_key(member: int, position: int) -> int:
    """The key of a member in the table of members: its hash with the field's position in the low bits."""
    return (member & ~0xF) | position


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
_keep: Callable[..., tuple[Ints, int]] = njit(
    "Tuple((int64[:,::1], int64))(Array(int64, 2, 'C', readonly=True), int64[::1], int64[::1])", cache=True
)(_keep_py)


def keep(table: bytes, keys: Ints, times: Ints) -> tuple[bytes, int | None]:
    """The table with these members in it, and until when members have given way just now; None where none did.

    Parameters
    ----------
    keys, times
        Of shape (n,), by `member_key`; microseconds since 1970.
    """
    kept, evicted_until = _keep(np.frombuffer(table, dtype=np.int64).reshape(-1, 2), keys, times)
    return kept.tobytes(), evicted_until or None


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
