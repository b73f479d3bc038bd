"""The learner of recommending: follows the sequence, writes snapshots of the state, and trims what nobody needs.

It holds nothing of its own: kill it at any point, start two of it, and the state is what the sequence says.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Event
from typing import NamedTuple

from scoring.recommender_report import RecommenderReport
from scoring.recommender_snapshot import SnapshotStore
from scoring.sequenced import ContentMissing, RecommenderState
from stream.connection import RedisError, RedisUnavailable
from stream.sequence import Sequence, Sequenced, SequenceGap
from training.recommender_quality import RecommenderQuality, report_of

READ_LIMIT = 500
SNAPSHOT_EVERY_S = 60.0
SNAPSHOT_ENTRIES = 50_000
SNAPSHOT_BYTES_A_S = 512 * 1024
"""What snapshots may add to Redis's append-only file on average: large ones are written less often."""
REPORT_EVERY_S = 5.0
PAUSE_S = 1.0
SEQUENCE_LIMIT = 200_000

_RETRYABLE = (RedisUnavailable, RedisError, ContentMissing)
_log = logging.getLogger(__name__)


class Pace(NamedTuple):
    """When a snapshot is due, and how many entries the sequence keeps.

    A snapshot is written once `every_s` is over or `entries` came, if anything came. The sequence keeps about `limit`
    entries, and always all that the newest snapshot does not have.
    """

    every_s: float = SNAPSHOT_EVERY_S
    entries: int = SNAPSHOT_ENTRIES
    limit: int = SEQUENCE_LIMIT


class RecommenderLearner:
    """Takes a state along the sequence. One thread; after an error call `begin` again."""

    def __init__(
        self,
        sequence: Sequence,
        snapshots: SnapshotStore,
        pace: Pace | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.sequence = sequence
        self.snapshots = snapshots
        self.pace = pace or Pace()
        self.quality = RecommenderQuality()
        self.state = RecommenderState()
        self.problem = ""
        self._clock = clock
        self._saved_number = 0
        self._saved_bytes = 0
        self._saved_at = -float("inf")
        self._released = ""

    def begin(self) -> None:
        """Go on from the newest snapshot; where it is none to go on from, others shall begin as this one does."""
        self.state, self.problem = self.snapshots.begin(self.sequence)
        if self.problem:
            self.snapshots.replace(self.state)
        self._saved_number = self.state.number
        self._saved_at = self._clock()

    def follow(self, block_ms: int = 0) -> int:
        """Take in what the sequence has next, up to `READ_LIMIT` entries; how many.

        Raises `SequenceGap` and `ContentMissing`.
        """
        entries = self.sequence.read(self.state.position, READ_LIMIT, block_ms)
        for entry in entries:
            self._take_in(entry)
        return len(entries)

    def keep(self, now: bool = False) -> bool:
        """Write a snapshot if one is due (or `now`, if anything came), then trim; whether one was written.

        1. The snapshot.  2. Trim, up to it and no further. Reversed, a crash between would lose entries.
        """
        fresh = self.state.number - self._saved_number
        waited_s = self._clock() - self._saved_at
        due = fresh >= self.pace.entries or waited_s >= self.pace.every_s or self.state.adopted != self._released
        if not fresh or not (now or (due and waited_s >= self._saved_bytes / SNAPSHOT_BYTES_A_S)):
            return False
        # 1.
        self._saved_bytes = self.snapshots.save(self.state)
        self._saved_number, self._saved_at = self.state.number, self._clock()
        if self.state.adopted != self._released:
            self._released = self.state.adopted
            self.snapshots.release_batch(self.state.adopted)
        # 2.
        self.trim()
        return True

    def trim(self) -> int:
        """Delete the oldest entries beyond the limit, of those that the newest snapshot has; how many."""
        return self.sequence.trim(self.pace.limit, self.snapshots.number())

    def report(self) -> RecommenderReport:
        """What is known of the state, and how good what it proposes is."""
        behind = max(0, self.sequence.count - self.state.number)
        return report_of(self.state, self.quality, behind, self._saved_number, self._saved_bytes, self.problem)

    def _take_in(self, entry: Sequenced) -> None:
        self.quality.before(self.state, entry)
        applied = self.state.apply(entry, self.snapshots.fetch_batch)
        self.quality.after(entry, applied)


def follow_forever(
    learner: RecommenderLearner,
    stop: Event,
    *,
    publish: Callable[[RecommenderReport], None],
    block_ms: int = 250,
    report_every_s: float = REPORT_EVERY_S,
    pause_s: float = PAUSE_S,
) -> None:
    """Follow until `stop` is set, then write a last snapshot.

    A Redis that is gone is waited for. A gap, and content that is missing, mean to begin again from the newest
    snapshot, which somebody else may have written.
    """
    report_at = 0.0
    begun = False
    while not stop.is_set():
        try:
            if not begun:
                learner.begin()
                begun = True
            came = learner.follow(block_ms)
            learner.keep()
            if time.monotonic() >= report_at and (came < READ_LIMIT or not report_at):
                report_at = time.monotonic() + report_every_s
                publish(learner.report())
        except SequenceGap as error:
            _log.warning("the learner of recommending begins again: %s", error)
            begun = False
            stop.wait(pause_s)
        except _RETRYABLE as error:
            _log.warning("the learner of recommending waits %g s: %s", pause_s, error)
            begun = begun and not isinstance(error, ContentMissing)
            stop.wait(pause_s)
    if begun:
        try:
            learner.keep(now=True)
            publish(learner.report())
        except _RETRYABLE as error:
            _log.warning("the learner of recommending ends without a snapshot: %s", error)
