"""The spool: answers that were given while Redis was away, until they are recorded.

They wait in memory and, where the process has a `SpoolFile`, on disk too, where they outlive it. Two threads use a
spool: the scorer's keeps what it could not record, the recorder's (`scoring/spool_recorder.py`) records it later.
Recording twice is recording once, so neither has to know what the other is about.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from itertools import islice
from threading import Lock
from typing import NamedTuple

from prometheus_client import Counter, Gauge

from features.feature_set import EntityRef
from scoring.ledger import Ledger, is_of
from scoring.spool_file import SpoolFile
from stream.connection import RedisError, RedisUnavailable
from stream.records import Decision, encode

SPOOL_LIMIT = 10_000
SPOOL_BATCH = 20
FEW = 100
REWRITE_LINES = 1000

WAITING = Gauge("headrace_spool_waiting", "Answers in memory that are not recorded yet.", multiprocess_mode="livesum")
LOST = Counter("headrace_spool_lost", "Answers that were given and can no longer be recorded.")
CONFLICTS = Counter("headrace_spool_conflicts", "Answers that another record under the same event id came before.")

_log = logging.getLogger(__name__)


class Waiting(NamedTuple):
    """An answer that is not recorded yet, and what its entities show of it once it is."""

    decision: Decision
    pending: Mapping[EntityRef, bytes]
    on_disk: bool


class Spool:
    """What waits to be recorded, oldest first; the newest `limit` in memory.

    Beyond that the oldest goes: on disk it still is, and the file is read again in the end; without a file it is lost,
    and counted. `attended` says that a recorder empties it, so that no request has to.
    """

    def __init__(self, file: SpoolFile | None = None, limit: int = SPOOL_LIMIT) -> None:
        self.file = file
        self.limit = limit
        self.attended = False
        self.waiting: dict[str, Waiting] = {}
        """By event id. Look into it freely; only the spool changes it."""
        self._only_on_disk = False
        self._lock = Lock()

    def keep(self, decision: Decision, pending: Mapping[EntityRef, bytes]) -> bool:
        """Keep an answer. False where it should have been on disk too and is not: it ends with this process."""
        with self._lock:
            on_disk = self.file is None or self.file.append(decision)
            while len(self.waiting) >= self.limit:
                if self.waiting.pop(next(iter(self.waiting))).on_disk:
                    self._only_on_disk = True
                else:
                    LOST.inc()
            self.waiting[decision.event_id] = Waiting(decision, pending, on_disk and self.file is not None)
            WAITING.set(len(self.waiting))
        return on_disk

    def drop(self, event_id: str) -> bool:
        """Forget an answer that is recorded, or that nobody heard. False where it does not wait."""
        if event_id not in self.waiting:
            return False
        with self._lock:
            found = self.waiting.pop(event_id, None) is not None
            self._settle()
        return found

    def record(self, ledger: Ledger, timeout_ms: float) -> int:
        """Record some of what waits; how many were recorded: with 0, Redis takes none now, or nothing waits.

        A commit that was late, not lost, is found and left as it is. One that Redis refuses goes to the end: it must
        not hold up the others.
        """
        with self._lock:
            batch = dict(islice(self.waiting.items(), SPOOL_BATCH))
        if not batch:
            return 0
        commands = [ledger.command(one.decision.record, one.pending, encode(one.decision)) for one in batch.values()]
        try:
            replies = ledger.connection.call(commands, timeout_ms)
        except (RedisUnavailable, RedisError):
            return 0
        recorded = 0
        with self._lock:
            for (event_id, one), reply in zip(batch.items(), replies, strict=True):
                if self.waiting.pop(event_id, None) is None:
                    continue  # a retry of it was quicker
                if isinstance(reply, RedisError):
                    self.waiting[event_id] = one
                else:
                    recorded += 1
                    note_conflict(one.decision, reply)
            self._settle()
        return recorded

    def close(self) -> None:
        """Let go of the file. Where something still waits, whoever looks next finds it there and records it."""
        with self._lock:
            if self.file is not None:
                self.file.close()

    def _settle(self) -> None:
        WAITING.set(len(self.waiting))
        if self.file is None:
            return
        if self.waiting:
            # A few that Redis refuses for ever must not keep all that was recorded.
            if (
                len(self.waiting) <= FEW
                and self.file.lines > len(self.waiting) + REWRITE_LINES
                and not self._only_on_disk
            ):
                self.file.rewrite([one.decision for one in self.waiting.values()])
            return
        if self._only_on_disk:
            # What went from memory is still there: as a file without an owner it is read from the beginning.
            self._only_on_disk = False
            self.file.close()
        else:
            self.file.remove()


def note_conflict(decision: Decision, reply: object) -> None:
    """Where another record came first under this event id, that one counts; say so, since somebody heard this one."""
    if isinstance(reply, bytes) and not is_of(decision.record, reply):
        CONFLICTS.inc()
        _log.warning(
            "event id %r was answered for two records; the first that was recorded counts, this answer is dropped",
            decision.event_id,
        )
