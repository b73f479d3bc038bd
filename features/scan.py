"""Read a view's features from a history at a time: one compiled pass answers every window.

A window `w` at time `t` covers the rows in `(t - w, t]`; with a delay `d`, those in `(t - d - w, t - d]`. The scored
event is in its windows; `since_last` and `previous` look at what came before it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from features import kernel
from features.aggregates import AggregateKind
from features.history import History
from features.rows import merged_size
from features.view import View

Floats = NDArray[np.float64]

_OPERATION: dict[AggregateKind, int] = {
    "count": kernel.COUNT,
    "sum": kernel.TOTAL,
    "mean": kernel.MEAN,
    "std": kernel.STD,
    "min": kernel.LOWEST,
    "max": kernel.HIGHEST,
    "last": kernel.LATEST,
    "previous": kernel.PREVIOUS,
    "distinct": kernel.DISTINCT,
    "share": kernel.SHARE,
    "since_first": kernel.FIRST,
    "since_last": kernel.SINCE,
    "decayed_count": kernel.DECAYED,
    "decayed_sum": kernel.DECAYED,
}


class Scan:
    """The compiled reading of one view."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.width = view.row_size // 8
        self._merged_width = merged_size(view) // 8
        self._operations = np.array(
            [[_OPERATION[f.kind], f.column, f.window_us, f.delay_us, f.half_life_us] for f in view.features],
            dtype=np.int64,
        ).reshape(-1, 5)
        self._distinct = [(i, f) for i, f in enumerate(view.features) if f.kind == "distinct"]

    def read(
        self, history: History, at_us: int, pending: list[bytes] | None = None, current: bytes | None = None
    ) -> tuple[Floats, list[str]]:
        """The view's features at a time, shape (features,), null as NaN, and the names of those not exact.

        `pending` are rows not yet folded, in any order; `current` is the row of the event being scored.
        """
        block = self._with(history.rows, pending) if pending else history.rows
        size = self.view.row_size
        before = len(block) // size
        if before and int.from_bytes(block[-size : 8 - size], "little", signed=True) > at_us:
            stamps = np.frombuffer(block, dtype=np.int64)[:: self.width]
            before = int(stamps.searchsorted(at_us, side="right"))
            block = block[: before * size]
        if current is not None:
            block += current
        cells = np.frombuffer(block, dtype=np.int64).reshape(-1, self.width)
        spans = np.frombuffer(history.merged, dtype=np.int64).reshape(-1, self._merged_width)
        members = np.frombuffer(history.members, dtype=np.int64).reshape(-1, 2)
        out = np.empty(len(self._operations))
        cut = np.empty(len(self._operations), dtype=np.bool_)
        kernel.read(
            self._operations,
            cells.view(np.float64),
            cells,
            before,
            spans.view(np.float64),
            spans,
            members,
            len(self.view.columns),
            at_us,
            out,
            cut,
        )
        for i, feature in self._distinct:
            if history.evicted_until_us > at_us - feature.delay_us - feature.window_us:
                cut[i] = True
        if cut.any():
            return out, [self.view.features[i].name for i in np.flatnonzero(cut)]
        return out, []

    def _with(self, block: bytes, pending: list[bytes]) -> bytes:
        block += b"".join(pending)
        stamps = np.frombuffer(block, dtype=np.int64)[:: self.width]
        if np.all(stamps[1:] >= stamps[:-1]):
            return block
        rows = np.frombuffer(block, dtype=np.int64).reshape(-1, self.width)
        return rows[np.argsort(stamps, kind="stable")].tobytes()
