"""Rows as columns: the layout of packed rows, and the arrays that a scan reads.

An event row is its time, its measured fields and its members' hashes, eight bytes each. A merged row is
`(t_first, t_last, count)` and for each measured column `(n, sum, m2, min, max, last)`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.view import View

Cells = NDArray[np.float64]
FIXED = 3
PER_COLUMN = 6
SHARES = 1024
N, SUM, M2, MIN, MAX, LAST = range(PER_COLUMN)


@dataclass(slots=True)
class Rows:
    """Rows in time order. `count`, `n` and `m2` are None where every row is one event without nulls.

    `total` holds 0 for null; `low`, `high` and `latest` hold NaN. Members stand for event rows only, whose times are
    `event_us`.
    """

    first_us: NDArray[np.int64]
    last_us: NDArray[np.int64]
    count: Cells | None
    n: Cells | None
    total: Cells
    m2: Cells | None
    low: Cells
    high: Cells
    latest: Cells
    event_us: NDArray[np.int64]
    members: NDArray[np.int64]


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


def exact_rows(view: View, block: bytes) -> Rows:
    """Packed event rows as columns."""
    events = np.frombuffer(block, dtype=np.float64).reshape(-1, view.row_size // 8)
    cells = events.view(np.int64)
    stamps = cells[:, 0]
    end = 1 + len(view.columns)
    values = events[:, 1:end]
    total, n = values, None
    missing = np.isnan(values)
    if missing.any():
        total, n = np.where(missing, 0.0, values), (~missing).astype(np.float64)
    return Rows(stamps, stamps, None, n, total, None, values, values, values, stamps, cells[:, end:])


def merged_rows(view: View, merged: bytes, events: Rows, at_us: int, edges_us: list[int]) -> tuple[Rows, set[int]]:
    """Merged and event rows together, cut at every window's edge; and the edges at which a row had to be cut."""
    wide = np.zeros((len(events.event_us), merged_size(view) // 8))
    merged_times(wide)[:] = events.event_us[:, None]
    wide[:, 2] = 1.0
    wide[:, FIXED + N :: PER_COLUMN] = 1.0 if events.n is None else events.n
    wide[:, FIXED + SUM :: PER_COLUMN] = events.total
    for column in (MIN, MAX, LAST):
        wide[:, FIXED + column :: PER_COLUMN] = events.latest
    table = np.concatenate([merged_cells(view, merged), wide])
    last = merged_times(table)[:, 1]
    if np.any(last[1:] < last[:-1]):
        table = table[np.argsort(last, kind="stable")]
    cut = set()
    for edge in edges_us:
        table, was_cut = split(table, at_us - edge)
        if was_cut:
            cut.add(edge)
    table = table[merged_times(table)[:, 1] <= at_us]
    stamps = merged_times(table)
    n, total, m2, low, high, latest = (table[:, FIXED + column :: PER_COLUMN] for column in range(PER_COLUMN))
    columns = (stamps[:, 0], stamps[:, 1], table[:, 2], n, total, m2, low, high, latest)
    return Rows(*columns, events.event_us, events.members), cut


def split(table: Cells, edge_us: int) -> tuple[Cells, bool]:
    """Cut the row that spans an edge in two, counts and sums shared by time. Whether there was one.

    Rows that end at or before the edge stay before it, as in a window `(t - w, t]`. Merged rows do not overlap, but
    events that no worker folded yet may lie within one: the older part takes its own place by time.
    """
    span = merged_times(table)
    spanning = np.flatnonzero((span[:, 0] <= edge_us) & (span[:, 1] > edge_us))
    if not len(spanning):
        return table, False
    at = int(spanning[0])
    first, last = int(span[at, 0]), int(span[at, 1])
    older, newer = table[at : at + 1].copy(), table[at : at + 1].copy()
    # A share in whole 1024ths: pieces of whole numbers add up to whole numbers again.
    part = min(max(round((edge_us - first + 1) / (last - first + 1) * SHARES), 1), SHARES - 1) / SHARES
    for piece, weight in ((older, part), (newer, 1.0 - part)):
        piece[:, 2] *= weight
        for column in (N, SUM, M2):
            piece[:, FIXED + column :: PER_COLUMN] *= weight
    merged_times(older)[0, 1] = edge_us
    merged_times(newer)[0, 0] = edge_us + 1
    before = int(np.searchsorted(span[:, 1], edge_us, side="left"))
    return np.concatenate([table[:before], older, table[before:at], newer, table[at + 1 :]]), True
