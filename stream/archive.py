"""The cold store: records as Parquet files by day, each record once, for DuckDB and for replays beyond the log.

A file is `<topic>/date=<day>/<log>-<partition>-<first offset>-<last offset>.parquet`: it holds every record of that
day between these two offsets of one partition. Within a day, a partition therefore is complete up to the highest last
offset: that is all it takes to know which records of a batch that comes again are new. `stream.compaction` merges small
files later.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import typing
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple
from zlib import crc32

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from stream.archive_file import ArchiveFile, day_of_folder, entries, name_of_log, parse
from stream.archive_note import read_note, write_note
from stream.invalid_record import InvalidRecord
from stream.log import Entry, Partition
from stream.packed_vector import listed
from stream.records import (
    RECORD_TYPES,
    Action,
    Decision,
    Item,
    Label,
    Reading,
    Slate,
    Transaction,
    decode,
)

__all__ = ["ARCHIVED", "Archive", "ArchiveFile", "ArchiveInUse", "Written", "day_of", "entries", "schema_of"]

ARCHIVED = (
    *(Transaction.topic, Action.topic, Reading.topic),
    *(Label.topic, Decision.topic, Item.topic, Slate.topic),
)
UNFINISHED = ".new"
_SCALARS: dict[Any, Any] = {
    str: pa.string(),
    float: pa.float64(),
    int: pa.int64(),
    bool: pa.bool_(),
    datetime: pa.timestamp("us", tz="UTC"),
}


class ArchiveInUse(RuntimeError):
    """Another archiver works on the same directory: two would store records twice. Stop one of them."""


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
            self._lock = -1
            raise ArchiveInUse(f"another archiver writes to {self.directory}; stop it, or give another home") from None
        for path in self.directory.glob(f"*/date=*/*{UNFINISHED}"):
            path.unlink()
        for topic in ARCHIVED:
            for file in self.files(topic):
                self._complete_to(file.log, file.partition, file.day, file.last)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._lock >= 0:  # it may have been lent
            os.close(self._lock)
        self._lock = -1

    def write(self, log_name: str, batch: Mapping[Partition, Sequence[Entry]]) -> Written:
        """Store the records of a batch that are not stored yet, in this order.

        1. Write each file under an unfinished name, to the disk.  2. Rename each, and flush the directories.  3. Note
        how far each partition is complete now. A crash before 2 leaves no record; one within 2 leaves whole days of
        the batch, which the note does not count yet, and the same batch again adds the others. Whoever calls commits
        the log's offsets after this returns. Entries of a partition must come in order and without gaps from call to
        call, or from further back.
        """
        self._note({(log_name, part): polled[0].offset - 1 for part, polled in batch.items() if polled}, first=True)
        unfinished: list[tuple[Path, ArchiveFile]] = []
        stored = known = unreadable = 0
        # 1.
        for partition, polled in batch.items():
            days: dict[date, list[tuple[Entry, Any]]] = {}
            for entry in polled:
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
            flush_directory(folder)
        # 3.
        self._note({(log_name, part): polled[-1].offset for part, polled in batch.items() if polled})
        return Written(stored, known, unreadable, len(unfinished))

    def files(self, topic: str) -> list[ArchiveFile]:
        """The finished files of a topic at this moment, by day and name."""
        return [parse(path) for path in sorted((self.directory / topic).glob("date=*/*.parquet"))]

    def sources(self, topics: Sequence[str] = ARCHIVED) -> dict[tuple[str, Partition], list[ArchiveFile]]:
        """The files at this moment by the name of their log and their partition; give them to `entries`."""
        found: dict[tuple[str, Partition], list[ArchiveFile]] = {}
        names: dict[str, str] = {}
        for topic in topics:
            for file in self.files(topic):
                name = names.get(file.log) or name_of_log(file)
                if name is not None:
                    names[file.log] = name
                    found.setdefault((name, file.partition), []).append(file)
        return found

    def expire(self, before: date) -> int:
        """Delete every day before this one, of every topic; how many folders went."""
        gone = [folder for topic in ARCHIVED for folder in self._days(topic) if day_of_folder(folder) < before]
        for folder in gone:
            shutil.rmtree(folder)
        return len(gone)

    def newest_day(self) -> date | None:
        """The newest day of any topic; None while nothing is archived."""
        return max((day_of_folder(folder) for topic in ARCHIVED for folder in self._days(topic)), default=None)

    def _note(self, found: Mapping[tuple[str, Partition], int], *, first: bool = False) -> None:
        known = read_note(self.directory)
        # Before a partition's first flush, so that one which is torn is not taken for an archive without notes.
        fresh = {key: last for key, last in found.items() if (key not in known if first else known.get(key, -1) < last)}
        if fresh:
            write_note(self.directory, known | fresh)

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
    # As pyarrow wants it: a struct as a dict without its tag, a map as pairs, a packed vector as numbers.
    if isinstance(value, msgspec.Struct):
        return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return [(key, _plain(one)) for key, one in value.items()]
    if isinstance(value, bytes):
        return listed(value)
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


def flush_directory(folder: Path) -> None:
    """Put what was made, renamed or deleted in a folder on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _log_id(log_name: str) -> str:
    return f"{crc32(log_name.encode()):08x}"
