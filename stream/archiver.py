"""The archiver's loop: what the log carries becomes Parquet files, each record once, until it is stopped."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from threading import Event

from stream.archive import ARCHIVED, Archive, Written
from stream.archive_pause import is_asked_for, lend
from stream.compaction import compact, remove_rubbish
from stream.log import Consumer, Entry, Log, LogUnavailable, Partition
from stream.patience import Patience

GROUP = "archiver"
LINGER_S = 0.25
FLUSH_RECORDS = 50_000
FLUSH_S = 300.0
TIDY_EVERY_S = 3600.0

_RETRYABLE = (LogUnavailable, OSError)
_log = logging.getLogger(__name__)


class Archiver:
    """Collects what it polls, and stores it when there is enough of it or it has waited long enough.

    `flush_records` also bounds its memory. One consumer, one archiver: after an error, begin anew with both.
    """

    def __init__(
        self,
        archive: Archive,
        log: Log,
        consumer: Consumer,
        flush_records: int = FLUSH_RECORDS,
        flush_s: float = FLUSH_S,
    ) -> None:
        self.archive = archive
        self.log = log
        self.consumer = consumer
        self.flush_records = flush_records
        self.flush_s = flush_s
        self._waiting: dict[Partition, list[Entry]] = {}
        self._count = 0
        self._since = time.monotonic()

    def step(self, poll_limit: int, poll_timeout_ms: int) -> Written:
        """One poll; then, if it is time, a flush."""
        polled = self.consumer.poll(poll_limit, poll_timeout_ms)
        if not self._count:
            self._since = time.monotonic()
        for partition, entries in polled.items():
            waiting = self._waiting.setdefault(partition, [])
            # A lease that was lost and won again brings entries again.
            newest = waiting[-1].offset if waiting else -1
            fresh = [entry for entry in entries if entry.offset > newest]
            waiting += fresh
            self._count += len(fresh)
        if self._count >= self.flush_records or (self._count and time.monotonic() - self._since >= self.flush_s):
            return self.flush()
        return Written()

    @property
    def waiting(self) -> int:
        """Records polled that are not stored yet."""
        return self._count

    def flush(self) -> Written:
        """Store all that waits, in this order.

        1. The files (`Archive.write`).  2. Commit the offsets to the log.
        Reversed, a crash between would lose the records; as it is, they come again and are found in the archive.
        """
        waiting = {partition: entries for partition, entries in self._waiting.items() if entries}
        if not waiting:
            return Written()
        # 1.
        written = self.archive.write(self.log.name, waiting)
        # 2.
        self.consumer.commit({partition: entries[-1].offset + 1 for partition, entries in waiting.items()})
        self._waiting.clear()
        self._count = 0
        return written


def archive_forever(
    archive: Archive,
    log: Log,
    stop: Event,
    *,
    retention: timedelta,
    flush_records: int = FLUSH_RECORDS,
    flush_s: float = FLUSH_S,
    tidy_every_s: float = TIDY_EVERY_S,
    poll_limit: int = 5000,
    poll_timeout_ms: int = 500,
    pause_limit_s: float = 5.0,
    linger_s: float = LINGER_S,
    on_flush: Callable[[Written], None] = lambda written: None,
) -> None:
    """Archive until `stop` is set; then store what waits and leave the group within about one poll.

    At the start and every `tidy_every_s` it deletes expired days and merges the small files of closed ones. A log or a
    disk that fails for a while is waited for. Whoever asks for the archive gets it for a while
    (`stream.archive_pause`). One archiver for one directory, or it raises `ArchiveInUse`.
    """
    patience = Patience(stop, _log, "archiver", pause_limit_s)
    tidy_at = time.monotonic()
    with archive:
        while not stop.is_set():
            if is_asked_for(archive):
                lend(archive, stop)
                continue
            if time.monotonic() >= tidy_at:
                # Without a consumer: merging may take longer than a member may be silent.
                tidy(archive, retention, datetime.now(UTC).date(), stop)
                tidy_at = time.monotonic() + tidy_every_s
            try:
                with closing(log.consumer(GROUP, ARCHIVED)) as consumer:
                    archiver = Archiver(archive, log, consumer, flush_records, flush_s)
                    while not stop.is_set() and time.monotonic() < tidy_at and not is_asked_for(archive):
                        before = archiver.waiting
                        written = archiver.step(poll_limit, poll_timeout_ms)
                        if written.files:
                            on_flush(written)
                        patience.succeeded()
                        if archiver.waiting - before < poll_limit // 10:
                            stop.wait(linger_s)  # the next poll brings more, and there are fewer of them
                    on_flush(archiver.flush())
            except _RETRYABLE as error:
                # A new consumer, since this one is past entries that were polled but not stored.
                patience.wait(error)


def tidy(archive: Archive, retention: timedelta, today: date, stop: Event) -> None:
    """Delete expired days, then merge small files; where the disk refuses, say so and leave the rest as it is."""
    try:
        expire(archive, retention, today)
        compact(archive, today, stop)
    except OSError as error:
        # What is half built would fill the disk further.
        remove_rubbish(archive)
        _log.warning("archiver: some days were not deleted or merged: %s", error)


def expire(archive: Archive, retention: timedelta, today: date) -> int:
    """Delete the days that lie further back than the retention; how many folders went.

    Counted from the newest archived day, or from today if that is earlier: a data set of an earlier year that is played
    keeps its days, and one record from the future deletes nothing.
    """
    newest = archive.newest_day()
    return 0 if newest is None else archive.expire(min(newest, today) - retention)
