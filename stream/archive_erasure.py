"""Take records out of the archive: the files that have them are written anew, all others stay as they are."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stream.archive import ARCHIVED, UNFINISHED, Archive, flush_directory
from stream.archive_file import READ_ROWS
from stream.compaction import remove_rubbish
from stream.mention import Mention

Doomed = Callable[[dict[str, Any]], bool]


def search_archive(archive: Archive, mention: Mention) -> dict[Path, int]:
    """How many records about the entity each file has. Notes their events; labels last, which those may name."""
    found: dict[Path, int] = {}
    # Decisions and payments before labels: a label may have the event's id alone.
    for topic in sorted(ARCHIVED, key=lambda topic: topic == "labels"):
        for file in archive.files(topic):
            with pq.ParquetFile(file.path) as table:
                rows = (batch.column(0).to_pylist() for batch in table.iter_batches(READ_ROWS, columns=["payload"]))
                count = sum(mention.find(topic, payload) for some in rows for payload in some)
            if count:
                found[file.path] = count
    return found


def erase_from_archive(archive: Archive, found: dict[Path, int], mention: Mention) -> int:
    """Write these files anew without the records; only for whoever has entered the archive.

    A file keeps its name, which says from where to where its partition is complete: a file may end up empty, and what
    was taken out does not come back from the log. A crash leaves each file as it was or as it shall be.
    """
    remove_rubbish(archive)
    count = 0
    for path in found:
        topic = path.parent.parent.name
        count += rewrite(path, lambda row, topic=topic: mention.find(topic, row["payload"]), ["payload"])  # type: ignore[misc]
    for folder in {path.parent for path in found}:
        flush_directory(folder)
    return count


def rewrite(path: Path, is_doomed: Doomed, columns: list[str]) -> int:
    """Write a Parquet file anew without some rows, chosen by these columns; how many went."""
    new = path.with_name(path.name + UNFINISHED)
    count = 0
    with pq.ParquetFile(path) as table, new.open("wb") as output:
        with pq.ParquetWriter(output, table.schema_arrow, compression="zstd") as writer:
            for batch in table.iter_batches(READ_ROWS * 4):
                keep = [not is_doomed(row) for row in batch.select(columns).to_pylist()]
                count += keep.count(False)
                writer.write_table(pa.Table.from_batches([batch.filter(pa.array(keep, pa.bool_()))]))
        output.flush()
        os.fsync(output.fileno())
    if count:
        new.replace(path)
    else:
        new.unlink()
    return count


def texts_of(path: Path) -> Iterator[str | bytes]:
    """Every text and every binary value of a Parquet file, also within lists, maps and structs."""
    with pq.ParquetFile(path) as table:
        for batch in table.iter_batches(READ_ROWS):
            for column in batch.columns:
                yield from _texts(column.to_pylist())


def _texts(value: Any) -> Iterator[str | bytes]:
    if isinstance(value, str | bytes):
        yield value
    elif isinstance(value, dict):
        yield from _texts(list(value.values()))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)
