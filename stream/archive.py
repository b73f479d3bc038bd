"""The cold store: records as Parquet files by day, each record once, for DuckDB and for replays beyond the log.

A file is `<topic>/date=<day>/<log>-<partition>-<first offset>-<last offset>.parquet`: it holds every record of that
day between these two offsets of one partition. Within a day, a partition therefore is complete up to the highest last
offset: that is all it takes to know which records of a batch that comes again are new.
"""

from __future__ import annotations

import fcntl
import heapq
import os
import shutil
import typing
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple
from zlib import crc32

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from stream.log import Entry, Partition
from stream.records import RECORD_TYPES, Action, Decision, InvalidRecord, Label, Reading, Transaction, decode

ARCHIVED = (Transaction.topic, Action.topic, Reading.topic, Label.topic, Decision.topic)
UNFINISHED = ".new"
READ_ROWS = 4096
_SCALARS: dict[Any, Any] = {
    str: pa.string(),
    float: pa.float64(),
    int: pa.int64(),
    bool: pa.bool_(),
    datetime: pa.timestamp("us", tz="UTC"),
}


class ArchiveInUse(RuntimeError):
    """Another archiver works on the same directory: two would store records twice. Stop one of them."""


class ArchiveFile(NamedTuple):
    """One finished file, as its path says."""

    path: Path
    day: date
    log: str
    partition: Partition
    first: int
    last: int


class Written(NamedTuple):
    """What became of a batch: records stored, records known before, unreadable ones, and files."""

    stored: int = 0
    known: int = 0
    unreadable: int = 0
    files: int = 0


class Archive:
    """The Parquet files under one directory.

    Reading needs nothing. To write, enter it as a context manager: that takes the directory for this process alone and
    removes what a crash left unfinished; raises `ArchiveInUse` where another process writes.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock = -1
        self._complete: dict[tuple[str, Partition, date], int] = {}

    def __enter__(self) -> Archive:
        self.directory.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.directory / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise ArchiveInUse(f"another archiver writes to {self.directory}; stop it, or give another home") from None
        for path in self.directory.glob(f"*/date=*/*{UNFINISHED}"):
            path.unlink()
        for topic in ARCHIVED:
            for file in self.files(topic):
                self._complete_to(file.log, file.partition, file.day, file.last)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        os.close(self._lock)

    def write(self, log_name: str, batch: Mapping[Partition, Sequence[Entry]]) -> Written:
        """Store the records of a batch that are not stored yet, in this order.

        1. Write each file under an unfinished name, to the disk.  2. Rename each, and flush the directories.
        A crash before 2 leaves no record; one within 2 leaves whole days of the batch, and the same batch again adds
        the others. Whoever calls commits the log's offsets after this returns. Entries of a partition must come in
        order and without gaps from call to call, or from further back.
        """
        unfinished: list[tuple[Path, ArchiveFile]] = []
        stored = known = unreadable = 0
        # 1.
        for partition, entries in batch.items():
            days: dict[date, list[tuple[Entry, Any]]] = {}
            for entry in entries:
                try:
                    record: Any = decode(entry.value, RECORD_TYPES[partition.topic])
                    day = day_of(record)
                except (InvalidRecord, OverflowError):
                    unreadable += 1
                    continue
                if entry.offset <= self._complete.get((_log_id(log_name), partition, day), -1):
                    known += 1
                else:
                    days.setdefault(day, []).append((entry, record))
            for day, kept in days.items():
                file = self._file(log_name, partition, day, kept[0][0].offset, kept[-1][0].offset)
                unfinished.append((_write_unfinished(file, log_name, kept), file))
                stored += len(kept)
        # 2.
        for path, file in unfinished:
            path.replace(file.path)
            self._complete_to(file.log, file.partition, file.day, file.last)
        for folder in {file.path.parent for _, file in unfinished}:
            _flush_directory(folder)
        return Written(stored, known, unreadable, len(unfinished))

    def files(self, topic: str) -> list[ArchiveFile]:
        """The finished files of a topic at this moment, by day and name."""
        return [_parse(path) for path in sorted((self.directory / topic).glob("date=*/*.parquet"))]

    def sources(self, topics: Sequence[str] = ARCHIVED) -> dict[tuple[str, Partition], list[ArchiveFile]]:
        """The files at this moment by the name of their log and their partition; give them to `entries`."""
        found: dict[tuple[str, Partition], list[ArchiveFile]] = {}
        names: dict[str, str] = {}
        for topic in topics:
            for file in self.files(topic):
                if file.log not in names:
                    names[file.log] = _log_name(file)
                found.setdefault((names[file.log], file.partition), []).append(file)
        return found

    def expire(self, before: date) -> int:
        """Delete every day before this one, of every topic; how many folders went."""
        gone = [folder for topic in ARCHIVED for folder in self._days(topic) if _day(folder) < before]
        for folder in gone:
            shutil.rmtree(folder)
        return len(gone)

    def newest_day(self) -> date | None:
        """The newest day of any topic; None while nothing is archived."""
        return max((_day(folder) for topic in ARCHIVED for folder in self._days(topic)), default=None)

    def _days(self, topic: str) -> list[Path]:
        return sorted((self.directory / topic).glob("date=*"))

    def _complete_to(self, log: str, partition: Partition, day: date, last: int) -> None:
        key = (log, partition, day)
        self._complete[key] = max(last, self._complete.get(key, -1))

    def _file(self, log_name: str, partition: Partition, day: date, first: int, last: int) -> ArchiveFile:
        log = _log_id(log_name)
        folder = self.directory / partition.topic / f"date={day.isoformat()}"
        path = folder / f"{log}-{partition.number}-{first}-{last}.parquet"
        return ArchiveFile(path, day, log, partition, first, last)


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
        _, number, entry, rows = heapq.heappop(opened)
        if entry.offset > newest:
            newest = entry.offset
            yield entry
        _push(opened, rows, number)


def day_of(record: Any) -> date:
    """The day, UTC, under which a record is archived: when it happened; of a label, when it became known."""
    moment: datetime = record.labelled_at if isinstance(record, Label) else record.event_timestamp
    return moment.astimezone(UTC).date()


@lru_cache
def schema_of(topic: str) -> Any:
    """The columns of a topic's files: the record's fields, then where the log had it, its key and its bytes."""
    kind = RECORD_TYPES[topic]
    hints = typing.get_type_hints(kind)
    columns = [pa.field(name, _arrow(hints[name])) for name in kind.__struct_fields__]
    columns += [pa.field("log", pa.string()), pa.field("partition", pa.int32()), pa.field("offset", pa.int64())]
    columns += [pa.field("key", pa.string()), pa.field("payload", pa.binary())]
    return pa.schema(columns)


def _arrow(hint: Any) -> Any:
    options = [option for option in typing.get_args(hint) if option is not type(None)]
    origin = typing.get_origin(hint)
    if hint in _SCALARS:
        return _SCALARS[hint]
    if origin is typing.Literal:
        return pa.string()
    if origin is list:
        return pa.list_(_arrow(options[0]))
    if origin is dict:
        return pa.map_(_arrow(options[0]), _arrow(options[1]))
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        hints = typing.get_type_hints(hint)
        return pa.struct([pa.field(name, _arrow(hints[name])) for name in hint.__struct_fields__])
    return _arrow(options[0])


def _plain(value: Any) -> Any:
    # As pyarrow wants it: a struct as a dict without its tag, a map as pairs.
    if isinstance(value, msgspec.Struct):
        return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return [(key, _plain(one)) for key, one in value.items()]
    return [_plain(one) for one in value] if isinstance(value, list) else value


def _write_unfinished(file: ArchiveFile, log_name: str, kept: Sequence[tuple[Entry, Any]]) -> Path:
    schema = schema_of(file.partition.topic)
    rows = []
    for entry, record in kept:
        row: dict[str, Any] = _plain(record)
        row |= {"log": log_name, "partition": file.partition.number, "offset": entry.offset}
        rows.append(row | {"key": entry.key, "payload": entry.value})
    file.path.parent.mkdir(parents=True, exist_ok=True)
    path = file.path.with_name(file.path.name + UNFINISHED)
    with path.open("wb") as output:
        pq.write_table(pa.Table.from_pylist(rows, schema), output, compression="zstd")
        output.flush()
        os.fsync(output.fileno())
    return path


def _flush_directory(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _rows(file: ArchiveFile) -> Iterator[Entry]:
    # One that expired meanwhile holds nothing any more.
    with suppress(FileNotFoundError), pq.ParquetFile(file.path) as table:
        for batch in table.iter_batches(READ_ROWS, columns=["offset", "key", "payload"]):
            columns = [batch.column(name).to_pylist() for name in ("offset", "key", "payload")]
            yield from map(Entry._make, zip(*columns, strict=True))


def _push(opened: list[tuple[int, int, Entry, Iterator[Entry]]], rows: Iterator[Entry], number: int) -> None:
    entry = next(rows, None)
    if entry is not None:
        heapq.heappush(opened, (entry.offset, number, entry, rows))


def _log_id(log_name: str) -> str:
    return f"{crc32(log_name.encode()):08x}"


def _log_name(file: ArchiveFile) -> str:
    with pq.ParquetFile(file.path) as table:
        return str(next(table.iter_batches(1, columns=["log"])).column("log")[0].as_py())


def _day(folder: Path) -> date:
    return date.fromisoformat(folder.name.removeprefix("date="))


def _parse(path: Path) -> ArchiveFile:
    log, number, first, last = path.stem.split("-")
    partition = Partition(path.parent.parent.name, int(number))
    return ArchiveFile(path, _day(path.parent), log, partition, int(first), int(last))
