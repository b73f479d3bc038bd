"""What a visitor did, read from rows, and the newest action on each item: compiled, since there may be a thousand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from models.compiled import read_only
from models.number_table import find_one

Numbers = NDArray[np.int32]
Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
SLOTS_LEAST = 64
POSITION_BITS = 0xF
"""Of a member's key: the position of its field. The others are the item's."""


def _read_done_py(
    cells: Ints, members: Ints, places: Ints, weights: Floats, hashes: Ints, times: Ints, worth: Floats
) -> int:
    """Write hash, time and weight of each row and of each member of the item's field. Gives how many.

    `places` are the columns of the item, of a purchase and of what is unwanted, then the position of the item's field
    among members; `weights` those of a purchase and of any other action.
    """
    item, purchase, unwanted, position = places
    values = cells.view(np.float64)
    found = 0
    for i in range(members.shape[0]):
        if members[i, 0] & POSITION_BITS == position:
            hashes[found] = members[i, 0] & ~np.int64(POSITION_BITS)
            times[found] = members[i, 1]
            worth[found] = weights[1]
            found += 1
    for i in range(cells.shape[0]):
        if cells[i, item] != 0:
            hashes[found] = cells[i, item] & ~np.int64(POSITION_BITS)
            times[found] = cells[i, 0]
            if values[i, unwanted] > 0.0:
                worth[found] = 0.0
            else:
                worth[found] = weights[0] if values[i, purchase] > 0.0 else weights[1]
            found += 1
    return found


def _newest_py(numbers: Numbers, times: Ints, kept: Ints) -> int:
    """Write into `kept` the place of the newest action on each item; of equal times the last one. Gives how many."""
    slots = SLOTS_LEAST
    while slots < 2 * numbers.shape[0]:
        slots *= 2
    table = np.full(slots, -1, dtype=np.int64)
    found = 0
    for i in range(numbers.shape[0]):
        if numbers[i] < 0:
            continue
        slot = (np.int64(numbers[i]) * 0x9E3779B1) & (slots - 1)
        while table[slot] >= 0 and numbers[kept[table[slot]]] != numbers[i]:
            slot = (slot + 1) & (slots - 1)
        if table[slot] < 0:
            table[slot] = found
            kept[found] = i
            found += 1
        elif times[i] >= times[kept[table[slot]]]:
            kept[table[slot]] = i
    return found


_CELLS = read_only(types.int64, 2)
read_done: Callable[..., int] = njit(
    types.int64(
        _CELLS,
        _CELLS,
        types.int64[::1],
        types.float32[::1],
        types.int64[::1],
        types.int64[::1],
        types.float32[::1],
    ),
    cache=True,
    nogil=True,
)(_read_done_py)
_newest: Callable[[Numbers, Ints, Ints], int] = njit(
    "int64(int32[::1], int64[::1], int64[::1])", cache=True, nogil=True
)(_newest_py)


def _visited_py(
    cells: Ints, members: Ints, of_session: Ints, members_of_session: Ints, places: Ints, worth: Floats,
    keys: Ints, slots: Numbers, learned: Numbers, learned_us: Ints, learned_weights: Floats, learned_seen: Numbers,
    here: int, at_us: int, barred: Numbers, limit: int,
) -> tuple[Numbers, Ints, Floats, Numbers]:  # fmt: skip
    ends = cells.shape[0] + members.shape[0]
    done = ends + of_session.shape[0] + members_of_session.shape[0]
    most = done + learned.shape[0]
    hashes, times = np.empty(done, dtype=np.int64), np.empty(most, dtype=np.int64)
    weights, numbers = np.empty(most, dtype=np.float32), np.empty(most, dtype=np.int32)
    found = read_done(cells, members, places[0], worth, hashes, times, weights)
    found += read_done(of_session, members_of_session, places[1], worth, hashes[found:], times[found:], weights[found:])
    for i in range(found):
        numbers[i] = find_one(keys, slots, hashes[i])
    for i in range(learned.shape[0]):
        numbers[found], times[found], weights[found] = learned[i], learned_us[i], learned_weights[i]
        found += 1
    kept = np.empty(found, dtype=np.int64)
    kept = kept[: _newest(numbers[:found], times[:found], kept)]
    order = kept[np.argsort(-times[kept], kind="mergesort")]
    first = 1 if here >= 0 else 0
    room = min(limit, order.shape[0] + first)
    items, when_us, how_much = np.empty(room, np.int32), np.empty(room, np.int64), np.empty(room, np.float32)
    if here >= 0:
        items[0], when_us[0], how_much[0] = here, at_us, 1.0
    size = first
    for place in order:
        if size == room:
            break
        if numbers[place] != here:
            items[size], when_us[size], how_much[size] = numbers[place], times[place], weights[place]
            size += 1
    seen = np.empty(order.shape[0] + learned_seen.shape[0] + barred.shape[0], dtype=np.int32)
    end = order.shape[0]
    for i in range(end):
        seen[i] = numbers[order[i]]
    seen[end : end + learned_seen.shape[0]] = learned_seen
    seen[end + learned_seen.shape[0] :] = barred
    return items[:size], when_us[:size], how_much[:size], seen


visited: Callable[..., tuple[Numbers, Ints, Floats, Numbers]] = njit(
    types.Tuple((types.int32[::1], types.int64[::1], types.float32[::1], types.int32[::1]))(
        _CELLS, _CELLS, _CELLS, _CELLS, types.int64[:, ::1], types.float32[::1],
        types.int64[::1], types.int32[::1], types.int32[::1], types.int64[::1], types.float32[::1], types.int32[::1],
        types.int64, types.int64, types.int32[::1], types.int64,
    ),
    cache=True,
    nogil=True,
)(_visited_py)  # fmt: skip
"""The recent items of a visit, newest first, with times and weights, and all that must not be an answer.

From the rows and members of the user's and of the session's history (as `read_done`, `places` in a row for each), the
slots of the table of item numbers, what was learned of the visitor, the item that is looked at (-1: none), which counts
as the newest, and further items that must not be an answer. At most `limit` recent ones.
"""
