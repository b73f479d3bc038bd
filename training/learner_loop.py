"""The learner as a consumer of the log: polls decisions and labels until it is told to stop.

What it learns follows from the log alone, not from how it was polled: before labels are learned, every decision that
was in the log when they were read is in the learner's file.
"""

from __future__ import annotations

import logging
import math
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from threading import Event

from stream.connection import RedisError, RedisUnavailable
from stream.kept_reading import missed
from stream.log import Consumer, Entry, Log, LogFull, LogUnavailable, Partition
from stream.records import Decision, Label
from training.intake import take_in
from training.learner import DelayedLearner
from training.learner_store import StateMoved
from training.publisher import Publisher

GROUP = "learner"
TOPICS = (Label.topic, Decision.topic)
LINGER_S = 0.1

_RETRYABLE = (LogUnavailable, LogFull, StateMoved, sqlite3.OperationalError)
_log = logging.getLogger(__name__)


class BoundedSending:
    """Calls `send` when there is news, at most once in `interval_s`; Redis gone does not stop the learner.

    News that come in between go out when the interval is over, so call `offer` in every cycle.
    """

    def __init__(
        self, send: Callable[[], None], interval_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._send = send
        self._interval_s = interval_s
        self._clock = clock
        self._next_at = -math.inf
        self._has_news = True  # at the start Redis may know nothing

    def offer(self, has_news: bool) -> None:
        """Send if there is news, now or from before, and the interval is over."""
        self._has_news |= has_news
        if not self._has_news or self._clock() < self._next_at:
            return
        self._next_at = self._clock() + self._interval_s
        try:
            self._send()
            self._has_news = False
        except (RedisUnavailable, RedisError) as error:
            _log.warning("the learner could not publish, trying again in %g s: %s", self._interval_s, error)


def learn_forever(
    learner: DelayedLearner,
    log: Log,
    stop: Event,
    *,
    publish: Publisher,
    poll_limit: int = 1000,
    poll_timeout_ms: int = 500,
    publish_interval_s: float = 1.0,
    report_interval_s: float = 10.0,
    heartbeat_interval_s: float = 2.0,
    retry_s: float = 1.0,
    linger_s: float = LINGER_S,
) -> None:
    """Learn until `stop` is set; then leave the group within about one poll.

    `publish` is sent the weights when they are others than before (labels were learned, or a person restored a
    snapshot), at most once in `publish_interval_s`; and the numbers after anything came, at most once in
    `report_interval_s` (they sort up to 100,000 scores of each member: 0.4 s). A sign of life goes out every
    `heartbeat_interval_s`, news or not, while the log is read: a learner that hangs, waits for its disk or catches up
    with a long log sends none; one that is frozen does.

    A log, a disk or a Redis that fails for a while is waited for, with everything unread as it was. Run one learner for
    one file; a second on the same file is noticed and both go on from what the file says. After a small batch it waits
    `linger_s`: a transaction of its file costs the same for one record and for twenty.
    """
    weights = BoundedSending(lambda: publish.send_weights(learner.weights()), publish_interval_s)
    numbers = BoundedSending(lambda: publish.send_report(learner.report()), report_interval_s)
    alive = BoundedSending(publish.send_heartbeat, heartbeat_interval_s)
    version = learner.version
    while not stop.is_set():
        try:
            catch_up(learner, log, stop, poll_limit)
            with closing(log.consumer(GROUP, TOPICS)) as consumer:
                while not stop.is_set():
                    is_other = learner.look_again()
                    entries = learn_once(learner, log, consumer, poll_limit, poll_timeout_ms)
                    # By the version: also what a catching up or a person's command has changed.
                    weights.offer(learner.version != version)
                    version = learner.version
                    numbers.offer(entries > 0 or is_other)
                    alive.offer(True)  # after the weights: fresh weights are there when it says that they are
                    if 0 < entries < poll_limit // 10:
                        stop.wait(linger_s)
        except _RETRYABLE as error:
            # A new consumer, since this one is past entries that were polled but not applied.
            _log.warning("the learner waits %g s and goes on from its file: %s", retry_s, error)
            stop.wait(retry_s)


def learn_once(learner: DelayedLearner, log: Log, consumer: Consumer, poll_limit: int, poll_timeout_ms: int) -> int:
    """One poll and all that it causes, in this order: decisions, labels, offsets. How many entries came."""
    polled = consumer.poll(poll_limit, poll_timeout_ms)
    if not polled:
        return 0
    labels = {part: entries for part, entries in polled.items() if part.topic == Label.topic}
    decisions = {part: entries for part, entries in polled.items() if part.topic != Label.topic}
    # 1. Decisions.  2. Labels, with whatever decisions the log had before them: reversed, or with the polled ones only,
    # what the scaler has seen at a label, and whether the label is early, would hang on where a poll happened to end.
    if decisions:
        _apply(learner, log, decisions)
    if labels:
        _read_all(learner, log, _ends(log, Decision.topic), poll_limit)
        _apply(learner, log, labels)
    # 3. Tell the log, last: entries that come again because this did not happen lie below the learner's own offsets.
    consumer.commit({part: learner.offset(log.name, part) for part in polled})
    return sum(map(len, polled.values()))


def catch_up(learner: DelayedLearner, log: Log, stop: Event, limit: int) -> None:
    """Read what the group has committed but the learner's file does not have (it was restored, moved or is new).

    All decisions first, up to the end of the log; then labels. Offsets beyond the end mean that the log was emptied:
    the learner goes on from its oldest entry.
    """
    for topic in TOPICS:
        for partition, end in _ends(log, topic).items():
            if learner.offset(log.name, partition) > end:
                learner.rewind(log.name, partition)
    _read_all(learner, log, _ends(log, Decision.topic), limit, stop)
    committed = {part: log.committed(GROUP, part) for part in _ends(log, Label.topic)}
    _read_all(learner, log, committed, limit, stop)


def _ends(log: Log, topic: str) -> dict[Partition, int]:
    return {part: log.end(part) for part in (Partition(topic, number) for number in range(log.partitions(topic)))}


def _read_all(
    learner: DelayedLearner, log: Log, goals: Mapping[Partition, int], limit: int, stop: Event | None = None
) -> None:
    """Apply what lies between the learner's offsets and these, some entries of each partition at a time."""
    while (stop is None or not stop.is_set()) and (polled := missed(learner, log, goals, limit)):
        _apply(learner, log, polled)


def _apply(learner: DelayedLearner, log: Log, polled: Mapping[Partition, Sequence[Entry]]) -> None:
    intake = take_in(polled, lambda partition: learner.offset(log.name, partition))
    # 1. Dead letters: repeated, they are the same letters; reversed with 2, a crash between would lose them.
    if intake.refused:
        log.append(intake.refused)
    # 2. Everything else, one transaction.
    learner.apply(intake, log.name)
