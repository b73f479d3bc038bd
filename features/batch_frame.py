"""Relations for the batch executor from a Parquet or CSV file of transactions, without a row in Python."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import duckdb

from stream.mapped_rows import select_fields
from stream.mapping import Mapping
from stream.records import MICROSECOND, Label, Transaction
from stream.table import Table

SOURCES = {Transaction.topic: Transaction.topic, Label.topic: Label.topic}


class UncheckedRows(ValueError):
    """Rows that are not known to be valid transactions. Play the file with `read_transactions`: it names the fault."""


def create_relations(
    connection: duckdb.DuckDBPyConnection,
    path: Path | str,
    mapping: Mapping,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
) -> dict[str, str]:
    """Create the tables `transactions` and `labels` of a mapped file, in its order of time: the `sources` of a batch.

    A label becomes known the mapping's delay after its event; a transaction whose truth nobody will know has none.
    Sets the connection's TimeZone to the mapping's. Raises `MappingError`, and `UncheckedRows` for rows that are not
    known to be valid.
    """
    sql = select_fields(Table(path), mapping, start=start, end=end)
    connection.execute(f"SET TimeZone = '{mapping.event_timestamp.zone}'")
    connection.execute(
        "CREATE OR REPLACE TABLE transactions AS SELECT event_id, at_us AS event_timestamp, card_id, merchant_id,"
        " amount, coalesce(currency, 'EUR') AS currency, customer_id, device_id, latitude, longitude,"
        " row_number() OVER (ORDER BY at_us NULLS FIRST, file_row) AS sequence, fraud, checked, file_row"
        f" FROM ({sql})"
    )
    unchecked = connection.execute(
        "SELECT count(*), min(file_row) FROM transactions WHERE NOT checked HAVING count(*) > 0"
    ).fetchone()
    if unchecked is not None:
        count, row = unchecked
        name = Path(path).name
        raise UncheckedRows(f"{name}: {count:,} rows may be invalid, the first is row {row:,}; mend the file")
    delay_us = mapping.label_delay // MICROSECOND
    connection.execute(
        "CREATE OR REPLACE TABLE labels AS SELECT event_id, CASE WHEN fraud THEN 'fraud' ELSE 'legit' END AS label,"
        f" event_timestamp + {delay_us} AS labelled_at, 'feed' AS source, event_timestamp, card_id, merchant_id,"
        " device_id, amount, sequence FROM transactions WHERE fraud IS NOT NULL"
    )
    connection.execute("ALTER TABLE transactions DROP COLUMN checked")
    connection.execute("ALTER TABLE transactions DROP COLUMN file_row")
    return dict(SOURCES)
