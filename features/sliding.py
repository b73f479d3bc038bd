"""The inner loops of the compiled batch: one aggregate over windows that slide over rows, each loop linear in time.

Rows are grouped by entity, in order of time, and so are the points at which they are read. A window of a point is a
range `[low, high)` of row numbers. From point to point neither edge goes back, not even where the next entity begins;
so no loop below needs to know the entities.

Nothing is ever subtracted from a sum, which would lose digits. A sum has two parts that meet at a row: for the older
part it is known from every row up to there, for the newer one it grows. When the older part has left the window, all
that is in the window becomes the older part. So every row is added twice, however long the window.

Each loop writes `out[place[p]]` for point `p`: NaN stands for null. Compiled by numba when first imported on a machine
(some seconds), then kept in its cache; they release the interpreter's lock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TRUSTED = 1e-4
"""Where the squares of a window cancel to less than this share of themselves, they are summed about a better value."""
REFERENCES = 4
"""How many values are tried for that. The second is as near to the mean as the first one's digits tell."""


def _compiled(signature: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    compiler: Callable[[Callable[..., Any]], Callable[..., Any]] = njit(signature, cache=True, nogil=True)
    return compiler


@_compiled("void(int64[::1], int64[::1], int64[::1])")
def group(codes: Ints, starts: Ints, order: Ints) -> None:
    """Positions by code, each code's in their order, into `order`; where a code's begin, into `starts[code]`.

    Codes count from 0, and -1 stands for none. `starts` has one more entry than there are codes and begins as zeros.
    """
    for code in codes:
        if code >= 0:
            starts[code + 1] += 1
    for code in range(1, starts.shape[0]):
        starts[code] += starts[code - 1]
    free = starts[:-1].copy()
    for position in range(codes.shape[0]):
        code = codes[position]
        if code >= 0:
            order[free[code]] = position
            free[code] += 1


@_compiled("void(int64[::1], int64[::1], int64[::1], int64[::1], int64, int64[::1])")
def edges(stamps: Ints, row_starts: Ints, at: Ints, point_starts: Ints, back_us: int, edge: Ints) -> None:
    """For each point the first row of its entity that is later than `at - back_us`."""
    for entity in range(row_starts.shape[0] - 1):
        row, end = row_starts[entity], row_starts[entity + 1]
        for point in range(point_starts[entity], point_starts[entity + 1]):
            while row < end and stamps[row] <= at[point] - back_us:
                row += 1
            edge[point] = row


@_compiled("void(int64[::1], int64[::1], int64[::1])")
def neighbours(members: Ints, previous: Ints, following: Ints) -> None:
    """For each row the rows before and after it with the same member, counted from 0; -1, or the number of rows."""
    rows = members.shape[0]
    seen = np.full(members.max() + 1 if rows else 0, -1, dtype=np.int64)
    for row in range(rows):
        following[row] = rows
        last = seen[members[row]]
        previous[row] = last
        if last >= 0:
            following[last] = row
        seen[members[row]] = row


@_compiled("void(float64[::1], int64[::1], int64[::1], boolean, int64[::1], float64[::1])")
def sums(values: Floats, low: Ints, high: Ints, divided: bool, place: Ints, out: Floats) -> None:
    """Sums, 0 where there are no rows; `divided` by how many there are, null where there are none."""
    older = np.empty(values.shape[0])
    middle = end = 0
    newer = 0.0
    for point in range(low.shape[0]):
        begin = low[point]
        if begin >= middle:
            middle = end = high[point]
            newer = 0.0
            total = 0.0
            for row in range(middle - 1, begin - 1, -1):
                total += values[row]
                older[row] = total
        while end < high[point]:
            newer += values[end]
            end += 1
        total = newer + (older[begin] if begin < middle else 0.0)
        if divided:
            total = total / (end - begin) if end > begin else np.nan
        out[place[point]] = total


@_compiled("void(float64[::1], int64[::1], int64[::1], float64, int64[::1], float64[::1])")
def extremes(values: Floats, low: Ints, high: Ints, sign: float, place: Ints, out: Floats) -> None:
    """The largest value for a sign of 1, the smallest for -1."""
    older = np.empty(values.shape[0])
    middle = end = 0
    newer = -np.inf
    for point in range(low.shape[0]):
        begin = low[point]
        if begin >= middle:
            middle = end = high[point]
            newer = -np.inf
            top = -np.inf
            for row in range(middle - 1, begin - 1, -1):
                top = max(top, sign * values[row])
                older[row] = top
        while end < high[point]:
            newer = max(newer, sign * values[end])
            end += 1
        top = max(newer, older[begin]) if begin < middle else newer
        out[place[point]] = sign * top if end > begin else np.nan


@_compiled("void(float64[::1], int64[::1], int64[::1], int64[::1], float64[::1])")
def deviations(values: Floats, low: Ints, high: Ints, place: Ints, out: Floats) -> None:
    """Population standard deviations, from distances to a value of the window: 0 for equal values."""
    older_off = np.empty(values.shape[0])
    older_squares = np.empty(values.shape[0])
    middle = end = 0
    newer_off = newer_squares = reference = 0.0
    for point in range(low.shape[0]):
        begin = low[point]
        stale = begin >= middle
        if stale and high[point] > begin:
            reference = values[high[point] - 1]
        result = np.nan
        for _ in range(REFERENCES):
            if stale:
                middle = end = high[point]
                newer_off = newer_squares = off = squares = 0.0
                for row in range(middle - 1, begin - 1, -1):
                    off += values[row] - reference
                    squares += (values[row] - reference) ** 2
                    older_off[row] = off
                    older_squares[row] = squares
            while end < high[point]:
                newer_off += values[end] - reference
                newer_squares += (values[end] - reference) ** 2
                end += 1
            count = end - begin
            if count == 0:
                break
            off = newer_off + (older_off[begin] if begin < middle else 0.0)
            squares = newer_squares + (older_squares[begin] if begin < middle else 0.0)
            spread = squares - off * off / count
            result = np.sqrt(max(0.0, spread) / count)
            if spread >= TRUSTED * squares:
                break
            mean = reference + off / count
            reference = values[begin]
            for row in range(begin + 1, end):
                if abs(values[row] - mean) < abs(reference - mean):
                    reference = values[row]
            stale = True
        out[place[point]] = result


@_compiled("void(float64[::1], int64[::1], int64[::1], int64[::1], int64[::1], int64, int64[::1], float64[::1])")
def decayed(
    values: Floats, stamps: Ints, low: Ints, high: Ints, ends_us: Ints, half_life_us: int, place: Ints, out: Floats
) -> None:
    """Sums of values that halve with every half-life until the window's end."""
    older = np.empty(values.shape[0])
    middle = end = 0
    newer = 0.0
    for point in range(low.shape[0]):
        begin = low[point]
        if begin >= middle:
            middle = end = high[point]
            newer = 0.0
            total = 0.0
            # As of the newest row of either part: no weight is above 1, and what is too small for a double is nothing.
            for row in range(middle - 1, begin - 1, -1):
                total += values[row] * 2.0 ** ((stamps[row] - stamps[middle - 1]) / half_life_us)
                older[row] = total
        while end < high[point]:
            if end > middle:
                newer *= 2.0 ** ((stamps[end - 1] - stamps[end]) / half_life_us)
            newer += values[end]
            end += 1
        total = 0.0
        if end > middle:
            total += newer * 2.0 ** ((stamps[end - 1] - ends_us[point]) / half_life_us)
        if begin < middle:
            total += older[begin] * 2.0 ** ((stamps[middle - 1] - ends_us[point]) / half_life_us)
        out[place[point]] = total


@_compiled("void(int64[::1], int64[::1], int64[::1], int64[::1], int64[::1], float64[::1])")
def distinct(previous: Ints, following: Ints, low: Ints, high: Ints, place: Ints, out: Floats) -> None:
    """How many different members, by the `neighbours` of each row."""
    begin = end = present = 0
    for point in range(low.shape[0]):
        while end < high[point]:
            present += previous[end] < begin
            end += 1
        while begin < low[point]:
            present -= following[begin] >= end
            begin += 1
        out[place[point]] = present
