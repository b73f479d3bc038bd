"""Merged rows: what becomes of the oldest events when a history exceeds its budget.

A merged row is `(t_first, t_last, count)` and for each measured column `(n, sum, m2, min, max, last)`, where `m2` is
the sum of squared deviations from the row's mean (Welford 1962; merged by Chan, Golub and LeVeque 1983), which keeps
its digits where a sum of squares would not. Rows merge where their span is smallest relative to their age, so the
relative error that a window's boundary can suffer stays even over all windows.
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
    at = int(np.searchsorted(merged_times(table)[:, 1], at_us, side="left"))
    if merged_times(table)[at, 0] <= at_us:
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
