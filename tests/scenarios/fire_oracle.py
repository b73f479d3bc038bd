"""What the fire must leave behind: every entity's features, computed from the unique records in plain Python."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from features.feature_set import EntityRef
from features.fraud import FRAUD
from features.history import History
from features.merging import span_bound
from features.online_store import OnlineStore
from features.scan import Scan
from features.view import KEPT_ROWS, ROW_BUDGET, View
from stream.records import Label, Transaction, micros
from tests.oracle import DAY, differences, read

SCANS = {view.name: Scan(view) for view in FRAUD.views}
READ_LIMIT = 500
Times = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass
class Comparison:
    """Effects that are missing or there twice, summed over all views of all entities, and features that differ."""

    lost: int = 0
    doubled: int = 0
    exact: int = 0
    """Entities within the row budget, whose features were compared one by one."""
    beyond: int = 0
    """Entities beyond it, whose counts were compared within the bound."""
    pending: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether what was found is what one clean pass leaves."""
        return not (self.lost or self.doubled or self.pending or self.wrong)


def compare(store: OnlineStore, unique: list[Transaction | Label], end_us: int) -> Comparison:
    """Every entity that the records touch, at the end of the stream and a week later (for what looks back that far)."""
    expected: dict[EntityRef, dict[str, list[Any]]] = defaultdict(lambda: {view.name: [] for view in FRAUD.views})
    for record in unique:
        for view in FRAUD.views:
            if isinstance(record, view.source) and view.row(record) is not None:
                ref = EntityRef(view.entity, getattr(record, view.entity))
                # The oracle knows one time only: that at which the record takes effect.
                moment: datetime = getattr(record, view.time)
                expected[ref][view.name].append(msgspec.structs.replace(record, event_timestamp=moment))
    found = Comparison()
    refs = list(expected)
    for start in range(0, len(refs), READ_LIMIT):
        some = refs[start : start + READ_LIMIT]
        for ref, entity in zip(some, store.read(some), strict=True):
            found.pending += len(entity.pending)
            for view in FRAUD.views:
                if view.entity == ref.entity:
                    history = History.decode(view, entity.states.get(view.name))
                    _compare_view(found, ref, view, history, expected[ref][view.name], end_us)
    return found


def _compare_view(
    found: Comparison, ref: EntityRef, view: View, history: History, events: list[Any], end_us: int
) -> None:
    surplus = round(history.held) - len(events)
    found.lost += max(0, -surplus)
    found.doubled += max(0, surplus)
    if surplus:
        found.wrong.append(f"{view.name} of {ref.value} holds {len(events) + surplus} events, not {len(events)}")
        return
    within = len(events) <= ROW_BUDGET
    found.exact += within
    found.beyond += not within
    for at_us in (end_us, end_us + 7 * DAY):
        values, approximate = SCANS[view.name].read(history, at_us)
        if within:
            wrong = differences(view.names, values.tolist(), read(view, events, at_us), size=90.0 * len(events))
            found.wrong += [f"{name} of {ref.value}: {pair}" for name, pair in wrong.items()]
            found.wrong += [f"{name} of {ref.value} is approximate" for name in approximate]
        else:
            for feature, value in zip(view.features, values.tolist(), strict=True):
                low, high = count_bounds(events, at_us, feature.window_us, feature.delay_us)
                if feature.kind == "count" and feature.column < 0 and not low - 1e-6 <= value <= high + 1e-6:
                    found.wrong.append(f"{feature.name} of {ref.value} is {value}, not in {low} to {high}")


def count_bounds(events: list[Any], at_us: int, window_us: int, delay_us: int) -> tuple[int, int]:
    """The least and the most that a count over one window may be."""
    times = np.sort(np.array([micros(event.event_timestamp) for event in events], dtype=np.int64))
    surely, maybe = window_bounds(times, at_us, window_us, delay_us)
    return int(surely.sum()), int(maybe.sum())


def window_bounds(times: Times, at_us: int, window_us: int, delay_us: int) -> tuple[Mask, Mask]:
    """Which events (sorted by time) a window surely holds, and which it may, by the bound of `features.merging`."""
    newest_us = int(times[-1])
    youngest_us = youngest_merged_us(times)
    bound = span_bound(newest_us - int(times[0]), youngest_us)

    def around(edge_us: int) -> tuple[int, int]:
        # Rows that are one event are exact: only an edge older than all of them can be off.
        age_us = newest_us - edge_us
        slack_us = int(bound * age_us) + 1 if age_us >= youngest_us else 0
        return edge_us - slack_us, edge_us + slack_us

    begin, end = around(at_us - delay_us - window_us), around(at_us - delay_us)
    return (times > begin[1]) & (times <= end[0]), (times > begin[0]) & (times <= end[1])


def youngest_merged_us(times: Times) -> int:
    """The least age at which an event can have been merged: `KEPT_ROWS` newer ones were there."""
    return int((times[KEPT_ROWS:] - times[:-KEPT_ROWS]).min())
