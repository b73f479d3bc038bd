"""How many different members a history has seen: the newest exactly, the others by a sketch that knows times.

The table of members has rows `(key, last seen)`. Members that were seen longest ago give way to a sliding HyperLogLog
(Chabchoub and Hébrail 2010): of each register it keeps the ranks that no later, larger one outdoes, with their times.
It answers for every window that ends now with the same relative standard error, 1.04 / sqrt(64) = 13%, whatever the
window's length. Rows of the sketch stand in the same table; the low four bits of a key tell them apart.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

SKETCH = 15
"""In the low bits of a key: a row of the sketch. Members have the position of their field there."""
REGISTER_BITS = 6
REGISTERS = 1 << REGISTER_BITS
POSITION_SHIFT, REGISTER_SHIFT, RANK_SHIFT = 4, 8, 16
RELATIVE_ERROR = 1.04 / REGISTERS**0.5


def member_key(member: int, position: int) -> int:
    """The key of a member in the table of members: its hash with the field's position in the low bits."""
    return (member & ~0xF) | position


@cache
def _compiled() -> Callable[[Ints, Ints, Ints], tuple[Ints, int]]:
    """The compiled part. Loading it takes most of a second: a process that only knows of features never does."""
    from features.distinct_kernel import keep_members

    return keep_members


def keep(table: bytes, keys: Ints, times: Ints) -> tuple[bytes, int | None]:
    """The table with these members in it, and until when members have given way just now; None where none did.

    Parameters
    ----------
    keys, times
        Of shape (n,), by `member_key`; microseconds since 1970.
    """
    kept, evicted_until = _compiled()(np.frombuffer(table, dtype=np.int64).reshape(-1, 2), keys, times)
    return kept.tobytes(), evicted_until or None
