"""The inner loop of every read, compiled: aggregates over rows, one operation for each feature.

Compiled by numba when first imported on a machine (a few seconds), then kept in its cache. In numpy the same reads
cost a dozen small array calls for each window's edge; here they are loops over at most a few hundred rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from features.rows import FIXED, LAST, M2, MAX, MIN, PER_COLUMN, SUM, N

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

COUNT, TOTAL, MEAN, STD, LOWEST, HIGHEST, LATEST, PREVIOUS, DISTINCT, SHARE, FIRST, SINCE, DECAYED = range(13)
KIND, COLUMN, WINDOW_US, DELAY_US, HALF_LIFE_US = range(5)
"""The columns of an operation. A column of -1 means the events themselves."""

US_PER_S = 1e6
SEEN_SLOTS = 4096
SEEN_LIMIT = 3000


def _first_after_py(stamps: Ints, at_us: int, end: int) -> int:
    """How many of the first `end` stamps are at or before a time."""
    low, high = 0, end
    while low < high:
        middle = (low + high) // 2
        if stamps[middle] <= at_us:
            low = middle + 1
        else:
            high = middle
    return low


def _part_py(first_us: int, last_us: int, start_us: int, end_us: int) -> float:
    """Which share of a merged row's time lies in `(start, end]`."""
    if last_us <= start_us or first_us > end_us:
        return 0.0
    low = max(first_us, start_us + 1)
    high = min(last_us, end_us)
    return (high - low + 1) / (last_us - first_us + 1)


def _insert_py(seen: Ints, key: int) -> bool:
    """Put a key (not 0) into an open-addressing table; whether it was new."""
    slot = (key ^ (key >> 17)) & (SEEN_SLOTS - 1)
    while seen[slot] != 0:
        if seen[slot] == key:
            return False
        slot = (slot + 1) & (SEEN_SLOTS - 1)
    seen[slot] = key
    return True


_first_after: Any = njit(inline="always")(_first_after_py)
_part: Any = njit(inline="always")(_part_py)
_insert: Any = njit(inline="always")(_insert_py)


def _distinct_py(stamps: Ints, keys: Ints, end: int, table: Ints, position: int, start_us: int, end_us: int) -> int:
    """How many members events in the window have, and the table's members that were last seen in it."""
    seen = np.zeros(SEEN_SLOTS, dtype=np.int64)
    found: int = 0
    low = _first_after(stamps, start_us, end)
    high = _first_after(stamps, end_us, end)
    for i in range(low, high):
        if keys[i] != 0:
            key = (keys[i] & ~np.int64(0xF)) | position
            found += _insert(seen, key if key != 0 else np.int64(16))
            if found >= SEEN_LIMIT:
                break
    for i in range(table.shape[0]):
        if start_us < table[i, 1] <= end_us and (table[i, 0] & 0xF) == position:
            found += _insert(seen, table[i, 0] if table[i, 0] != 0 else np.int64(16))
    return found


_distinct: Any = njit(_distinct_py)


def _read(  # noqa: PLR0915
    operations: Ints,
    events: Floats,
    cells: Ints,
    before: int,
    merged: Floats,
    spans: Ints,
    table: Ints,
    columns: int,
    at_us: int,
    out: Floats,
    cut: NDArray[np.bool_],
) -> None:
    rows = events.shape[0]
    stamps = np.ascontiguousarray(cells[:, 0])
    for operation in range(operations.shape[0]):
        kind = operations[operation, KIND]
        column = operations[operation, COLUMN]
        end_us = at_us - operations[operation, DELAY_US]
        start_us = end_us - operations[operation, WINDOW_US]
        out[operation] = np.nan
        cut[operation] = False
        if kind in (SINCE, PREVIOUS):
            newest = -1
            for i in range(merged.shape[0] - 1, -1, -1):
                if spans[i, 1] <= at_us:
                    newest = i
                    break
                if spans[i, 0] <= at_us:
                    cut[operation] = True
            if before > 0 and (newest < 0 or stamps[before - 1] >= spans[newest, 1]):
                out[operation] = (
                    (at_us - stamps[before - 1]) / US_PER_S if kind == SINCE else events[before - 1, 1 + column]
                )
            elif newest >= 0:
                out[operation] = (
                    (at_us - spans[newest, 1]) / US_PER_S
                    if kind == SINCE
                    else merged[newest, FIXED + column * PER_COLUMN + LAST]
                )
            continue
        low = _first_after(stamps, start_us, rows)
        high = _first_after(stamps, end_us, rows)
        for i in range(merged.shape[0]):
            share = _part(spans[i, 0], spans[i, 1], start_us, end_us)
            if 0.0 < share < 1.0:
                cut[operation] = True
        if kind == DISTINCT:
            keys = cells[:, 1 + columns + column]
            out[operation] = _distinct(stamps, keys, rows, table, column, start_us, end_us)
            for i in range(table.shape[0]):
                # Seen after this window, it may have been seen in it too: the table keeps the last time only.
                if table[i, 1] > end_us and (table[i, 0] & 0xF) == column:
                    cut[operation] = True
            continue
        if kind == LATEST:
            newest_us = np.int64(0)
            if high > low:
                out[operation] = events[high - 1, 1 + column]
                newest_us = stamps[high - 1]
            for i in range(merged.shape[0] - 1, -1, -1):
                if _part(spans[i, 0], spans[i, 1], start_us, end_us) > 0.0:
                    if high == low or min(spans[i, 1], end_us) > newest_us:
                        out[operation] = merged[i, FIXED + column * PER_COLUMN + LAST]
                    break
            continue
        if kind == FIRST:
            first = np.int64(0)
            known = False
            for i in range(merged.shape[0]):
                if _part(spans[i, 0], spans[i, 1], start_us, end_us) > 0.0:
                    first = max(spans[i, 0], start_us + 1)
                    known = True
                    break
            if high > low and (not known or stamps[low] < first):
                first = stamps[low]
                known = True
            if known:
                out[operation] = (at_us - first) / US_PER_S
            continue
        if kind == DECAYED:
            half = operations[operation, HALF_LIFE_US]
            total = 0.0
            for i in range(low, high):
                value = 1.0 if column < 0 else events[i, 1 + column]
                if value == value:  # noqa: PLR0124
                    total += value * 2.0 ** ((stamps[i] - end_us) / half)
            for i in range(merged.shape[0]):
                share = _part(spans[i, 0], spans[i, 1], start_us, end_us)
                if share > 0.0:
                    value = merged[i, 2] if column < 0 else merged[i, FIXED + column * PER_COLUMN + SUM]
                    middle = (max(spans[i, 0], start_us) + min(spans[i, 1], end_us)) / 2
                    total += share * value * 2.0 ** ((middle - end_us) / half)
                    if spans[i, 0] < spans[i, 1]:
                        cut[operation] = True
            out[operation] = total
            continue
        count = float(high - low)
        n = 0.0
        total = 0.0
        lowest = np.inf
        highest = -np.inf
        if column >= 0:
            for i in range(high - 1, low - 1, -1):
                value = events[i, 1 + column]
                if value == value:  # noqa: PLR0124
                    n += 1.0
                    total += value
                    lowest = min(lowest, value)
                    highest = max(highest, value)
        for i in range(merged.shape[0]):
            share = _part(spans[i, 0], spans[i, 1], start_us, end_us)
            if share > 0.0:
                count += share * merged[i, 2]
                if column >= 0:
                    at = FIXED + column * PER_COLUMN
                    if merged[i, at + N] > 0.0:
                        n += share * merged[i, at + N]
                        total += share * merged[i, at + SUM]
                        lowest = min(lowest, merged[i, at + MIN])
                        highest = max(highest, merged[i, at + MAX])
        if kind == COUNT:
            out[operation] = count if column < 0 else total
        elif kind == TOTAL:
            out[operation] = total
        elif n > 0.0:
            if kind in (MEAN, SHARE):
                out[operation] = total / n
            elif kind == LOWEST:
                out[operation] = lowest
            elif kind == HIGHEST:
                out[operation] = highest
            elif kind == STD:
                # By distances from one of the values: exact to the last digits where the spread is small beside the
                # mean, and 0 for equal values. No outlier is far enough from a value that spreads to drown the rest.
                inside = 0.0
                off = 0.0
                squares = 0.0
                reference = 0.0
                chosen = False
                for i in range(high - 1, low - 1, -1):
                    value = events[i, 1 + column]
                    if value == value:  # noqa: PLR0124
                        if not chosen:
                            reference = value
                            chosen = True
                        off += value - reference
                        squares += (value - reference) ** 2
                for i in range(merged.shape[0] - 1, -1, -1):
                    share = _part(spans[i, 0], spans[i, 1], start_us, end_us)
                    at = FIXED + column * PER_COLUMN
                    if share > 0.0 and merged[i, at + N] > 0.0:
                        middle = merged[i, at + SUM] / merged[i, at + N]
                        if not chosen:
                            reference = middle
                            chosen = True
                        weight = share * merged[i, at + N]
                        off += weight * (middle - reference)
                        squares += weight * (middle - reference) ** 2
                        inside += share * merged[i, at + M2]
                out[operation] = np.sqrt(max(0.0, inside + squares - off * off / n) / n)


_SIGNATURE = (
    "void(int64[:,::1], Array(float64, 2, 'C', readonly=True), Array(int64, 2, 'C', readonly=True), int64,"
    " Array(float64, 2, 'C', readonly=True), Array(int64, 2, 'C', readonly=True),"
    " Array(int64, 2, 'C', readonly=True), int64, int64, float64[::1], boolean[::1])"
)
read: Callable[..., None] = njit(_SIGNATURE, cache=True, nogil=True)(_read)
"""Carry out the operations over rows in time order, writing `out` and `cut` (a merged row spanned the window's edge).

Arguments: operations (int64, one row each), events (float64, C order, read-only) and the same memory as int64, how many
of them lie before the scored event, merged rows and the same memory as int64, the table of members `(key, last seen)`,
the number of measured columns, the time.
"""
