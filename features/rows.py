"""Rows as cells: the layout of packed rows.

An event row is its time, its measured fields and its members' hashes, eight bytes each. A merged row is
`(t_first, t_last, count)` and for each measured column `(n, sum, m2, min, max, last)`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from features.view import View

Cells = NDArray[np.float64]
FIXED = 3
PER_COLUMN = 6
N, SUM, M2, MIN, MAX, LAST = range(PER_COLUMN)


def merged_size(view: View) -> int:
    """Bytes of one merged row."""
    return 8 * (FIXED + PER_COLUMN * len(view.columns))


def merged_cells(view: View, merged: bytes) -> Cells:
    """Merged rows as an array of shape (n, FIXED + PER_COLUMN * columns); the first two columns hold int64 times."""
    return np.frombuffer(merged, dtype=np.float64).reshape(-1, merged_size(view) // 8)


def merged_times(table: Cells) -> NDArray[np.int64]:
    """First and last time of each merged row, shape (n, 2), a view of the same memory."""
    whole: NDArray[np.int64] = table.view(np.int64)
    return whole[:, :2]


def widen(view: View, rows: bytes) -> Cells:
    """Event rows as merged rows of one event each."""
    events = np.frombuffer(rows, dtype=np.float64).reshape(-1, view.row_size // 8)
    values = events[:, 1 : 1 + len(view.columns)]
    wide = np.zeros((len(events), merged_size(view) // 8))
    merged_times(wide)[:] = events.view(np.int64)[:, :1]
    wide[:, 2] = 1.0
    known = ~np.isnan(values)
    wide[:, FIXED + N :: PER_COLUMN] = known
    wide[:, FIXED + SUM :: PER_COLUMN] = np.where(known, values, 0.0)
    for column in (MIN, MAX, LAST):
        wide[:, FIXED + column :: PER_COLUMN] = values
    return wide
