"""Transactions read from a Parquet or CSV file, in time order."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import duckdb

from stream.card_guard import CardGuard
from stream.card_numbers import may_hold
from stream.invalid_record import InvalidRecord
from stream.mapped_rows import CELLS, FIELDS, FIRST_US, LAST_US, select_fields
from stream.mapping import Mapping
from stream.played import Played
from stream.records import Transaction, convert, from_micros
from stream.table import Table

BATCH_ROWS = 10_000
MEMORY_LIMIT = "1GB"


class InvalidRow(InvalidRecord):
    """A row of a file was refused; `row` counts from 1, in CSV from the line after the header.

    Where a CSV line does not even split into its cells, `row` is None and the message names the line.
    """

    def __init__(self, file_name: str, row: int | None, error: InvalidRecord) -> None:
        super().__init__(error.field, None, error.remedy)
        self.value = error.value
        self.row = row
        place = f"row {row:,} of {file_name}" if row is not None else file_name
        self.args = (f"{place}: field {self.field!r} has {self.value}: {self.remedy}",)


class PlayedRows(Iterator[Played]):
    """The rows of one file, once. `skipped` counts the invalid rows so far, `first_skipped` says what was wrong.

    The trap: CSV lines that do not split into their cells join the count only when the last row has been read.
    """

    def __init__(
        self,
        table: Table,
        mapping: Mapping,
        sql: str,
        limit: int | None,
        skip_invalid: bool,
        cards: CardGuard | None = None,
    ) -> None:
        self.skipped = 0
        self.first_skipped: InvalidRow | None = None
        self._table = table
        self._mapping = mapping
        self._cards = cards
        self._skip_invalid = skip_invalid
        self._left = limit
        self._rows = self._play(sql)

    def __next__(self) -> Played:
        if self._left is not None:
            if self._left <= 0:
                self._rows.close()
                raise StopIteration
            self._left -= 1
        return next(self._rows)

    def close(self) -> None:
        """Give back the memory and the temporary files of a file that is not read to its end."""
        self._rows.close()

    def _play(self, sql: str) -> Generator[Played]:
        # Closed by name: an error that is kept keeps its frames, and with them the temporary files.
        with closing(self._fetch(sql)) as fetched:
            yield from self._played(self._without_card_numbers(fetched))

    def _played(self, rows: Iterator[tuple[Any, ...]]) -> Iterator[Played]:
        delay = self._mapping.label_delay
        for row in rows:
            _, at_us, event_id, card, merchant, amount, currency, customer, device, lat, lon, fraud, checked, _ = row
            if checked:
                transaction = Transaction(
                    event_id=event_id,
                    event_timestamp=from_micros(at_us),
                    card_id=card,
                    merchant_id=merchant,
                    amount=amount,
                    currency=currency or "EUR",
                    customer_id=customer,
                    device_id=device,
                    latitude=lat,
                    longitude=lon,
                )
            else:
                try:
                    transaction = _judge(row, self._mapping)
                except InvalidRecord as error:
                    self._refuse(InvalidRow(self._table.path.name, row[0], error))
                    continue
            yield Played(transaction, fraud, delay)

    def _without_card_numbers(self, rows: Iterator[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
        for row in rows:
            if self._cards is None or not may_hold(_joined(row)):
                yield row
                continue
            try:
                yield _tokenised(row, self._cards)
            except InvalidRecord as error:
                self._refuse(InvalidRow(self._table.path.name, row[0], error))

    def _fetch(self, sql: str) -> Generator[tuple[Any, ...]]:
        with (
            TemporaryDirectory(prefix="headrace-") as spill,
            duckdb.connect(":memory:", config=_limits(spill)) as database,
        ):
            try:
                database.execute(f"SET TimeZone = '{self._mapping.event_timestamp.zone}'")
                rows = database.execute(sql)
                while batch := rows.fetchmany(BATCH_ROWS):
                    yield from batch
                if self._skip_invalid and self._table.is_text:
                    self._count_broken_lines(database)
            except duckdb.Error as error:
                raise _broken_line(self._table.path.name, str(error)) or error from None

    def _refuse(self, error: InvalidRow) -> None:
        if not self._skip_invalid:
            raise error
        self.skipped += 1
        self.first_skipped = self.first_skipped or error

    def _count_broken_lines(self, database: duckdb.DuckDBPyConnection) -> None:
        lines = database.execute("SELECT line, any_value(csv_line) FROM reject_errors GROUP BY line ORDER BY line")
        while found := lines.fetchone():
            error = InvalidRecord(f"(line {found[0]})", found[1], "does not split into the columns of the header")
            self._refuse(InvalidRow(self._table.path.name, None, error))


def read_transactions(
    path: Path | str,
    mapping: Mapping,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    limit: int | None = None,
    on_invalid: Literal["raise", "skip"] = "raise",
    cards: CardGuard | None = None,
) -> PlayedRows:
    """Play a Parquet or CSV file of transactions in time order; rows of one time keep the file's order.

    Parameters
    ----------
    path
        A `.parquet`, `.csv` or `.tsv` file (also `.csv.gz`); the first line of a CSV names the columns.
    mapping
        Which column is which field: `load_mapping(path)` or `guess_mapping(path)`.
    start, end
        Only events in `[start, end)`, both with a zone.
    limit
        At most so many transactions.
    on_invalid
        "raise" an `InvalidRow` (an `InvalidRecord`) that names the row of the file, or "skip" and count it.
    cards
        What is done about card numbers in the ids: the same as where the events are served, or histories differ.
        None looks for none.

    Raises `MappingError` at once where a mapped column is missing. The trap: the first row comes after the whole
    range has been sorted (about half a second for a million rows); memory stays bounded, what is larger is sorted
    in temporary files.
    """
    skip = on_invalid == "skip"
    table = Table(path)
    sql = select_fields(table, mapping, start=start, end=end, limit=limit, skip_invalid=skip)
    return PlayedRows(table, mapping, sql, limit, skip, cards)


def _joined(row: tuple[Any, ...]) -> bytes:
    return "\n".join([text for text in row if text.__class__ is str]).encode()


def _tokenised(row: tuple[Any, ...], cards: CardGuard) -> tuple[Any, ...]:
    return tuple(
        cards.text(value, name) if isinstance(value, str) else value for name, value in zip(FIELDS, row, strict=True)
    )


def _judge(row: tuple[Any, ...], mapping: Mapping) -> Transaction:
    """Hold a row that the SQL doubts to the rules of every record. Raises `InvalidRecord`."""
    fields = dict(zip(FIELDS, row, strict=True))
    cells = dict(zip(CELLS, fields.pop("cells"), strict=True))
    at_us = fields.pop("at_us")
    if at_us is None or not FIRST_US <= at_us <= LAST_US:
        raise InvalidRecord("event_timestamp", cells["event_timestamp"] or "(missing)", _time_remedy(mapping))
    # A number that could not be read goes as its text, so that the error shows what stands in the file.
    fields |= {name: cells[name] for name in CELLS[1:] if fields[name] is None}
    wanted = {name: fields[name] for name in Transaction.__struct_fields__ if fields.get(name) is not None}
    return convert({**wanted, "event_timestamp": from_micros(at_us)}, Transaction)


def _time_remedy(mapping: Mapping) -> str:
    source = mapping.event_timestamp
    if source.unit is not None:
        return f"expected a number of {source.unit} since {source.origin.isoformat()}"
    return "expected a date and time such as 2026-01-31 12:00:00; if the column holds numbers, map it with 'unit'"


def _broken_line(file_name: str, message: str) -> InvalidRow | None:
    """What DuckDB says of a CSV line that it could not split, or None where something else went wrong."""
    found = re.search(r"CSV Error on Line: (\d+)\s+(?:Original Line: (.*)\s+)?(.*)", message)
    if not found:
        return None
    line, text, reason = found.groups()
    return InvalidRow(file_name, None, InvalidRecord(f"(line {line})", text, f"cannot be split: {reason}"))


def _limits(spill_folder: str) -> dict[str, str | bool | int | float | list[str]]:
    return {"memory_limit": MEMORY_LIMIT, "threads": 2, "temp_directory": spill_folder}
