"""Read a view's features from a history at a time: one scan from the newest row answers every window.

A window `w` at time `t` covers the rows in `(t - w, t]`; with a delay `d`, those in `(t - d - w, t - d]`. The scored
event is in its windows; `since_last` and `previous` look at what came before it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.aggregates import WINDOWLESS, AggregateKind
from features.history import NEVER, History, member_key
from features.merging import newest_us
from features.rows import FIXED, LAST, PER_COLUMN, Rows, exact_rows, merged_cells, merged_rows, merged_times
from features.view import Feature, View

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
US_PER_S = 1e6
_SUMMED: frozenset[AggregateKind] = frozenset({"sum", "mean", "share", "std"})


class _Group:
    """The windows that end at the same delay, smallest first, and where the vector takes each of its values.

    What a scan computes lies end to end in one flat array: counts, sums, means, minima, maxima (each by window, then
    column); one `take` then fills all of the vector that they answer. The rest is listed one by one.
    """

    def __init__(self, view: View, delay_us: int, features: list[tuple[int, Feature]]) -> None:
        self.delay_us = delay_us
        windows = sorted({feature.window_us for _, feature in features})
        self.windows_us = np.array(windows)
        self.features = features
        width = max(1, len(view.columns))
        size = len(windows) * width
        kinds = {feature.kind for _, feature in features}
        self.sums = bool(kinds & _SUMMED) or any(f.kind == "count" and f.column >= 0 for _, f in features)
        self.means = bool(kinds & {"mean", "share"})
        self.low = "min" in kinds
        self.high = "max" in kinds
        start = {"count": 0, "sum": len(windows)}
        start["mean"] = start["share"] = start["sum"] + size * self.sums
        start["min"] = start["mean"] + size * self.means
        start["max"] = start["min"] + size * self.low
        out: list[int] = []
        take: list[int] = []
        self.single: list[tuple[int, int, Feature]] = []
        self.members: list[tuple[int, int, int]] = []
        for i, feature in features:
            window = windows.index(feature.window_us)
            kind: str = feature.kind
            if kind == "count" and feature.column >= 0:
                kind = "sum"
            if kind == "distinct":
                self.members.append((i, window, feature.column))
            elif kind not in start:
                self.single.append((i, window, feature))
            else:
                out.append(i)
                take.append(start[kind] + (window if kind == "count" else window * width + feature.column))
        self.out = np.array(out, dtype=np.intp)
        self.take = np.array(take, dtype=np.intp)


class Scan:
    """The compiled reading of one view."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.width = view.row_size // 8
        every = list(enumerate(view.features))
        self.before = [(i, feature) for i, feature in every if feature.kind in WINDOWLESS]
        windowed = [(i, feature) for i, feature in every if feature.kind not in WINDOWLESS]
        delays = sorted({feature.delay_us for _, feature in windowed})
        self.groups = [
            _Group(view, delay, [pair for pair in windowed if pair[1].delay_us == delay]) for delay in delays
        ]
        self.edges_us = sorted({g.delay_us + int(w) for g in self.groups for w in (0, *g.windows_us)})

    def read(
        self, history: History, at_us: int, pending: list[bytes] | None = None, current: bytes | None = None
    ) -> tuple[Floats, list[str]]:
        """The view's features at a time, shape (features,), null as NaN, and the names of those not exact.

        `pending` are rows not yet folded, in any order; `current` is the row of the event being scored.
        """
        out = np.empty(len(self.view.features))
        block = self._with(history.rows, pending) if pending else history.rows
        stamps = np.frombuffer(block, dtype=np.int64)[:: self.width]
        known = int(stamps.searchsorted(at_us, side="right"))
        if known < len(stamps) or current is not None:
            block = block[: known * self.view.row_size]
        approximate: set[int] = set()
        if self.before:
            self._read_before(out, history, block, at_us, approximate)
        if current is not None:
            block += current
        rows = exact_rows(self.view, block)
        if history.merged:
            rows, cut = merged_rows(self.view, history.merged, rows, at_us, self.edges_us)
            if cut:
                self._mark(cut, approximate)
        for group in self.groups:
            self._read_group(out, group, rows, history, at_us, approximate)
        return out, [self.view.features[i].name for i in sorted(approximate)]

    def _with(self, block: bytes, pending: list[bytes]) -> bytes:
        block += b"".join(pending)
        stamps = np.frombuffer(block, dtype=np.int64)[:: self.width]
        if np.all(stamps[1:] >= stamps[:-1]):
            return block
        rows = np.frombuffer(block, dtype=np.int64).reshape(-1, self.width)
        return rows[np.argsort(stamps, kind="stable")].tobytes()

    def _read_before(self, out: Floats, history: History, block: bytes, at_us: int, approximate: set[int]) -> None:
        stamp = NEVER
        values: Floats | None = None
        if block:
            row = np.frombuffer(block, dtype=np.float64, offset=len(block) - self.view.row_size)
            stamp, values = int(row.view(np.int64)[0]), row[1:]
        if history.merged and stamp < newest_us(self.view, history.merged):
            table = merged_cells(self.view, history.merged)
            first, last = merged_times(table).T
            ended = int(last.searchsorted(at_us, side="right"))
            if ended and last[ended - 1] > stamp:
                stamp, values = int(last[ended - 1]), table[ended - 1, FIXED + LAST :: PER_COLUMN]
            if ended < len(table) and first[ended] <= at_us:
                approximate.update(i for i, _ in self.before)
        for i, feature in self.before:
            if values is None:
                out[i] = np.nan
            else:
                out[i] = (at_us - stamp) / US_PER_S if feature.kind == "since_last" else values[feature.column]

    def _mark(self, cut: set[int], approximate: set[int]) -> None:
        """A window is approximate when a merged row spanned either of its edges."""
        for group in self.groups:
            for i, feature in group.features:
                if feature.delay_us in cut or feature.delay_us + feature.window_us in cut:
                    approximate.add(i)

    def _read_group(
        self, out: Floats, group: _Group, rows: Rows, history: History, at_us: int, approximate: set[int]
    ) -> None:
        end_us = at_us - group.delay_us
        last_us = rows.last_us
        end = int(last_us.searchsorted(end_us, side="right"))
        if end < len(last_us):
            last_us = last_us[:end]
        starts = last_us.searchsorted(end_us - group.windows_us, side="right")
        counts = end - starts
        weights: Any = counts if rows.count is None else _suffix_sums(rows.count[:end], counts)
        n: Floats = weights[:, None]
        parts: list[Floats] = [weights]
        if group.sums:
            sums = _suffix_sums(rows.total[:end], counts)
            if rows.n is not None:
                n = _suffix_sums(rows.n[:end], counts)
            parts.append(sums.ravel())
            if group.means:
                parts.append((sums / np.where(n > 0, n, np.nan)).ravel())
        if group.low:
            parts.append(_suffix(np.fmin, rows.low[:end], counts).ravel())
        if group.high:
            parts.append(_suffix(np.fmax, rows.high[:end], counts).ravel())
        out[group.out] = np.concatenate(parts)[group.take]
        for i, window, feature in group.single:
            start = int(starts[window])
            value = np.nan
            match feature.kind:
                case "std":
                    value = _std(rows, start, end, feature.column)
                case "last":
                    value = rows.latest[end - 1, feature.column] if start < end else value
                case "since_first":
                    value = (at_us - int(rows.first_us[start:end].min())) / US_PER_S if start < end else value
                case "decayed_count" | "decayed_sum":
                    value = _decayed(rows, start, end, feature, end_us)
                    if rows.count is not None and _blurred(rows, start, end):
                        approximate.add(i)
            out[i] = value
        if group.members:
            _distinct(out, group, rows, history, end_us, approximate)


def _suffix_sums(values: Floats, counts: Ints) -> Floats:
    """For each window the sums of the newest `counts` rows, added from the newest: nothing is ever subtracted."""
    running = np.zeros((len(values) + 1, *values.shape[1:]))
    np.add.accumulate(values[::-1], axis=0, out=running[1:])
    return running[counts]


def _suffix(reduction: np.ufunc, values: Floats, counts: Ints) -> Floats:
    running = np.full((len(values) + 1, *values.shape[1:]), np.nan)
    reduction.accumulate(values[::-1], axis=0, out=running[1:])
    return running[counts]


def _std(rows: Rows, start: int, end: int, column: int) -> float:
    """By distances from one of the values: exact to the last digits where the spread is small beside the mean.

    That value is one of those that spread, so no outlier can be far enough away to drown the rest; equal values give 0.
    """
    values = rows.total[start:end, column]
    weight = None if rows.n is None else rows.n[start:end, column]
    if weight is not None:
        known = weight > 0
        values, weight = values[known], weight[known]
        values = values / weight
    if not len(values):
        return math.nan
    away = values - values[-1]
    if weight is None or rows.m2 is None:
        n, off, inside = len(values), away.sum(), 0.0
        squares = away @ away
    else:
        n, off, inside = weight.sum(), weight @ away, rows.m2[start:end, column].sum()
        squares = weight @ (away * away)
    return math.sqrt(max(0.0, inside + squares - off * off / n) / n)


def _blurred(rows: Rows, start: int, end: int) -> bool:
    """Whether some row, or what was cut from it, no longer knows when its events were."""
    assert rows.count is not None
    return bool(np.any((rows.first_us[start:end] < rows.last_us[start:end]) | (rows.count[start:end] % 1 != 0)))


def _decayed(rows: Rows, start: int, end: int, feature: Feature, end_us: int) -> float:
    middle = (rows.first_us[start:end] + rows.last_us[start:end]) / 2
    decay = np.exp2((middle - end_us) / feature.half_life_us)
    if feature.column >= 0:
        return float(decay @ rows.total[start:end, feature.column])
    return float(decay.sum() if rows.count is None else decay @ rows.count[start:end])


def _distinct(out: Floats, group: _Group, rows: Rows, history: History, end_us: int, approximate: set[int]) -> None:
    """Members of event rows, and of the table of members those last seen inside the window."""
    stamps = rows.event_us
    end = int(stamps.searchsorted(end_us, side="right"))
    starts = stamps[:end].searchsorted(end_us - group.windows_us, side="right").tolist()
    table = np.frombuffer(history.members, dtype=np.int64).reshape(-1, 2) if history.members else None
    sizes: dict[int, list[int]] = {}
    for i, window, position in group.members:
        edge_us = end_us - int(group.windows_us[window])
        if position not in sizes:
            members = rows.members[:, position].tolist()
            sizes[position] = []
            seen: set[int] = set()
            newer = end
            # Windows are nested, smallest first: each adds the members of its own older rows.
            for start, width_us in zip(starts, group.windows_us.tolist(), strict=True):
                seen.update(members[start:newer])
                newer = start
                sizes[position].append(
                    len(seen) - (0 in seen) if table is None else _with_table(seen, table, position, end_us, width_us)
                )
        out[i] = sizes[position][window]
        # A member seen after this window may have been seen inside it too: the table keeps the last time only.
        later = table is not None and bool(np.any((table[:, 1] > end_us) & (table[:, 0] & 0xF == position)))
        if later or history.evicted_until_us > edge_us:
            approximate.add(i)


def _with_table(seen: set[int], table: Ints, position: int, end_us: int, width_us: int) -> int:
    inside = table[(table[:, 1] > end_us - width_us) & (table[:, 1] <= end_us), 0].tolist()
    keys = {member_key(member, position) for member in seen if member}
    keys.update(member for member in inside if member & 0xF == position)
    return len(keys)
