"""The inner loop of every read, compiled: aggregates over rows, one operation for each feature, all views in one call.

Compiled by numba when first imported on a machine (a few seconds), then kept in its cache. In numpy the same reads
cost a dozen small array calls for each window's edge; here they are loops over at most a few hundred rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from features.distinct import POSITION_SHIFT, RANK_SHIFT, REGISTER_SHIFT, REGISTERS, SKETCH
from features.distinct_kernel import estimate, rank_of, register_of
from features.operations import (
    COLUMN,
    COLUMNS,
    COUNT,
    DECAYED,
    DELAY_US,
    DISTINCT,
    END_OPERATION,
    FIRST,
    FIRST_OPERATION,
    HALF_LIFE_US,
    HIGHEST,
    KIND,
    LATEST,
    LOWEST,
    MEAN,
    MERGED_WIDTH,
    PREVIOUS,
    SHARE,
    SINCE,
    SIZES,
    STD,
    TOTAL,
    WIDTH,
    WINDOW_US,
)
from features.rows import FIXED, LAST, M2, MAX, MIN, PER_COLUMN, SUM, N

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

US_PER_S = 1e6
SEEN_SLOTS_LEAST = 64
SEEN_SLOTS_MOST = 8192
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
    if first_us > start_us and last_us <= end_us:
        return 1.0
    low = max(first_us, start_us + 1)
    high = min(last_us, end_us)
    return (high - low + 1) / (last_us - first_us + 1)


def _insert_py(seen: Ints, key: int) -> bool:
    """Put a key (not 0) into an open-addressing table; whether it was new."""
    last = seen.shape[0] - 1
    slot = (key ^ (key >> 17)) & last
    while seen[slot] != 0:
        if seen[slot] == key:
            return False
        slot = (slot + 1) & last
    seen[slot] = key
    return True


_first_after: Any = njit(inline="always")(_first_after_py)
_part: Any = njit(inline="always")(_part_py)
_insert: Any = njit(inline="always")(_insert_py)


def _distinct_py(stamps: Ints, keys: Ints, end: int, table: Ints, position: int, start_us: int, end_us: int) -> float:
    """How many members events in the window have, and those of the table that were last seen in it."""
    found: int = 0
    low = _first_after(stamps, start_us, end)
    high = _first_after(stamps, end_us, end)
    slots = SEEN_SLOTS_LEAST
    while slots < 2 * (high - low + table.shape[0]) and slots < SEEN_SLOTS_MOST:
        slots *= 2
    seen = np.zeros(slots, dtype=np.int64)
    for i in range(low, high):
        if keys[i] != 0:
            key = (keys[i] & ~np.int64(0xF)) | position
            found += _insert(seen, key if key != 0 else np.int64(16))
            if found >= SEEN_LIMIT:
                break
    forgotten = False
    for i in range(table.shape[0]):
        if start_us < table[i, 1] <= end_us and (table[i, 0] & 0xF) == position:
            found += _insert(seen, table[i, 0] if table[i, 0] != 0 else np.int64(16))
        forgotten |= (table[i, 0] & 0xFF) == ((position << POSITION_SHIFT) | SKETCH) and table[i, 1] > start_us
    if not forgotten:
        return float(found)
    ranks = np.zeros(REGISTERS, dtype=np.int64)
    for key in seen:
        if key != 0:
            register = register_of(key)
            ranks[register] = max(ranks[register], rank_of(key))
    for i in range(table.shape[0]):
        if start_us < table[i, 1] <= end_us and (table[i, 0] & 0xFF) == ((position << POSITION_SHIFT) | SKETCH):
            register = (table[i, 0] & 0xFFFF) >> REGISTER_SHIFT
            ranks[register] = max(ranks[register], table[i, 0] >> RANK_SHIFT)
    return max(float(found), np.round(estimate(ranks)))  # type: ignore[no-any-return]


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
    shares = np.empty(merged.shape[0])
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
            shares[i] = _part(spans[i, 0], spans[i, 1], start_us, end_us)
            if 0.0 < shares[i] < 1.0:
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
                if shares[i] > 0.0:
                    if high == low or min(spans[i, 1], end_us) > newest_us:
                        out[operation] = merged[i, FIXED + column * PER_COLUMN + LAST]
                    break
            continue
        if kind == FIRST:
            first = np.int64(0)
            known = False
            for i in range(merged.shape[0]):
                if shares[i] > 0.0:
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
                share = shares[i]
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
            share = shares[i]
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
                    share = shares[i]
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


_read_one: Any = njit(_read)


def _read_views(
    operations: Ints, shapes: Ints, block: Ints, values: Floats, at_us: int, out: Floats, cut: NDArray[np.bool_]
) -> int:
    at = shapes.shape[0] * SIZES
    found = 0
    for view in range(shapes.shape[0]):
        first, end = shapes[view, FIRST_OPERATION], shapes[view, END_OPERATION]
        width, merged_width = shapes[view, WIDTH], shapes[view, MERGED_WIDTH]
        rows, n_merged, n_members, current = block[view * SIZES : (view + 1) * SIZES]
        if rows < 0:
            out[first:end] = np.nan
            cut[first:end] = False
            continue
        spans = block[at : at + n_merged * merged_width].reshape((n_merged, merged_width))
        merged = values[at : at + n_merged * merged_width].reshape((n_merged, merged_width))
        at += n_merged * merged_width
        table = block[at : at + n_members * 2].reshape((n_members, 2))
        at += n_members * 2
        n_cells = (rows + current) * width
        cells = block[at : at + n_cells].reshape((rows + current, width))
        at += n_cells
        for i in range(1, rows):
            if cells[i, 0] < cells[i - 1, 0]:
                cells[:rows] = cells[np.argsort(cells[:rows, 0], kind="mergesort")]  # stable
                break
        before = _first_after(cells[:, 0], at_us, rows)
        if current == 1 and before < rows:
            cells[before] = cells[rows]
        cells = cells[: before + current]
        _read_one(
            operations[first:end],
            cells.view(np.float64),
            cells,
            before,
            merged,
            spans,
            table,
            shapes[view, COLUMNS],
            at_us,
            out[first:end],
            cut[first:end],
        )
        for operation in range(first, end):
            found += cut[operation]
    return found


_SIGNATURE = "int64(int64[:,::1], int64[:,::1], int64[::1], float64[::1], int64, float64[::1], boolean[::1])"
read_views: Callable[..., int] = njit(_SIGNATURE, cache=True, nogil=True)(_read_views)
"""Carry out the operations of all views; how many are `cut` (a merged row spanned the window's edge).

Arguments: operations (int64, one row each); shapes (int64, one row each view); the block, as int64 and the same memory
as float64, which it may reorder; the time; where to write values and cuts. The block begins with the sizes of each
view; then, view by view, merged rows, the table of members `(key, last seen)`, rows in any order of time, and the
scored event's row.
"""
