"""What was recorded, in the order of the log: the archive and the log as one stream for each partition."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

import msgspec

from features.pipeline import GROUP
from stream.archive import Archive, ArchiveFile, entries
from stream.archiver import GROUP as ARCHIVER_GROUP
from stream.log import Entry, Log, Partition
from stream.records import micros

CHUNK = 500
UNBOUNDED = 1 << 62


class _Dated(msgspec.Struct):
    event_timestamp: datetime | None = None
    labelled_at: datetime | None = None


_dated = msgspec.json.Decoder(_Dated)


def committed_streams(
    log: Log, archive: Archive | None, topics: Sequence[str]
) -> dict[tuple[str, Partition], Iterator[Entry]]:
    """The records of each partition, by the name of its log: what the archive has, then what the log has.

    Of the log that goes on, up to where the workers have committed; of earlier logs, all that is archived.
    """
    # 1. How far the archiver has committed.  2. The list of files.  3. How far the workers have committed.
    # Were 2 before 1, records archived in between would be looked for in files that are not in the list. Were 3 before
    # 2, a file could have records that no worker has folded, and that are not seen waiting in the log.
    archived = {partition: log.committed(ARCHIVER_GROUP, partition) for partition in partitions_of(log, topics)}
    sources = {} if archive is None else archive.sources(topics)
    streams: dict[tuple[str, Partition], Iterator[Entry]] = {}
    for (name, partition), files in sources.items():
        if name != log.name:
            streams[name, partition] = entries(files)
    for partition in partitions_of(log, topics):
        committed = log.committed(GROUP, partition)
        waiting = log.read(partition, committed, 1)
        limit = waiting[0].offset if waiting else UNBOUNDED
        files = sources.get((log.name, partition), [])
        complete = archived[partition] if files else 0
        streams[log.name, partition] = _one_stream(log, partition, files, min(complete, limit), limit, committed)
    return streams


def _one_stream(
    log: Log, partition: Partition, files: Sequence[ArchiveFile], complete: int, limit: int, committed: int
) -> Iterator[Entry]:
    """The archive, and the log where it goes on: both until the commit, each offset once."""
    start = 0
    held = entries(files)
    pending = next(held, None)
    # Below `complete`, the archiver's commit, the archive has all that the log had; from there on either may have more.
    while pending is not None and pending.offset < complete:
        yield pending
        start = pending.offset + 1
        pending = next(held, None)
    start = max(start, complete)
    while start < committed:
        found = [entry for entry in log.read(partition, start, CHUNK) if entry.offset < committed]
        if not found:
            break
        for entry in found:
            while pending is not None and pending.offset < entry.offset:
                yield pending
                pending = next(held, None)
            if pending is not None and pending.offset == entry.offset:
                pending = next(held, None)
            yield entry
        start = found[-1].offset + 1
    while pending is not None and pending.offset < limit:
        yield pending
        pending = next(held, None)


def partitions_of(log: Log, topics: Sequence[str]) -> list[Partition]:
    """Every partition of these topics."""
    return [Partition(topic, number) for topic in topics for number in range(log.partitions(topic))]


def time_us(chunk: Sequence[Entry]) -> int:
    """When the first readable record of a chunk took effect; 0 where there is none."""
    for entry in chunk:
        try:
            dated = _dated.decode(entry.value)
            moment = dated.labelled_at or dated.event_timestamp
            if moment is not None:
                return micros(moment)
        except (msgspec.DecodeError, UnicodeDecodeError, TypeError):
            continue
    return 0
