"""The rows of a batch and the points at which they are read, as arrays grouped by entity.

SQL, generated from the declarations, gives them in order of time: conditions and measured columns are its. Here they
are only sorted by entity, texts become numbers, and nulls NaN or -1.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features import sliding
from features.batch_sql import cells_sql, record_columns
from features.expression import parse
from features.feature_set import FeatureSet
from features.sliding import Ints
from features.view import View
from stream.table import quoted


@dataclass(frozen=True)
class Rows:
    """A view's rows, grouped by entity, in order of time: the first of each entity, times, measured columns, members.

    `numbers` has NaN for null; `members` are numbers from 0, -1 for null.
    """

    starts: Ints
    stamps: Ints
    numbers: list[NDArray[np.float64]]
    members: list[Ints]


@dataclass(frozen=True)
class Points:
    """Where a view is read, grouped like its rows: times, places among the records, and the rows known by then.

    The rows of a point's entity begin at `first`. `before` ends those that came earlier; `seen` counts its own too.
    """

    starts: Ints
    at: Ints
    place: Ints
    first: Ints
    before: Ints
    seen: Ints


class Records:
    """The records of a set's source in order of time, and how they group by each entity.

    `table` has a column for each field that is read, `is_point`, and for the views over these records their measured
    columns.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        feature_set: FeatureSet,
        sources: Mapping[str, str],
        points: str,
        pool: ThreadPoolExecutor,
    ) -> None:
        self._connection = connection
        self._set = feature_set
        self._sources = sources
        self.table = connection.sql(_records_sql(feature_set, sources, points)).to_arrow_table()
        own = [view for view in feature_set.views if view.source is feature_set.source]
        texts = list({*feature_set.entities, *(member for view in own for member in view.members)})
        self._texts = dict(zip(texts, pool.map(self._encode, texts), strict=True))
        entities = feature_set.entities
        self._groups = dict(zip(entities, pool.map(self._group, entities), strict=True))

    def view(self, number: int) -> tuple[Rows, Points]:
        """The rows of one of the set's views, by its number, and the points: all records that name its entity."""
        view = self._set.views[number]
        starts, place = self._groups[view.entity]
        at = self.table["event_timestamp"].to_numpy()[place]
        if view.source is self._set.source:
            return self._own(view, number, starts, place, at)
        return self._others(view, starts, place, at)

    def _own(self, view: View, number: int, starts: Ints, place: Ints, at: Ints) -> tuple[Rows, Points]:
        table = self.table
        counts = table[f"counts_{number}"].to_numpy()[place] if view.where else np.ones(len(place), dtype=np.bool_)
        filled = counted(counts)
        chosen = place[counts]
        numbers = [table[f"c_{number}_{i}"].to_numpy()[chosen] for i in range(len(view.columns))]
        members = [_numbers(self._texts[member].indices)[chosen] for member in view.members]
        rows = Rows(filled[starts], at[counts], numbers, members)
        first = np.repeat(rows.starts[:-1], np.diff(starts))
        return rows, Points(starts, at, place, first, filled[:-1], filled[1:])

    def _others(self, view: View, starts: Ints, place: Ints, at: Ints) -> tuple[Rows, Points]:
        table = self._connection.sql(_rows_sql(view, self._sources[view.source.topic])).to_arrow_table()
        names = self._texts[view.entity].dictionary
        row_starts, order = _grouped(_numbers(pc.index_in(table["entity"].combine_chunks(), names)), len(names))
        numbers = [table[f"c_{i}"].to_numpy()[order] for i in range(len(view.columns))]
        members = [_numbers(_encoded(table[f"m_{i}"]).indices)[order] for i in range(len(view.members))]
        rows = Rows(row_starts, table["at_us"].to_numpy()[order], numbers, members)
        first = np.repeat(rows.starts[:-1], np.diff(starts))
        # What has the very time of a point is known to it.
        seen = np.empty(len(at), dtype=np.int64)
        sliding.edges(rows.stamps, rows.starts, at, starts, 0, seen)
        return rows, Points(starts, at, place, first, seen, seen)

    def _encode(self, field: str) -> pa.DictionaryArray:
        return _encoded(self.table[field])

    def _group(self, entity: str) -> tuple[Ints, Ints]:
        texts = self._texts[entity]
        return _grouped(_numbers(texts.indices), len(texts.dictionary))


def counted(known: NDArray[np.bool_]) -> Ints:
    """How many are known among the first n, for n from 0 to all: int64 of shape (len(known) + 1,)."""
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(known, dtype=np.int64)])


def _records_sql(feature_set: FeatureSet, sources: Mapping[str, str], points: str) -> str:
    columns = record_columns(feature_set.source, "r")
    own = [(i, view) for i, view in enumerate(feature_set.views) if view.source is feature_set.source]
    read = {"event_id", "event_timestamp", *feature_set.entities}
    read |= {member for _, view in own for member in view.members}
    read |= {name for expression in feature_set.derived_expressions() for name in expression.names if name in columns}
    cells = [f"r.{quoted(name)}" for name in sorted(read)]
    for number, view in own:
        cells += [f"{cell} AS c_{number}_{i}" for i, cell in enumerate(cells_sql(view, columns))]
        if view.where:
            where = parse(view.where, view.fields, "boolean").sql(columns)
            cells.append(f"coalesce({where}, FALSE) AS counts_{number}")
    return (
        f"SELECT r.sequence, coalesce({points}, FALSE) AS is_point, {', '.join(cells)}"
        f" FROM {sources[feature_set.source.topic]} AS r ORDER BY r.event_timestamp, r.sequence"
    )


def _rows_sql(view: View, relation: str) -> str:
    columns = record_columns(view.source, "r")
    entity, time = f"r.{quoted(view.entity)}", f"r.{quoted(view.time)}"
    cells = [f"{entity} AS entity", f"{time} AS at_us"]
    cells += [f"{cell} AS c_{i}" for i, cell in enumerate(cells_sql(view, columns))]
    cells += [f"r.{quoted(member)} AS m_{i}" for i, member in enumerate(view.members)]
    where = f" AND {parse(view.where, view.fields, 'boolean').sql(columns)}" if view.where else ""
    return (
        f"SELECT {', '.join(cells)} FROM {relation} AS r"
        f" WHERE {entity} IS NOT NULL AND {time} IS NOT NULL{where} ORDER BY at_us, r.sequence"
    )


def _encoded(texts: pa.ChunkedArray) -> pa.DictionaryArray:
    return texts.combine_chunks().dictionary_encode()


def _numbers(indices: pa.Array) -> Ints:
    numbers: Ints = indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return numbers


def _grouped(codes: Ints, count: int) -> tuple[Ints, Ints]:
    starts, order = np.zeros(count + 1, dtype=np.int64), np.empty(len(codes), dtype=np.int64)
    sliding.group(codes, starts, order)
    return starts, order[: starts[-1]]
