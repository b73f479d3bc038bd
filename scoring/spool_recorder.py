"""Records what waits in the spool, in a thread and over a connection of its own, with or without any traffic.

It also takes in the files that processes left which have ended: into its own spool where they fit, so that a retry
finds its answer again although Redis is still away; else straight into the ledger.
"""

from __future__ import annotations

import logging
import time
from itertools import islice

from features.feature_set import FeatureSet
from scoring.background import Background
from scoring.ledger import Ledger
from scoring.spool import SPOOL_BATCH, Spool, note_conflict
from scoring.spool_file import Orphan, orphans
from stream.connection import RedisError, RedisUnavailable
from stream.records import Decision, encode

INTERVAL_S = 0.25
ADOPT_EVERY_S = 1.0
SYNC_EVERY_S = 1.0
RECORD_TIMEOUT_MS = 500.0

_log = logging.getLogger(__name__)


class SpoolRecorder:
    """Empties one spool while the service runs. The ledger must be over a connection that nobody else uses.

    It works half of the time at most, so that requests get the other half.
    """

    def __init__(self, spool: Spool, ledger: Ledger, features: FeatureSet) -> None:
        self.spool = spool
        self._ledger = ledger
        self._features = features
        self._adopt_at_s = self._sync_at_s = 0.0
        self._background = Background("spool-recorder", self.refresh, INTERVAL_S, at_once=False)

    def start(self) -> None:
        """Take in what earlier processes left, then go on in the background."""
        self.spool.attended = True
        try:
            self._adopt(into_memory_only=True)
        except OSError as error:
            _log.error("the spool cannot be read: %s", error)
        self._background.start()

    def stop(self) -> None:
        """End the thread and close its connection; what still waits is the spool's again."""
        self._background.stop()
        self.spool.attended = False
        self._ledger.connection.close()

    def refresh(self) -> None:
        """One round: flush the file, take in files without an owner, record what waits as far as Redis takes it."""
        now_s = time.monotonic()
        try:
            if self.spool.file is not None and now_s >= self._sync_at_s:
                self._sync_at_s = now_s + SYNC_EVERY_S
                self.spool.file.sync()
            if now_s >= self._adopt_at_s:
                self._adopt_at_s = now_s + ADOPT_EVERY_S
                self._adopt()
            self._record_waiting()
        except Exception:  # whatever it is, the next round begins anew: this thread must outlive it
            _log.exception("the spool could not be recorded; trying again")

    def _record_waiting(self) -> None:
        started_s = time.monotonic()
        while self.spool.record(self._ledger, RECORD_TIMEOUT_MS):
            time.sleep(time.monotonic() - started_s)
            started_s = time.monotonic()

    def _adopt(self, into_memory_only: bool = False) -> None:
        file = self.spool.file
        if file is None:
            return
        for orphan in orphans(file.directory):
            try:
                done = self._take_over(orphan) or (not into_memory_only and self._record(orphan))
            except OSError as error:
                _log.error("the spool file %s cannot be read: %s", orphan.path, error)
                done = False
            if done:
                orphan.remove()
            else:
                orphan.close()

    def _take_over(self, orphan: Orphan) -> bool:
        """Into the own spool, memory and file. False where it does not fit."""
        room = self.spool.limit - len(self.spool.waiting)
        found = list(islice(orphan.decisions(), room + 1))
        if len(found) > room:
            return False
        kept = [self._keep(decision) for decision in found]
        if found:
            _log.warning("%d answers of a process that has ended wait to be recorded now: %s", len(found), orphan.path)
        return all(kept)

    def _record(self, orphan: Orphan) -> bool:
        """Into the ledger, a batch at a time. False where Redis does not take them now."""
        decisions = orphan.decisions()
        count = 0
        while batch := list(islice(decisions, SPOOL_BATCH)):
            started_s = time.monotonic()
            commands = [
                self._ledger.command(one.record, self._features.pending(one.record), encode(one)) for one in batch
            ]
            try:
                replies = self._ledger.connection.call(commands, RECORD_TIMEOUT_MS)
            except (RedisUnavailable, RedisError):
                return False
            if all(isinstance(reply, RedisError) for reply in replies):
                return False
            for decision, reply in zip(batch, replies, strict=True):
                note_conflict(decision, reply)
                # One that is refused alone must not hold up the others.
                if isinstance(reply, RedisError) and not self._keep(decision):
                    return False
            count += len(batch)
            time.sleep(time.monotonic() - started_s)
        _log.warning("%d answers of a process that has ended are recorded: %s", count, orphan.path)
        return True

    def _keep(self, decision: Decision) -> bool:
        if decision.event_id in self.spool.waiting:
            return True  # answered here too: one of the two counts, and this process says which to a retry
        return self.spool.keep(decision, self._features.pending(decision.record))
