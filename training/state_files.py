"""The Parquet files behind Feast's `<view>_state` feature views: one row is one entity's state at one time."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from features.view import View

Every = Literal["event", "day", "end"]
EVERY: tuple[Every, ...] = get_args(Every)
DAY_US = 86_400_000_000
GROUP_BYTES = 32_000_000
"""States held in memory for one view before they are written out."""


class StateFile:
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

    def add(self, value: str, state: bytes, at_us: int) -> None:
        """One row: the entity's state as it was at a time, in microseconds since 1970."""
        self._values.append(value)
        self._states.append(state)
        self._times.append(at_us)
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
