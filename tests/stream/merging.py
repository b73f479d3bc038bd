"""An archive of many small files to merge, and the two ways to read it: what DuckDB finds, and what `entries` gives."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any

import duckdb

from stream.archive import Archive, entries
from stream.compaction import compact
from stream.log import Entry, Partition
from stream.records import Transaction, encode

LATER = date(2026, 6, 1)
DAYS, FLUSHES, EACH = 3, 5, 4
PARTITIONS = (Partition("transactions", 0), Partition("transactions", 1))
NEVER = Event()
Contents = dict[tuple[str, int], list[int]]


def entry(offset: int, day: int) -> Entry:
    at = datetime(2026, 1, 1 + day, 12, tzinfo=UTC) + timedelta(seconds=offset)
    record = Transaction(event_id=f"e{offset}", card_id="c", merchant_id="m", amount=float(offset), event_timestamp=at)
    return Entry(offset, "c", encode(record))


def fill(directory: Path, flushes: int = FLUSHES, days: int = DAYS, first: int = 0, log: str = "redis") -> None:
    """Each flush makes one small file in each partition of each day."""
    offset = first
    with Archive(directory) as archive:
        for _ in range(flushes):
            batch: dict[Partition, list[Entry]] = {part: [] for part in PARTITIONS}
            for part in PARTITIONS:
                for day in range(days):
                    batch[part] += [entry(offset + n, day) for n in range(EACH)]
                    offset += EACH
            archive.write(log, batch)


def merge(directory: Path, today: date = LATER, **options: Any) -> int:
    with Archive(directory) as archive:
        return compact(archive, today, NEVER, **{"surplus": 1} | options)


def by_duckdb(directory: Path, listed: list[Path] | None = None) -> Contents:
    files = [f"{directory}/transactions/**/*.parquet"] if listed is None else [str(path) for path in listed]
    source = f"read_parquet({files}, hive_partitioning=true)"
    found: Contents = {}
    with duckdb.connect() as connection:
        query = f'SELECT date, partition, "offset" FROM {source} ORDER BY ALL'
        for day, partition, offset in connection.execute(query).fetchall():
            found.setdefault((str(day), partition), []).append(offset)
    return found


def by_archive(directory: Path) -> dict[tuple[str, Partition], list[Entry]]:
    return {key: list(entries(files)) for key, files in Archive(directory).sources().items()}


def files_of(directory: Path) -> list[int]:
    """How many files each day has."""
    return [len(list(folder.iterdir())) for folder in sorted((directory / "transactions").iterdir())]
