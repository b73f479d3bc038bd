"""What each visitor did lately: the recent items that learning needs, and all seen items, within fixed bounds.

Visitors are known by a 64-bit hash of their id. Actions lie in blocks of eight, chained newest first. Beyond
`ACTIONS_LIMIT` actions a visitor's oldest block goes; beyond the limits of visitors or blocks, the visitor who has been
away for longest goes. Both depend on the order of actions alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.growing import grown
from models.number_table import NumberTable, find_one
from models.packed import Arrays
from models.visit import RECENT_LIMIT, Visit

Numbers = NDArray[np.int32]
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

BLOCK = 8
ACTIONS_LIMIT = 1024
"""Actions kept of one visitor."""
VISITORS_LIMIT = 1_000_000
BLOCKS_LIMIT = 2_000_000
"""Of all visitors: 16 million actions in about 290 MB."""
NONE = -1
HEAD, COUNT, NEWER, OLDER = range(4)
"""The columns of a visitor: his newest block, how many actions he has, and his neighbours in the order of coming."""


def _append_py(
    visitor: Numbers, items: Numbers, times: Ints, weights: Floats, following: Numbers, fresh: int, item: int,
    at_us: int, weight: float, limit: int,
) -> int:  # fmt: skip
    """Add an action; a full head block is followed by the block `fresh`. Gives a block that is free now, or -1."""
    count = visitor[COUNT]
    place = count % BLOCK
    freed = NONE
    if place == 0:
        following[fresh] = visitor[HEAD]
        visitor[HEAD] = fresh
        if count >= limit:
            before = fresh
            while following[following[before]] != NONE:
                before = following[before]
            freed = following[before]
            following[before] = NONE
            count -= BLOCK
    head = visitor[HEAD]
    items[head, place] = item
    times[head, place] = at_us
    weights[head, place] = np.float32(weight)
    visitor[COUNT] = count + 1
    return freed


def _read_py(
    visitor: Numbers, items: Numbers, times: Ints, weights: Floats, following: Numbers,
    recent: Numbers, recent_times: Ints, recent_weights: Floats, seen: Numbers,
) -> tuple[int, int]:  # fmt: skip
    """Write the distinct recent items and all seen ones, newest first; gives how many of each."""
    found = 0
    total = 0
    block = visitor[HEAD]
    last = (visitor[COUNT] - 1) % BLOCK
    while block >= 0 and total < seen.shape[0]:
        for place in range(last, -1, -1):
            if total < seen.shape[0]:
                item = items[block, place]
                seen[total] = item
                total += 1
                known = found >= recent.shape[0]
                for i in range(found):
                    known |= recent[i] == item
                if not known:
                    recent[found] = item
                    recent_times[found] = times[block, place]
                    recent_weights[found] = weights[block, place]
                    found += 1
        block = following[block]
        last = BLOCK - 1
    return found, total


_append: Callable[..., int] = njit(
    "int64(int32[::1], int32[:,::1], int64[:,::1], float32[:,::1], int32[::1], int64, int64, int64, float64, int64)",
    cache=True,
    nogil=True,
)(_append_py)
_read: Any = njit(_read_py)


def _visited_py(
    keys: Ints, numbers: Numbers, key: int, visitors: Numbers, items: Numbers, times: Ints, weights: Floats,
    following: Numbers, limit: int,
) -> tuple[Numbers, Ints, Floats, Numbers]:  # fmt: skip
    """The distinct recent items, at most `limit`, with times and weights, and all seen ones; none of a stranger."""
    number = find_one(keys, numbers, key)
    count = visitors[number, COUNT] if number >= 0 else 0
    recent = min(count, limit)
    of_recent, its_times = np.empty(recent, dtype=np.int32), np.empty(recent, dtype=np.int64)
    its_weights, seen = np.empty(recent, dtype=np.float32), np.empty(count, dtype=np.int32)
    found, total = 0, 0
    if number >= 0:
        found, total = _read(
            visitors[number], items, times, weights, following, of_recent, its_times, its_weights, seen
        )
    return of_recent[:found], its_times[:found], its_weights[:found], seen[:total]


_visited: Callable[..., tuple[Numbers, Ints, Floats, Numbers]] = njit(
    "Tuple((int32[::1], int64[::1], float32[::1], int32[::1]))(int64[::1], int32[::1], int64, int32[:,::1],"
    " int32[:,::1], int64[:,::1], float32[:,::1], int32[::1], int64)",
    cache=True,
    nogil=True,
)(_visited_py)


class Visitors:
    """Actions by visitor. Items are numbers; nothing else than the hash is kept of who the visitor is."""

    def __init__(self, visitors_limit: int = VISITORS_LIMIT, blocks_limit: int = BLOCKS_LIMIT) -> None:
        if visitors_limit < 1 or blocks_limit <= ACTIONS_LIMIT // BLOCK:
            raise ValueError(
                f"limits of {visitors_limit} visitors and {blocks_limit} blocks hold no visitor;"
                f" give at least 1 and {ACTIONS_LIMIT // BLOCK + 1}"
            )
        self._visitors_limit, self._blocks_limit = visitors_limit, blocks_limit
        self._table = NumberTable()
        self._keys = np.zeros(0, dtype=np.int64)
        self._visitors = np.zeros((0, 4), dtype=np.int32)
        self._used = 0
        self._free_visitors: list[int] = []
        self._newest = self._oldest = NONE
        self._items = np.zeros((0, BLOCK), dtype=np.int32)
        self._times = np.zeros((0, BLOCK), dtype=np.int64)
        self._weights = np.zeros((0, BLOCK), dtype=np.float32)
        self._following = np.zeros(0, dtype=np.int32)
        self._blocks = 0
        self._free_blocks: list[int] = []

    def __len__(self) -> int:
        return len(self._table)

    def learn_one(self, key: int, item: int, weight: float, at_us: int) -> None:
        """Keep one action of the visitor with this hash."""
        number = self._table.find_one(key)
        if number < 0:
            number = self._enter(key)
        elif number != self._newest:
            self._unlink(number)
            self._link(number)
        visitor = self._visitors[number]
        fresh = self._fresh_block() if visitor[COUNT] % BLOCK == 0 else NONE
        freed = _append(
            visitor, self._items, self._times, self._weights, self._following, fresh, item, at_us, weight, ACTIONS_LIMIT
        )
        if freed >= 0:
            self._free_blocks.append(freed)

    def visit(self, key: int, user: str, at_us: int) -> Visit:
        """What is known of the visitor; an empty visit for a stranger."""
        items, times_us, weights, seen = _visited(
            *self._table.slots, key, self._visitors, self._items, self._times, self._weights, self._following,
            RECENT_LIMIT,
        )  # fmt: skip
        return Visit(user, items, times_us, weights, seen, at_us)

    def forget(self, key: int) -> bool:
        """Drop all that is kept of a visitor; whether there was anything."""
        number = self._table.find_one(key)
        if number < 0:
            return False
        self._leave(number)
        return True

    def _enter(self, key: int) -> int:
        if len(self._table) >= self._visitors_limit:
            self._leave(self._oldest)
        if self._free_visitors:
            number = self._free_visitors.pop()
        else:
            number = self._used
            self._used += 1
            self._visitors = grown(self._visitors, self._used)
            self._keys = grown(self._keys, self._used)
        self._keys[number] = key
        self._visitors[number, HEAD] = NONE
        self._visitors[number, COUNT] = 0
        self._table.put(key, number)
        self._link(number)
        return number

    def _leave(self, number: int) -> None:
        block = int(self._visitors[number, HEAD])
        while block != NONE:
            following = int(self._following[block])
            # What was done is overwritten, so that neither memory nor a snapshot has it any longer.
            self._items[block], self._times[block], self._weights[block] = 0, 0, 0.0
            self._following[block] = NONE
            self._free_blocks.append(block)
            block = following
        self._unlink(number)
        self._table.drop(int(self._keys[number]))
        self._keys[number] = 0
        self._visitors[number] = (NONE, 0, NONE, NONE)
        self._free_visitors.append(number)

    def _fresh_block(self) -> int:
        if not self._free_blocks and self._blocks >= self._blocks_limit:
            # Never the visitor at hand: he is the newest, and one visitor cannot own all blocks.
            self._leave(self._oldest)
        if self._free_blocks:
            return self._free_blocks.pop()
        self._blocks += 1
        self._items = grown(self._items, self._blocks)
        self._times = grown(self._times, self._blocks)
        self._weights = grown(self._weights, self._blocks)
        self._following = grown(self._following, self._blocks)
        return self._blocks - 1

    def _link(self, number: int) -> None:
        self._visitors[number, OLDER], self._visitors[number, NEWER] = self._newest, NONE
        if self._newest != NONE:
            self._visitors[self._newest, NEWER] = number
        else:
            self._oldest = number
        self._newest = number

    def _unlink(self, number: int) -> None:
        newer, older = int(self._visitors[number, NEWER]), int(self._visitors[number, OLDER])
        if newer != NONE:
            self._visitors[newer, OLDER] = older
        else:
            self._newest = older
        if older != NONE:
            self._visitors[older, NEWER] = newer
        else:
            self._oldest = newer

    def arrays(self) -> Arrays:
        """All that is kept, and the order in which free places are given out."""
        used, blocks = self._used, self._blocks
        return {
            "visitors.keys": self._keys[:used],
            "visitors.visitors": self._visitors[:used],
            "visitors.free": np.array(self._free_visitors, dtype=np.int32),
            "visitors.ends": np.array([self._newest, self._oldest], dtype=np.int32),
            "visitors.limits": np.array([self._visitors_limit, self._blocks_limit], dtype=np.int64),
            "visitors.items": self._items[:blocks],
            "visitors.times": self._times[:blocks],
            "visitors.weights": self._weights[:blocks],
            "visitors.following": self._following[:blocks],
            "visitors.free_blocks": np.array(self._free_blocks, dtype=np.int32),
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Visitors:
        """What `arrays` was taken from."""
        found = cls(*arrays["visitors.limits"].tolist())
        found._keys, found._visitors = arrays["visitors.keys"], arrays["visitors.visitors"]
        found._used = found._keys.shape[0]
        found._free_visitors = arrays["visitors.free"].tolist()
        found._newest, found._oldest = arrays["visitors.ends"].tolist()
        found._items, found._times = arrays["visitors.items"], arrays["visitors.times"]
        found._weights, found._following = arrays["visitors.weights"], arrays["visitors.following"]
        found._blocks = found._following.shape[0]
        found._free_blocks = arrays["visitors.free_blocks"].tolist()
        here = np.ones(found._used, dtype=np.bool_)
        here[arrays["visitors.free"]] = False
        numbers = np.flatnonzero(here).astype(np.int32)
        found._table.put_many(found._keys[numbers], numbers)
        return found
