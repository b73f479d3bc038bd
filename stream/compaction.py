"""Make few large files of the many small ones of a closed day, at one instant for every reader.

For one day of one topic, in this order:

1. Build the day anew beside the topics: small files merged, large ones linked.
2. Exchange the two folders. That is one instruction of the kernel: whoever lists the day finds all of the old files or
   all of the new ones.
3. Leave the old folder beside the topics until the next round, for whoever is just listing it.

A crash before 2 leaves the day as it was, one after it as it shall be; what lies beside the topics is rubbish either
way. A file that was listed before 2 and is opened after it is gone: `stream.archive_file` then finds its entries in the
merged one; DuckDB says that there is no such file, and the same query again is right. DuckDB's own globs look at each
name once more after listing it and pass over those that have gone by then: give it the files, listed in one go.
"""

from __future__ import annotations

import ctypes
import logging
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from itertools import groupby
from pathlib import Path
from threading import Event
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stream.archive import ARCHIVED, Archive, flush_directory
from stream.archive_file import READ_ROWS, ArchiveFile

BESIDE = ".merging"
BYTES_LIMIT = 128 << 20
"""Files are merged up to about this size."""
ROUND_S = 60.0
SURPLUS = 8
"""A day is merged once that would spare this many files: records that come late do not rewrite it one by one."""
ROW_GROUP_ROWS = 65_536
ROW_GROUP_BYTES = 32 << 20
AT_FDCWD = -100
RENAME_EXCHANGE = 2

_log = logging.getLogger(__name__)


def compact(
    archive: Archive,
    today: date,
    stop: Event,
    *,
    bytes_limit: int = BYTES_LIMIT,
    surplus: int = SURPLUS,
    round_s: float = ROUND_S,
) -> int:
    """Merge the files of each closed day that has too many; how many files were spared.

    Only for whoever has entered the archive, and between its writes. Closed are the days before the newest archived one
    and before `today`; records may still come for them. Begins no other day after `round_s` seconds or once `stop` is
    set. Raises `OSError` where the disk is full or the file system cannot exchange folders (not Linux, some network
    ones): the small files stay then. A day with a file that cannot be read stays too, with a warning.
    """
    remove_rubbish(archive)
    newest = archive.newest_day()
    until = time.monotonic() + round_s
    spared = 0
    for topic in ARCHIVED:
        for day, files in groupby(archive.files(topic), key=lambda file: file.day):
            if newest is None or day >= min(newest, today) or stop.is_set() or time.monotonic() > until:
                break
            old = list(files)
            runs = list(_runs(old, bytes_limit))
            if len(old) - len(runs) >= surplus and _merge_day(archive, topic, runs, stop):
                spared += len(old) - len(runs)
    return spared


def remove_rubbish(archive: Archive) -> None:
    """Delete what an earlier round, or a crash, left beside the topics."""
    shutil.rmtree(archive.directory / BESIDE, ignore_errors=True)


def exchange(one: Path, other: Path) -> None:
    """Let two folders of one file system change places, in one instruction. Raises `OSError` where that cannot be."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        raise OSError(f"this system cannot exchange {one} and {other}")
    if rename(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(one), None, str(other))


def _runs(files: Iterable[ArchiveFile], bytes_limit: int) -> Iterator[list[ArchiveFile]]:
    """The files of a day by what becomes one file: neighbours in one partition, together within the limit."""
    run: list[ArchiveFile] = []
    size = 0
    for file in sorted(files, key=lambda file: (file.log, file.partition, file.first)):
        own = file.path.stat().st_size
        together = run and (run[-1].log, run[-1].partition) == (file.log, file.partition) and run[-1].last < file.first
        if run and not (together and size + own <= bytes_limit):
            yield run
            run, size = [], 0
        run.append(file)
        size += own
    if run:
        yield run


def _merge_day(archive: Archive, topic: str, runs: Sequence[list[ArchiveFile]], stop: Event) -> bool:
    day = runs[0][0].path.parent
    beside = archive.directory / BESIDE / topic / day.name
    beside.mkdir(parents=True)
    # 1.
    try:
        for run in runs:
            if stop.is_set():
                return False
            for schema, same in groupby(run, key=lambda file: pq.read_schema(file.path)):
                _write_merged(beside, list(same), schema)
    except ValueError as error:
        _log.warning("archive: the files of %s stay as they are: %s", day, error)
        return False
    flush_directory(beside)
    # 2.
    exchange(day, beside)
    flush_directory(day.parent)
    flush_directory(beside.parent)
    return True


def _write_merged(folder: Path, files: Sequence[ArchiveFile], schema: Any) -> None:
    first = files[0]
    path = folder / f"{first.log}-{first.partition.number}-{first.first}-{files[-1].last}.parquet"
    if len(files) == 1:
        path.hardlink_to(first.path)
        return
    with path.open("wb") as output:
        with pq.ParquetWriter(output, schema, compression="zstd") as writer:
            for table in _row_groups(files, schema):
                writer.write_table(table)
        output.flush()
        os.fsync(output.fileno())


def _row_groups(files: Sequence[ArchiveFile], schema: Any) -> Iterator[Any]:
    """The rows of the files, in order, in tables that are large enough to be read fast and small enough for memory."""
    held: list[Any] = []
    rows = size = 0
    for file in files:
        with pq.ParquetFile(file.path) as table:
            for batch in table.iter_batches(READ_ROWS):
                held.append(batch)
                rows += batch.num_rows
                size += batch.nbytes
                if rows >= ROW_GROUP_ROWS or size >= ROW_GROUP_BYTES:
                    yield pa.Table.from_batches(held, schema)
                    held, rows, size = [], 0, 0
    if held:
        yield pa.Table.from_batches(held, schema)
