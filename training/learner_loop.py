"""The learner as a consumer of the log: polls decisions and labels until it is told to stop."""

from __future__ import annotations

import logging
import math
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from threading import Event
from typing import NamedTuple

from stream.connection import RedisError, RedisUnavailable
from stream.log import Consumer, Entry, Log, LogFull, LogUnavailable, Partition
from stream.records import Decision, Label
from training.intake import take_in
from training.learner import DelayedLearner
from training.learner_store import StateMoved
from training.publisher import Publisher

GROUP = "learner"
TOPICS = (Label.topic, Decision.topic)  # labels are read first, so that their decisions are in the log by then

_RETRYABLE = (LogUnavailable, LogFull, StateMoved, sqlite3.OperationalError)
_log = logging.getLogger(__name__)


class Cycle(NamedTuple):
    """What one poll came to."""

    entries: int
    learned: bool


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
    retry_s: float = 1.0,
) -> None:
    """Learn until `stop` is set; then leave the group within about one poll.

    `publish` is sent the weights after labels were learned, at most once in `publish_interval_s`; and the numbers after
    anything came, at most once in `report_interval_s` (they sort up to 100,000 scores of each member: 0.4 s).

    A log, a disk or a Redis that fails for a while is waited for, with everything unread as it was. Run one learner for
    one file; a second on the same file is noticed and both go on from what the file says.
    """
    weights = BoundedSending(lambda: publish.send_weights(learner.weights()), publish_interval_s)
    numbers = BoundedSending(lambda: publish.send_report(learner.report()), report_interval_s)
    while not stop.is_set():
        try:
            catch_up(learner, log, stop, poll_limit)
            with closing(log.consumer(GROUP, TOPICS)) as consumer:
                while not stop.is_set():
                    cycle = learn_once(learner, log, consumer, poll_limit, poll_timeout_ms)
                    weights.offer(cycle.learned)
                    numbers.offer(cycle.entries > 0)
        except _RETRYABLE as error:
            # A new consumer, since this one is past entries that were polled but not applied.
            _log.warning("the learner waits %g s and goes on from its file: %s", retry_s, error)
            stop.wait(retry_s)


def learn_once(learner: DelayedLearner, log: Log, consumer: Consumer, poll_limit: int, poll_timeout_ms: int) -> Cycle:
    """One poll and all that it causes, in this order: dead letters, one transaction, offsets."""
    polled = consumer.poll(poll_limit, poll_timeout_ms)
    if not polled:
        return Cycle(0, False)
    learned = _apply(learner, log, polled)
    # 3. Tell the log, last: entries that come again because this did not happen lie below the learner's own offsets.
    consumer.commit({part: learner.offset(log.name, part) for part in polled})
    return Cycle(sum(map(len, polled.values())), learned)


def catch_up(learner: DelayedLearner, log: Log, stop: Event, limit: int) -> None:
    """Read what the group has committed but the learner's file does not have (it was restored, moved or is new).

    Offsets beyond the end mean that the log was emptied: the learner goes on from its oldest entry.
    """
    goals: dict[Partition, int] = {}
    for topic in TOPICS:
        for partition in (Partition(topic, number) for number in range(log.partitions(topic))):
            goals[partition] = log.committed(GROUP, partition)
            if learner.offset(log.name, partition) > log.end(partition):
                learner.rewind(log.name, partition)
    while not stop.is_set():
        missed = {part: _missed(learner, log, part, goal, limit) for part, goal in goals.items()}
        missed = {part: entries for part, entries in missed.items() if entries}
        if not missed:
            return
        _apply(learner, log, missed)


def _missed(learner: DelayedLearner, log: Log, partition: Partition, goal: int, limit: int) -> list[Entry]:
    start = learner.offset(log.name, partition)
    return [entry for entry in log.read(partition, start, limit) if entry.offset < goal] if start < goal else []


def _apply(learner: DelayedLearner, log: Log, polled: dict[Partition, list[Entry]]) -> bool:
    intake = take_in(polled, lambda partition: learner.offset(log.name, partition))
    # 1. Dead letters: repeated, they are the same letters; reversed with 2, a crash between would lose them.
    if intake.refused:
        log.append(intake.refused)
    # 2. Everything else, one transaction.
    return learner.apply(intake, log.name)
