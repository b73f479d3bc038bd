"""The batch executor: the vectors of a whole history by DuckDB, from the same declarations as live.

A relation holds the records of one type: a column for each field that the declarations read, named like it; times are
BIGINT microseconds since 1970; numbers are null where missing, never NaN; and `sequence`, BIGINT, unique, is the order
of arrival, by which records of the same microsecond are told apart. Each record counts once: leave duplicates out.
"""

from __future__ import annotations

from collections.abc import Mapping

import duckdb

from features.batch_sql import ViewSql, record_columns
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
    taken = sorted(set(KEPT) & set(feature_set.names))
    if taken:
        raise ValueError(f"feature set {feature_set.name!r}: features may not be called {taken}, as the rows' keys are")
    relation = _relation(feature_set, sources, feature_set.source.topic)
    tables: list[tuple[str, str]] = []
    names = record_columns(feature_set.source, "r")
    selected = [f"r.{name}" for name in KEPT]
    joins = ""
    for position, view in enumerate(feature_set.views):
        rows = _relation(feature_set, sources, view.source.topic)
        prefix = f"view_{position}"
        tables += ViewSql(view, prefix, feature_set.source, relation, rows, points).tables
        joins += f" LEFT JOIN {prefix} ON {prefix}.sequence = r.sequence"
        for i, feature in enumerate(view.names):
            names[feature] = f"CAST({prefix}.v_{i} AS DOUBLE)"
            selected.append(f"{names[feature]} AS {quoted(feature)}")
    derived = ""
    for i, (request, expression) in enumerate(zip(feature_set.derived, feature_set.derived_expressions(), strict=True)):
        # By an alias of its own, which later expressions read: a feature may be called like a field.
        derived += f", {expression.sql(names)} AS d_{i}"
        names[request.name] = f"d_{i}"
    renamed = "".join(f", d_{i} AS {quoted(feature.name)}" for i, feature in enumerate(feature_set.derived))
    inner = f"SELECT {', '.join(selected)}{derived} FROM {relation} AS r{joins} WHERE {points}"
    hidden = f" EXCLUDE ({', '.join(f'd_{i}' for i in range(len(feature_set.derived)))})" if feature_set.derived else ""
    common = ",\n".join(f"{name} AS ({query})" for name, query in tables)
    return f"{'WITH ' if common else ''}{common}\nSELECT *{hidden}{renamed} FROM ({inner})"


def batch_vectors(
    connection: duckdb.DuckDBPyConnection, feature_set: FeatureSet, sources: Mapping[str, str], points: str = "TRUE"
) -> duckdb.DuckDBPyRelation:
    """The vectors as a relation that is computed when it is read: see `batch_sql`."""
    return connection.sql(batch_sql(feature_set, sources, points))


def _relation(feature_set: FeatureSet, sources: Mapping[str, str], topic: str) -> str:
    if topic not in sources:
        raise ValueError(f"feature set {feature_set.name!r} reads {topic!r}; name the relation that holds them")
    return sources[topic]
