"""The watcher as a consumer of the log: takes in decisions and labels, and looks, until it is told to stop."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from threading import Event

from scoring.watch_report import WatchReport
from stream.connection import RedisError, RedisUnavailable
from stream.kept_reading import catch_up, read_once
from stream.log import Log, LogUnavailable
from stream.records import Decision, Label
from training.watcher import Watcher

GROUP = "watcher"
TOPICS = (Decision.topic, Label.topic)
LINGER_S = 0.1
LOOK_SHARE = 0.05
"""Of one core, at most, for looking: it reads all that is kept."""

_RETRYABLE = (LogUnavailable, sqlite3.OperationalError, OSError)
_log = logging.getLogger(__name__)


def watch_forever(
    watcher: Watcher,
    log: Log,
    stop: Event,
    *,
    publish: Callable[[WatchReport], None],
    poll_limit: int = 1000,
    poll_timeout_ms: int = 500,
    look_interval_s: float = 5.0,
    retry_s: float = 1.0,
    linger_s: float = LINGER_S,
) -> None:
    """Watch until `stop` is set; then leave the group within about one poll.

    It looks every `look_interval_s`, or more seldom where a look takes long: news or not, since aliases move without
    any. A log, a disk or a Redis that fails for a while is waited for, with everything unread as it was.
    """
    look_at_s = time.monotonic()
    while not stop.is_set():
        try:
            catch_up(watcher, log, GROUP, TOPICS, stop, poll_limit, lambda polled: watcher.take_in(polled, log.name))
            with closing(log.consumer(GROUP, TOPICS)) as consumer:
                while not stop.is_set():
                    entries = read_once(watcher, log, consumer, poll_limit, poll_timeout_ms)
                    if time.monotonic() >= look_at_s:
                        began_s = time.monotonic()
                        _publish(publish, watcher.look(datetime.now(UTC)))
                        ended_s = time.monotonic()
                        look_at_s = ended_s + max(look_interval_s, (ended_s - began_s) / LOOK_SHARE)
                    if 0 < entries < poll_limit // 10:
                        stop.wait(linger_s)
        except _RETRYABLE as error:
            # A new consumer, since this one is past entries that were polled but not taken in.
            _log.warning("the watcher waits %g s and goes on from its file: %s", retry_s, error)
            stop.wait(retry_s)


def _publish(publish: Callable[[WatchReport], None], report: WatchReport) -> None:
    try:
        publish(report)
    except (RedisUnavailable, RedisError) as error:
        _log.warning("the watcher could not publish: %s", error)
