"""The windows of a batch by compiled loops: a column for each feature of the views, from the same declarations."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features import sliding
from features.aggregates import WINDOWLESS
from features.batch_rows import Points, Records, Rows, counted
from features.feature_set import FeatureSet
from features.sliding import Floats, Ints
from features.view import Feature, View

US_PER_S = 1e6


@dataclass(frozen=True)
class Window:
    """The range of rows that each point sees: `[low, high)`."""

    low: Ints
    high: Ints


def window_table(
    connection: duckdb.DuckDBPyConnection, feature_set: FeatureSet, sources: Mapping[str, str], points: str
) -> pa.Table:
    """The records of the set's source with `is_point`, the fields that are read, and `v_<view>_<feature>` as doubles.

    The trap: it is in memory, 8 bytes for each feature of each record.
    """
    ((threads,),) = connection.execute("SELECT current_setting('threads')").fetchall()
    with ThreadPoolExecutor(int(threads)) as pool:
        records = Records(connection, feature_set, sources, points, pool)
        table = records.table
        for number, view in enumerate(feature_set.views):
            for i, values in enumerate(ViewWindows(view, *records.view(number)).values(len(table), pool)):
                # Nulls only where there are some: Arrow then takes the column as it is.
                missing = np.isnan(values)
                column = pa.array(values, mask=missing) if missing.any() else pa.array(values)
                table = table.append_column(f"v_{number}_{i}", column)
    return table


class ViewWindows:
    """The features of one view at its points."""

    def __init__(self, view: View, rows: Rows, points: Points) -> None:
        self.view = view
        self.rows = rows
        self.points = points

    def values(self, records: int, pool: ThreadPoolExecutor) -> list[Floats]:
        """For each feature float64 of shape (records,), null as NaN."""
        windowed = [feature for feature in self.view.features if feature.kind not in WINDOWLESS]
        backs = list({f.delay_us + f.window_us for f in windowed} | {f.delay_us for f in windowed})
        edges = dict(zip(backs, pool.map(self._edge, backs), strict=True))

        def column(feature: Feature) -> Floats:
            out = np.full(records, np.nan)
            if feature.kind in WINDOWLESS:
                self._latest_before(feature, out)
            else:
                window = Window(edges[feature.delay_us + feature.window_us], edges[feature.delay_us])
                self._windowed(feature, window, out)
            return out

        return list(pool.map(column, self.view.features))

    def _edge(self, back_us: int) -> Ints:
        """For each point the first row later than so long before it; now, the first that is not known yet."""
        if not back_us:
            return self.points.seen
        edge = np.empty(len(self.points.at), dtype=np.int64)
        sliding.edges(self.rows.stamps, self.rows.starts, self.points.at, self.points.starts, back_us, edge)
        return edge

    def _latest_before(self, feature: Feature, out: Floats) -> None:
        points, latest = self.points, self.points.before - 1
        known = latest >= points.first
        if feature.kind == "since_last":
            out[points.place[known]] = (points.at[known] - self.rows.stamps[latest[known]]) / US_PER_S
        else:
            out[points.place[known]] = self.rows.numbers[feature.column][latest[known]]

    def _windowed(self, feature: Feature, window: Window, out: Floats) -> None:
        place, at = self.points.place, self.points.at
        match feature.kind:
            case "count" if feature.column < 0:
                out[place] = window.high - window.low
            case "last":
                known = window.high > window.low
                out[place[known]] = self.rows.numbers[feature.column][window.high[known] - 1]
            case "since_first":
                known = window.high > window.low
                out[place[known]] = (at[known] - self.rows.stamps[window.low[known]]) / US_PER_S
            case "distinct":
                members = self.rows.members[feature.column]
                window, members = _where(members >= 0, window, members)
                previous, following = np.empty_like(members), np.empty_like(members)
                sliding.neighbours(members, previous, following)
                sliding.distinct(previous, following, window.low, window.high, place, out)
            case _:
                self._measured(feature, window, out)

    def _measured(self, feature: Feature, window: Window, out: Floats) -> None:
        place, stamps = self.points.place, self.rows.stamps
        values = np.ones(len(stamps)) if feature.column < 0 else self.rows.numbers[feature.column]
        window, values, stamps = _where(~np.isnan(values), window, values, stamps)
        low, high = window.low, window.high
        match feature.kind:
            case "count" | "sum":
                sliding.sums(values, low, high, False, place, out)
            case "mean" | "share":
                sliding.sums(values, low, high, True, place, out)
            case "std":
                sliding.deviations(values, low, high, place, out)
            case "min" | "max":
                sliding.extremes(values, low, high, 1.0 if feature.kind == "max" else -1.0, place, out)
            case "decayed_count" | "decayed_sum":
                ends_us = self.points.at - feature.delay_us
                sliding.decayed(values, stamps, low, high, ends_us, feature.half_life_us, place, out)
            case _:  # pragma: no cover - every kind is above
                raise AssertionError(feature.kind)


def _where(known: NDArray[np.bool_], window: Window, *columns: NDArray[Any]) -> tuple[Any, ...]:
    """The window over the rows that are known, and those rows of the columns."""
    if known.all():
        return (window, *columns)
    before = counted(known)
    return (Window(before[window.low], before[window.high]), *(column[known] for column in columns))
