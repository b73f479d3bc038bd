"""The batch executor: the vectors of a whole history by DuckDB, from the same declarations as live.

`batch_sql` is all of it as one query, of any size that DuckDB can hold on disk. `batch_vectors` takes the same rows,
conditions and request-time features from SQL and computes the windows by compiled loops (`features/sliding.py`).

A relation holds the records of one type: a column for each field that the declarations read, named like it; times are
BIGINT microseconds since 1970; numbers are null where missing, never NaN; and `sequence`, BIGINT, unique, is the order
of arrival, by which records of the same microsecond are told apart. Each record counts once: leave duplicates out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import duckdb

from features.batch_sql import ViewSql, record_columns
from features.batch_windows import window_table
from features.feature_set import FeatureSet
from stream.table import quoted

KEPT = ("event_id", "event_timestamp", "sequence")


def batch_sql(feature_set: FeatureSet, sources: Mapping[str, str], points: str = "TRUE") -> str:
    """SQL whose rows are `KEPT` and the features, in the vector's order, for each record of the set's source.

    Parameters
    ----------
    sources
        For the topic of each type of record (`Transaction.topic`), the relation that holds its records.
    points
        An SQL condition over the columns of a source record, named `r`: only those are answered, though all count.

    Each vector sees what the live engine sees when the records come in the order of their times, ties in the order of
    `sequence`, and records of other types before a scored one of the same time. The traps: it is exact however many
    rows an entity has, where the live answer beyond its row budget is approximate; and rows come in no order.
    Raises `ValueError` where a relation is missing.
    """
    _check(feature_set, sources)
    relation = sources[feature_set.source.topic]
    tables: list[tuple[str, str]] = []
    values: list[str] = []
    joins = ""
    for position, view in enumerate(feature_set.views):
        prefix = f"view_{position}"
        rows = sources[view.source.topic]
        tables += ViewSql(view, prefix, feature_set.source, relation, rows, points).tables
        joins += f" LEFT JOIN {prefix} ON {prefix}.sequence = r.sequence"
        values += [f"CAST({prefix}.v_{i} AS DOUBLE)" for i in range(len(view.features))]
    common = ",\n".join(f"{name} AS ({query})" for name, query in tables)
    select = _vectors_sql(feature_set, values, f"{relation} AS r{joins} WHERE {points}")
    return f"{'WITH ' if common else ''}{common}\n{select}"


def batch_vectors(
    connection: duckdb.DuckDBPyConnection, feature_set: FeatureSet, sources: Mapping[str, str], points: str = "TRUE"
) -> duckdb.DuckDBPyRelation:
    """The vectors of `batch_sql` as a relation, the windows by compiled loops: several times as fast, in memory.

    The windows are computed at once, the rest when the relation is read. Any number of records may share a microsecond.
    The traps: it takes 8 bytes of memory for each of the views' features of each record, which DuckDB's limit does not
    count; and the connection must have no unfinished result. Raises as `batch_sql` does.
    """
    _check(feature_set, sources)
    table = window_table(connection, feature_set, sources, points)
    values = [f"r.v_{position}_{i}" for position, view in enumerate(feature_set.views) for i in range(len(view.names))]
    query = _vectors_sql(feature_set, values, "computed AS r WHERE r.is_point")
    vectors = connection.from_arrow(table).query("computed", query)
    assert vectors is not None
    return vectors


def _vectors_sql(feature_set: FeatureSet, values: Sequence[str], origin: str) -> str:
    """The vectors from what the views gave: `values` is the SQL of each of their features, over `origin`."""
    names = record_columns(feature_set.source, "r")
    selected = [f"r.{name}" for name in KEPT]
    stored = [name for view in feature_set.views for name in view.names]
    for name, value in zip(stored, values, strict=True):
        names[name] = value
        selected.append(f"{value} AS {quoted(name)}")
    derived = ""
    for i, (request, expression) in enumerate(zip(feature_set.derived, feature_set.derived_expressions(), strict=True)):
        # By an alias of its own, which later expressions read: a feature may be called like a field.
        derived += f", {expression.sql(names)} AS d_{i}"
        names[request.name] = f"d_{i}"
    renamed = "".join(f", d_{i} AS {quoted(feature.name)}" for i, feature in enumerate(feature_set.derived))
    hidden = f" EXCLUDE ({', '.join(f'd_{i}' for i in range(len(feature_set.derived)))})" if feature_set.derived else ""
    return f"SELECT *{hidden}{renamed} FROM (SELECT {', '.join(selected)}{derived} FROM {origin})"


def _check(feature_set: FeatureSet, sources: Mapping[str, str]) -> None:
    taken = sorted(set(KEPT) & set(feature_set.names))
    if taken:
        raise ValueError(f"feature set {feature_set.name!r}: features may not be called {taken}, as the rows' keys are")
    for view in feature_set.views:
        if view.source is feature_set.source and view.time != "event_timestamp":
            raise ValueError(
                f"view {view.name!r}: batch reads scored records by their event_timestamp, not {view.time!r}"
            )
    for source in (feature_set.source, *(view.source for view in feature_set.views)):
        if source.topic not in sources:
            raise ValueError(
                f"feature set {feature_set.name!r} reads {source.topic!r}; name the relation that holds them"
            )
