"""Whether a file's label column says what its mapping expects, before hours are spent on it."""

from __future__ import annotations

from pathlib import Path

import duckdb

from stream.mapped_rows import cell_text, is_fraud
from stream.mapping import Mapping, MappingError
from stream.table import Table

SHOWN = 8


def check_label_values(path: Path | str, mapping: Mapping) -> None:
    """Raise `MappingError` where the column holds several values and none of them means fraud.

    A value misspelt in a mapping makes every fraud legit, and nothing else would say so. A file with one value only may
    well be one without frauds. Reads the column once.
    """
    table = Table(path)
    mapping.check_columns(table.columns, table.path.name)
    if mapping.label is None:
        return
    cell = f"nullif({cell_text(mapping.label.column)}, '')"
    with duckdb.connect(":memory:") as database:
        found = database.execute(
            f"WITH numbered AS ({table.select_numbered(reject_broken_lines=table.is_text)}), "
            f"cells AS (SELECT {cell} AS cell, {is_fraud(mapping.label)} AS fraud FROM numbered) "
            "SELECT cell, bool_or(fraud) AS any_fraud FROM cells WHERE fraud IS NOT NULL GROUP BY cell "
            f"ORDER BY any_fraud DESC, count(*) DESC LIMIT {SHOWN}"
        ).fetchall()
    if len(found) > 1 and not found[0][1]:
        values = ", ".join(repr(value) for value, _ in found)
        remedy = f"no cell of column {mapping.label.column!r} of {table.path.name} is that; it holds {values}"
        raise MappingError("label.fraud", mapping.label.fraud, f"{remedy}; list the values that mean fraud")
