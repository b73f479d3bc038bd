"""The archive as the stream it once was: all partitions of each log as one, in the order in which records arrived."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from datetime import date
from operator import itemgetter
from typing import Any, NamedTuple

from stream.archive import Archive, ArchiveFile, day_of, entries
from stream.archive_note import read_note
from stream.invalid_record import InvalidRecord
from stream.log import Entry, Partition
from stream.records import RECORD_TYPES, Label, decode, micros
from stream.redis_keys import SEQUENCE_LIMIT

REDIS_LOG = "redis"
"""The name of every log in Redis: its offsets are times of arrival, and those of two partitions compare."""
UNBOUNDED = 1 << 62
Order = tuple[int, bool, int, Partition]


class Arrival(NamedTuple):
    """One archived record, where the log had it, and when it took effect (microseconds since 1970)."""

    log: str
    partition: Partition
    entry: Entry
    record: Any
    at_us: int


def arrivals(
    archive: Archive, topics: Sequence[str], *, start: date | None = None, end: date | None = None
) -> Iterator[Arrival]:
    """The records of these topics as they came, duplicates and all; those that this version cannot read are left out.

    Of each partition they are a stretch without gaps: from the first archived record (of the days from `start` on) to
    the last one up to which the archive is complete, or the one before the first of the day `end`. What follows, a log
    that still has it goes on with. Logs come one after the other, the one with the oldest record first. Within a Redis
    log the order is that of arrival; of two partitions within one millisecond nobody knows it, and labels come last.
    In another log a partition's own order holds, and partitions are merged by the newest time that each has reached.
    """
    # The note before the files: what is archived meanwhile lies beyond it.
    complete = read_note(archive.directory)
    logs: dict[str, dict[Partition, list[ArchiveFile]]] = {}
    for (name, partition), files in archive.sources(topics).items():
        if own := [file for file in files if start is None or file.day >= start]:
            logs.setdefault(name, {})[partition] = own
    oldest = {name: min(file.day for files in own.values() for file in files) for name, own in logs.items()}
    for name in sorted(logs, key=lambda one: (oldest[one], one)):
        streams = [
            _stream(name, partition, files, complete.get((name, partition), UNBOUNDED), end)
            for partition, files in logs[name].items()
        ]
        for _, arrival in heapq.merge(*streams, key=itemgetter(0)):
            yield arrival


def _stream(
    name: str, partition: Partition, files: Sequence[ArchiveFile], last: int, end: date | None
) -> Iterator[tuple[Order, Arrival]]:
    """One partition's records, each with what orders it among the others of its log."""
    is_label = partition.topic == Label.topic
    reached_us = 0
    for entry in entries(files):
        if entry.offset > last:
            return
        try:
            record: Any = decode(entry.value, RECORD_TYPES[partition.topic])
        except InvalidRecord:
            continue
        if end is not None and day_of(record) >= end:
            return
        at_us = micros(record.labelled_at if isinstance(record, Label) else record.event_timestamp)
        reached_us = max(reached_us, at_us)
        ms, sequence = divmod(entry.offset, SEQUENCE_LIMIT) if name == REDIS_LOG else (reached_us, 0)
        yield (ms, is_label, sequence, partition), Arrival(name, partition, entry, record, at_us)
