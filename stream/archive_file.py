"""One finished file of the archive: its name, and how its entries are read.

A file is not changed, but for what is erased from it (`stream.archive_erasure`). It goes when its day expires, or when
`stream.compaction` has merged it with others: then a larger file has its entries, so whoever listed it before still
finds them.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from stream.log import Entry, Partition

READ_ROWS = 4096
_COLUMNS = ["offset", "key", "payload"]


class ArchiveFile(NamedTuple):
    """One finished file, as its path says."""

    path: Path
    day: date
    log: str
    partition: Partition
    first: int
    last: int


def entries(files: Sequence[ArchiveFile]) -> Iterator[Entry]:
    """The entries of one partition's files in the order of their offsets, each once.

    Days overlap where records came late: a file is opened only when the merge has reached its first offset.
    """
    waiting = sorted(files, key=lambda file: (file.first, file.path), reverse=True)
    opened: list[tuple[int, int, Entry, Iterator[Entry]]] = []
    newest = -1
    while waiting or opened:
        while waiting and (not opened or waiting[-1].first <= opened[0][0]):
            rows = _rows(waiting.pop())
            _push(opened, rows, len(waiting))
        if not opened:
            return  # The last files had nothing: all in them was erased, or they have expired.
        _, number, entry, rows = heapq.heappop(opened)
        if entry.offset > newest:
            newest = entry.offset
            yield entry
        _push(opened, rows, number)


def name_of_log(file: ArchiveFile) -> str | None:
    """The name of the log that the records come from; None where the file has expired, or all in it was erased."""
    try:
        with pq.ParquetFile(file.path) as table:
            first = next((batch for batch in table.iter_batches(1, columns=["log"]) if batch.num_rows), None)
            return None if first is None else str(first.column("log")[0].as_py())
    except FileNotFoundError:
        larger = _larger(file)
        return None if larger is None else name_of_log(larger)


def day_of_folder(folder: Path) -> date:
    """The day in the name of a folder, `date=2026-01-31`."""
    return date.fromisoformat(folder.name.removeprefix("date="))


def parse(path: Path) -> ArchiveFile:
    """What a path says of its file."""
    log, number, first, last = path.stem.split("-")
    partition = Partition(path.parent.parent.name, int(number))
    return ArchiveFile(path, day_of_folder(path.parent), log, partition, int(first), int(last))


def _rows(file: ArchiveFile) -> Iterator[Entry]:
    try:
        table = pq.ParquetFile(file.path)
    except FileNotFoundError:
        yield from _rows_merged(file)
        return
    # Once open, it is read to its end even if its name goes meanwhile.
    with table:
        for batch in table.iter_batches(READ_ROWS, columns=_COLUMNS):
            yield from _entries_of(batch)


def _rows_merged(file: ArchiveFile) -> Iterator[Entry]:
    larger = _larger(file)
    if larger is None:
        return  # It has expired: its day holds nothing any more.
    try:
        within = [("offset", ">=", file.first), ("offset", "<=", file.last)]
        found = pq.ParquetDataset(larger.path, filters=within).read(columns=_COLUMNS)
    except FileNotFoundError:
        yield from _rows_merged(file)
        return
    yield from _entries_of(found)


def _larger(file: ArchiveFile) -> ArchiveFile | None:
    """The file that has the entries of one which is gone."""
    for path in file.path.parent.glob(f"{file.log}-{file.partition.number}-*.parquet"):
        other = parse(path)
        if other.first <= file.first and file.last <= other.last:
            return other
    return None


def _entries_of(rows: Any) -> Iterator[Entry]:
    columns = [rows.column(name).to_pylist() for name in _COLUMNS]
    yield from map(Entry._make, zip(*columns, strict=True))


def _push(opened: list[tuple[int, int, Entry, Iterator[Entry]]], rows: Iterator[Entry], number: int) -> None:
    entry = next(rows, None)
    if entry is not None:
        heapq.heappush(opened, (entry.offset, number, entry, rows))
