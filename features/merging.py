"""Merged rows: what becomes of the oldest events when a history exceeds its budget.

A merged row is `(t_first, t_last, count)` and for each measured column `(n, sum, m2, min, max, last)`, where `m2` is
the sum of squared deviations from the row's mean (Welford 1962; merged by Chan, Golub and LeVeque 1983), which keeps
its digits where a sum of squares would not. Rows merge where their span is smallest relative to their age, so the
relative error that a window's boundary can suffer stays even over all windows.

The bound. At most one merged row lies across a window's edge, and the answer is what it would be had the edge stood
somewhere within that row. With ages counted back from the newest event: the row ends after the edge, so its age is less
than the edge's, and its span is at most `span_bound` times its age. An edge of age `a` (the window's length, and its
delay if it has one) is therefore off by at most `span_bound * a`, and a count by at most the events of that one row.

Why: for neighbours `(first, last)` and `(first', last')`, with ages counted back from now, merging them gives a row of
relative span `age(first) / age(last') - 1`. The logarithms of these ratios, over all pairs of neighbours, add up to at
most twice `ln(oldest / newest)`, the range of ages of all merged rows, as every moment lies in at most two pairs. A
history reduces 193 rows (192 pairs) to 160, up to half of what is too much at a time: when the last of a round is
chosen, the at most 15 chosen before have ruled out at most 3 pairs each, so that the cheapest of at least 147 pairs is
left, and its logarithm is at most `2 / 147` of that range. From then on the row's age grows and its span does not.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from features.rows import (
    FIXED,
    LAST,
    M2,
    MAX,
    MIN,
    PER_COLUMN,
    SUM,
    Cells,
    N,
    merged_cells,
    merged_size,
    merged_times,
    widen,
)
from features.view import View

PAIRS_LEFT = 147


def span_bound(oldest_us: int, youngest_us: int) -> float:
    """The largest span of a merged row, relative to its age, where merged rows were of these ages when they merged.

    For events at 1000/s over 39 days, of which 64 are still rows of their own, it is 0.27; for a window of an hour
    that is 17 minutes at the very worst.

    >>> round(span_bound(39 * 86_400_000_000, 64_000), 2)
    0.27
    """
    return float((max(oldest_us, 1) / max(youngest_us, 1)) ** (2 / PAIRS_LEFT) - 1)


def newest_us(view: View, merged: bytes) -> int:
    """The last time of the newest merged row."""
    return int.from_bytes(merged[len(merged) - merged_size(view) + 8 :][:8], "little", signed=True)


def reduce(view: View, merged: bytes, limit: int, now_us: int) -> bytes:
    """Merge neighbours, the smallest span relative to its age first, until at most `limit` rows remain."""
    table = merged_cells(view, merged).copy()
    while len(table) > limit:
        span = merged_times(table)
        width = (span[1:, 1] - span[:-1, 0]).astype(np.float64)
        age = np.maximum(now_us - span[1:, 1], 1).astype(np.float64)
        cheapest = np.argsort(width / age, kind="stable")
        chosen = np.zeros(len(table), dtype=bool)
        wanted = max(1, (len(table) - limit) // 2)
        firsts: list[int] = []
        for first in cheapest.tolist():
            if chosen[first] or chosen[first + 1]:
                continue
            chosen[first] = chosen[first + 1] = True
            firsts.append(first)
            if len(firsts) == wanted:
                break
        pairs = np.array(firsts)
        table[pairs] = _join(table[pairs], table[pairs + 1])
        table = np.delete(table, pairs + 1, axis=0)
    return table.tobytes()


def absorb(view: View, merged: bytes, row: bytes) -> bytes:
    """Merged rows with one late event: inside the row that spans its time, else as a row of its own."""
    table = merged_cells(view, merged)
    late = widen(view, row)
    at_us = int(merged_times(late)[0, 0])
    first, last = merged_times(table).T
    at = int(np.searchsorted(last, at_us, side="left"))
    # Of rows that meet at its very time, the newest: ties keep the order of arrival.
    at = max(at, int(np.searchsorted(first, at_us, side="right")) - 1)
    if first[at] <= at_us:
        table = table.copy()
        table[at : at + 1] = _join_within(table[at : at + 1], late)
        return table.tobytes()
    return np.insert(table, at, late, axis=0).tobytes()


def expire(view: View, merged: bytes, cutoff_us: int) -> bytes:
    """Merged rows that reach past the cutoff."""
    table = merged_cells(view, merged)
    return table[merged_times(table)[:, 1] > cutoff_us].tobytes()


def _join(older: Cells, newer: Cells) -> Cells:
    joined = older.copy()
    merged_times(joined)[:, 1] = merged_times(newer)[:, 1]
    joined[:, 2] = older[:, 2] + newer[:, 2]
    _join_columns(joined, older, newer)
    joined[:, FIXED + LAST :: PER_COLUMN] = newer[:, FIXED + LAST :: PER_COLUMN]
    return joined


def _join_within(whole: Cells, late: Cells) -> Cells:
    joined = whole.copy()
    joined[:, 2] += late[:, 2]
    _join_columns(joined, whole, late)
    if merged_times(late)[0, 0] == merged_times(whole)[0, 1]:
        joined[:, FIXED + LAST :: PER_COLUMN] = late[:, FIXED + LAST :: PER_COLUMN]
    return joined


def _join_columns(joined: Cells, a: Cells, b: Cells) -> None:
    def part(table: Cells, column: int) -> Any:
        return table[:, FIXED + column :: PER_COLUMN]

    n_a, n_b = part(a, N), part(b, N)
    n = n_a + n_b
    # Where one side has no values its mean is anything: the product n_a * n_b makes it vanish.
    gap = part(a, SUM) / np.maximum(n_a, 1e-300) - part(b, SUM) / np.maximum(n_b, 1e-300)
    gap = np.where((n_a > 0) & (n_b > 0), gap, 0.0)
    part(joined, N)[:] = n
    part(joined, SUM)[:] = part(a, SUM) + part(b, SUM)
    part(joined, M2)[:] = part(a, M2) + part(b, M2) + gap * gap * n_a * n_b / np.maximum(n, 1e-300)
    part(joined, MIN)[:] = np.fmin(part(a, MIN), part(b, MIN))
    part(joined, MAX)[:] = np.fmax(part(a, MAX), part(b, MAX))
