"""Read a view's features from a history at a time: one compiled pass answers every window.

A window `w` at time `t` covers the rows in `(t - w, t]`; with a delay `d`, those in `(t - d - w, t - d]`. The scored
event is in its windows; `since_last` and `previous` look at what came before it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from features import operations as op
from features.aggregates import AggregateKind
from features.history import MEMBER_BYTES, NEVER, History
from features.rows import merged_size
from features.view import View

Floats = NDArray[np.float64]
Part = tuple[History, Sequence[bytes], bytes | None] | None

_OPERATION: dict[AggregateKind, int] = {
    "count": op.COUNT,
    "sum": op.TOTAL,
    "mean": op.MEAN,
    "std": op.STD,
    "min": op.LOWEST,
    "max": op.HIGHEST,
    "last": op.LATEST,
    "previous": op.PREVIOUS,
    "distinct": op.DISTINCT,
    "share": op.SHARE,
    "since_first": op.FIRST,
    "since_last": op.SINCE,
    "decayed_count": op.DECAYED,
    "decayed_sum": op.DECAYED,
}


@cache
def _compiled() -> Callable[..., int]:
    """The compiled pass. Loading it takes most of a second: a process that only knows of features never does."""
    from features.kernel import read_views

    return read_views


class Scan:
    """The compiled reading of some views."""

    def __init__(self, *views: View) -> None:
        self.views = views
        self.view = views[0]
        self.names = [feature.name for view in views for feature in view.features]
        self._sizes = struct.Struct(f"<{op.SIZES * len(views)}q")
        self._nothing = (-1,) + (0,) * (op.SIZES - 1)
        self._operations = np.array(
            [
                [_OPERATION[f.kind], f.column, f.window_us, f.delay_us, f.half_life_us]
                for view in views
                for f in view.features
            ],
            dtype=np.int64,
        ).reshape(-1, 5)
        ends = np.cumsum([len(view.features) for view in views]).tolist()
        self._shapes = np.array(
            [
                [end - len(view.features), end, view.row_size // 8, merged_size(view) // 8, len(view.columns)]
                for view, end in zip(views, ends, strict=True)
            ],
            dtype=np.int64,
        )
        self._merged_sizes = [merged_size(view) for view in views]
        self._distinct = [
            [(first + i, f.delay_us + f.window_us) for i, f in enumerate(view.features) if f.kind == "distinct"]
            for view, first in zip(views, self._shapes[:, op.FIRST_OPERATION].tolist(), strict=True)
        ]

    def read(
        self, history: History, at_us: int, pending: list[bytes] | None = None, current: bytes | None = None
    ) -> tuple[Floats, list[str]]:
        """The features of the one view at a time, shape (features,), null as NaN, and the names of those not exact.

        `pending` are rows not yet folded, in any order; `current` is the row of the event being scored.
        """
        out = np.empty(len(self.names))
        return out, self.read_views([(history, pending or (), current)], at_us, out)

    def read_views(self, parts: Sequence[Part], at_us: int, out: Floats) -> list[str]:
        """Write the features of all views into `out`, in order, null as NaN; the names of those not exact.

        Each part is a view's history, its pending rows and the row of the event being scored; None where there is none.
        """
        sizes: list[int] = []
        chunks: list[bytes] = [b""]
        for view, merged_width, part in zip(self.views, self._merged_sizes, parts, strict=True):
            if part is None:
                sizes += self._nothing
                continue
            history, pending, current = part
            rows = history.rows
            chunks += (history.merged, history.members, rows, *pending)
            n_merged = len(history.merged) // merged_width
            n_members = len(history.members) // MEMBER_BYTES
            sizes += (len(rows) // view.row_size + len(pending), n_merged, n_members, current is not None)
            if current is not None:
                chunks.append(current)
        chunks[0] = self._sizes.pack(*sizes)
        block = np.frombuffer(bytearray().join(chunks), dtype=np.int64)
        cut = np.empty(len(self.names), dtype=np.bool_)
        found = _compiled()(self._operations, self._shapes, block, block.view(np.float64), at_us, out, cut)
        for part, distinct in zip(parts, self._distinct, strict=True):
            if part is not None and part[0].evicted_until_us > NEVER:
                for position, reach_us in distinct:
                    if part[0].evicted_until_us > at_us - reach_us:
                        cut[position] = found = True
        return [self.names[i] for i in np.flatnonzero(cut)] if found else []
