"""The SQL that turns a table's rows into a transaction's fields, as a mapping says."""

from __future__ import annotations

from datetime import datetime

from stream.mapping import Mapping, MappingError
from stream.mapping_sources import SECONDS, CellValue, LabelSource, NumberSource, TextSource, TimeSource
from stream.records import micros
from stream.table import Table, literal, quoted

# The order of the fields in every row. `checked` is true where every field is known to be valid; where it is not,
# `cells` holds the time and the numbers as they stand in the file, to be judged and named in an error.
FIELDS = (
    *("file_row", "at_us", "event_id", "card_id", "merchant_id", "amount", "currency", "customer_id", "device_id"),
    *("latitude", "longitude", "fraud", "checked", "cells"),
)
TEXTS = ("card_id", "merchant_id", "currency", "customer_id", "device_id")
CELLS = ("event_timestamp", "amount", "latitude", "longitude")
FIRST_US, LAST_US = -62_135_596_800_000_000, 253_402_300_799_999_999  # the years 1 to 9999, as Python has them
FLOATS = ("FLOAT", "DOUBLE")
NUMBERS = (*FLOATS, "DECIMAL", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT")

_CHECKS = f"""
    at_us BETWEEN {FIRST_US} AND {LAST_US}
    AND length(event_id) <= 128 AND length(card_id) <= 128 AND length(merchant_id) <= 128
    AND amount BETWEEN 0 AND 1e12
    AND coalesce(regexp_full_match(currency, '[A-Z]{{3}}'), true)
    AND coalesce(length(customer_id) <= 128, true) AND coalesce(length(device_id) <= 128, true)
    AND (latitude BETWEEN -90 AND 90 OR cells[3] IS NULL)
    AND (longitude BETWEEN -180 AND 180 OR cells[4] IS NULL)
"""


def select_fields(
    table: Table,
    mapping: Mapping,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    limit: int | None = None,
    skip_invalid: bool = False,
) -> str:
    """SQL whose rows are `FIELDS`, in `[start, end)`, by time and then by place in the file.

    Rows without a readable time come first whatever the range: nobody knows that they lie outside it. Run it with
    the session's TimeZone set to the mapping's zone. Raises `MappingError`.
    """
    mapping.check_columns(table.columns, table.path.name)
    kinds = table.columns
    fields = {
        "file_row": "_file_row",
        "at_us": _time(mapping.event_timestamp, kinds),
        "event_id": _text(mapping.event_id, kinds) if mapping.event_id else "'row-' || _file_row",
        "fraud": is_fraud(mapping.label),
        "cells": f"[{', '.join([cell_text(mapping.event_timestamp.column), *_number_cells(mapping, kinds)])}]",
    }
    fields |= {name: _number(getattr(mapping, name), kinds) for name in CELLS[1:]}
    fields |= {name: _text(getattr(mapping, name), kinds) for name in TEXTS}
    selected = ", ".join(f"{expression} AS {name}" for name, expression in fields.items())
    bounds = [f"at_us {sign} {micros(t)}" for sign, t in ((">=", start), ("<", end)) if t is not None]
    # A limit in SQL keeps only that many rows in memory, but would count those that are going to be skipped.
    at_most = f" LIMIT {limit:d}" if limit is not None and not skip_invalid else ""
    return (
        f"WITH numbered AS ({table.select_numbered(reject_broken_lines=skip_invalid)}), "
        f"fields AS (SELECT {selected} FROM numbered), "
        f"judged AS (SELECT *, coalesce({_CHECKS}, false) AS checked FROM fields) "
        f"SELECT {', '.join(FIELDS[:-1])}, CASE WHEN checked THEN NULL ELSE cells END AS cells "
        f"FROM judged WHERE at_us IS NULL OR ({' AND '.join(bounds) or 'true'}) "
        f"ORDER BY at_us NULLS FIRST, file_row{at_most}"
    )


def _time(source: TimeSource, kinds: dict[str, str]) -> str:
    column, kind = _column(source.column), kinds[source.column]
    is_number = kind.startswith(NUMBERS)
    if source.unit is None:
        if is_number:
            remedy = (
                f"{source.column} holds numbers ({kind}); say 'ms', 's', 'm', 'h' or 'd', and origin if it is not 1970"
            )
            raise MappingError("event_timestamp.unit", None, remedy)
        # Times that carry no offset take the session's zone here; times that do keep their own.
        return f"TRY(epoch_us(TRY_CAST({column} AS TIMESTAMPTZ)))"
    if not is_number and kind != "VARCHAR":
        raise MappingError("event_timestamp.unit", source.unit, f"{source.column} holds {kind}; leave unit out")
    micros_per_unit = 1_000 if source.unit == "ms" else SECONDS[source.unit] * 1_000_000
    since_origin = f"TRY_CAST(round(TRY_CAST({column} AS DOUBLE) * {micros_per_unit}) AS BIGINT)"
    return f"TRY({since_origin} + {micros(source.origin)})"


def _text(source: TextSource | None, kinds: dict[str, str]) -> str:
    """The field's text; NULL where the cell is empty, and of joined columns where all are."""
    if source is None:
        return "NULL::VARCHAR"
    if source.constant is not None:
        return literal(source.prefix + source.constant)
    if source.row:
        return f"{literal(source.prefix)} || _file_row"
    cells = [_id_cell(column, kinds[column]) for _, column in source.named_columns]
    if len(cells) == 1:
        return f"{literal(source.prefix)} || {cells[0]}"
    # An empty cell keeps its separators: ("a", "", "b") and ("a", "b", "") must not become one id.
    joined = f" || {literal(source.separator)} || ".join(f"coalesce({cell}, '')" for cell in cells)
    return f"CASE WHEN coalesce({', '.join(cells)}) IS NOT NULL THEN {literal(source.prefix)} || {joined} END"


def _id_cell(column: str, kind: str) -> str:
    text = f"nullif({cell_text(column)}, '')"
    if kind not in FLOATS:
        return text
    # Integer ids with gaps were often saved as floats: 12.0 is the id 12, and NaN is no id.
    whole = f"TRY_CAST(TRY_CAST({_column(column)} AS BIGINT) AS VARCHAR)"
    return (
        f"CASE WHEN isnan({_column(column)}) THEN NULL "
        f"WHEN {_column(column)} = trunc({_column(column)}) THEN {whole} ELSE {text} END"
    )


def _number(source: NumberSource | None, kinds: dict[str, str]) -> str:
    if source is None:
        return "NULL::DOUBLE"
    if source.column is None:
        return f"{source.constant!r}::DOUBLE"
    number = f"TRY_CAST({_number_cell(source.column, kinds)} AS DOUBLE)"
    # Rounded, so that 1999 cents are 19.99 and not 19.990000000000002.
    return number if source.scale == 1.0 else f"round({number} * {source.scale!r}, 6)"


def _number_cells(mapping: Mapping, kinds: dict[str, str]) -> list[str]:
    sources = (getattr(mapping, name) for name in CELLS[1:])
    return [_number_cell(source.column, kinds) if source and source.column else "NULL" for source in sources]


def _number_cell(column: str, kind: dict[str, str]) -> str:
    # A float column says NaN where the cell is empty.
    if kind[column] in FLOATS:
        return f"CASE WHEN isnan({_column(column)}) THEN NULL ELSE {cell_text(column)} END"
    return f"nullif({cell_text(column)}, '')"


def is_fraud(source: LabelSource | None) -> str:
    """SQL that says whether a row of `numbered` is fraud; NULL where nobody knows."""
    if source is None:
        return "NULL::BOOLEAN"
    cell = f"nullif({cell_text(source.column)}, '')"
    unknown = _is_one_of(cell, source.unknown)
    return f"CASE WHEN {cell} IS NULL OR {unknown} THEN NULL ELSE {_is_one_of(cell, source.fraud)} END"


def _is_one_of(cell: str, values: list[CellValue]) -> str:
    return " OR ".join(_equals(cell, value) for value in values) or "false"


def _equals(cell: str, value: CellValue) -> str:
    if isinstance(value, bool):
        return f"lower({cell}) = '{str(value).lower()}'"
    if isinstance(value, str):
        return f"{cell} = {literal(value)}"
    return f"coalesce(TRY_CAST({cell} AS DOUBLE) = {value!r}, false)"


def cell_text(column: str) -> str:
    """SQL of a cell of `numbered` as text."""
    return f"CAST({_column(column)} AS VARCHAR)"


def _column(column: str) -> str:
    return f"numbered.{quoted(column)}"
