"""States computed in batch: the Parquet files behind Feast's `<view>_state` feature views.

One file for each view: the entity, the state's bytes, and the time of the newest event inside it. `feast materialize`
loads the newest state of each entity; a point-in-time join finds the one that was true at a row's time.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from features.feature_set import FeatureSet
from features.history import NEVER, History
from features.view import View, member_hash
from stream.label_feed import LabelFeed
from stream.played import Played
from training.replay import rows_of

Every = Literal["event", "day", "end"]
EVERY: tuple[Every, ...] = get_args(Every)
DAY_US = 86_400_000_000
LABELS_WAITING = 10_000_000
GROUP_BYTES = 32_000_000
"""States held in memory for one view before they are written out."""


def arrivals(played: Iterable[Played], until: datetime | None = None) -> Iterator[Any]:
    """Played transactions with the labels that become known between them: the stream as it would have come.

    Labels that become known after the last transaction come only where `until` (not included) lets them.
    """
    feed = LabelFeed(limit=LABELS_WAITING)
    for one in played:
        yield from feed.due(one.transaction.event_timestamp)
        yield one.transaction
        feed.add(one)
    if until is not None:
        yield from feed.due(until - timedelta(microseconds=1))


def write_states(features: FeatureSet, records: Iterable[Any], folder: Path, *, every: Every = "end") -> dict[str, int]:
    """Fold records in the order in which they came, and write each view's states. How many rows, by view.

    Parameters
    ----------
    records
        Of every type that the views are made from, in time order: a record that comes late changes the state of the
        entity's newest time, as if it had been known then. A copy of a recent record changes nothing.
    every
        `end`: the last state of each entity, all that `feast materialize` needs. `day`: the last of each day on which
        something happened. `event`: the state after each event, for exact training frames; events of one entity at
        the same microsecond share one row, since Feast would choose among several at random.

    The files appear whole, after the last record; before that the old ones stay.

    The trap: these states know no offsets of a log. A worker that reads the same records again adds them again, except
    those that the primary state remembers; let it begin where the records end.
    """
    files = {view.name: _StateFile(view, folder) for view in features.views}
    histories: dict[tuple[str, str], History] = {}
    try:
        for record in records:
            identity = member_hash(record.identity)
            for view, value, row, primary in rows_of(features, record):
                history = histories.get((view.name, value))
                if history is None:
                    history = histories[view.name, value] = History(view)
                if primary and history.knows(identity):
                    break
                newest_us = history.newest_us
                if newest_us != NEVER and _period(newest_us, every) != _period(max(newest_us, _time(row)), every):
                    files[view.name].add(value, history)
                history.fold(row)
                if primary:
                    history.remember(identity)
        for (name, value), history in histories.items():
            if history.newest_us != NEVER:
                files[name].add(value, history)
        return {name: file.publish() for name, file in files.items()}
    finally:
        for file in files.values():
            file.close()


def _time(row: bytes) -> int:
    return int(struct.unpack_from("<q", row)[0])


def _period(at_us: int, every: Every) -> int:
    match every:
        case "event":
            return at_us
        case "day":
            return at_us // DAY_US
        case "end":
            return 0


class _StateFile:
    """One view's file: written beside the old one, then put in its place."""

    def __init__(self, view: View, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # Feast's duckdb store fails on nanoseconds with a zone.
        self.schema = pa.schema(
            [
                (view.entity, pa.string()),
                (view.state_view, pa.binary()),
                ("event_timestamp", pa.timestamp("us", tz="UTC")),
            ]
        )
        self.path = folder / f"{view.state_view}.parquet"
        self.new = self.path.with_suffix(f".{os.getpid()}.new")
        self.rows = 0
        self._writer = pq.ParquetWriter(self.new, self.schema)
        self._clear()

    def _clear(self) -> None:
        self._values: list[str] = []
        self._states: list[bytes] = []
        self._times: list[int] = []
        self._bytes = 0

    def add(self, value: str, history: History) -> None:
        """One row: the entity's state as it is now."""
        state = history.encode()
        self._values.append(value)
        self._states.append(state)
        self._times.append(history.newest_us)
        self._bytes += len(state)
        self.rows += 1
        if self._bytes >= GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        columns = [
            pa.array(column, field.type)
            for column, field in zip((self._values, self._states, self._times), self.schema, strict=True)
        ]
        self._writer.write_table(pa.Table.from_arrays(columns, schema=self.schema))
        self._clear()

    def publish(self) -> int:
        """Put the file in the old one's place. How many rows it has."""
        self._flush()
        self._writer.close()
        self.new.replace(self.path)
        return self.rows

    def close(self) -> None:
        """Leave no half of a file behind."""
        self._writer.close()
        self.new.unlink(missing_ok=True)
