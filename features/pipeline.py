"""The worker's loop: poll the log, fold, report what was refused, commit."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import closing
from threading import Event

from features.collector import rare_collections
from features.worker import FoldCount, Folder, TooManyConflicts
from stream.connection import RedisError, RedisUnavailable
from stream.log import Consumer, Log, LogFull, LogUnavailable, Trimmed, message_of
from stream.patience import Patience

GROUP = "worker"
LINGER_S = 0.02
FULL_SHARE = 0.1
"""A batch of this share of the limit is large: one busy partition alone may fill no more."""

_RETRYABLE = (RedisUnavailable, RedisError, LogUnavailable, LogFull, TooManyConflicts)
_log = logging.getLogger(__name__)


@rare_collections()
def work_forever(
    folder: Folder,
    log: Log,
    stop: Event,
    *,
    batch_limit: int = 1000,
    poll_timeout_ms: int = 500,
    pause_limit_s: float = 1.0,
    trim_every_s: float = 60.0,
    linger_s: float = LINGER_S,
    on_batch: Callable[[FoldCount], None] = lambda count: None,
) -> None:
    """Fold what the log carries until `stop` is set; then leave the group within about one poll.

    A log or a store that fails for a while is waited for: the batch in hand comes again and its repeats are no-ops.
    Any number of workers may run; they share the partitions.

    After a small batch it waits `linger_s`, so that the next is larger: a batch costs its records and as much again,
    and scorers share Redis and the cores with it. They see what waits meanwhile as pending, so nothing is seen later.
    """
    patience = Patience(stop, _log, "worker", pause_limit_s)
    trim_at = time.monotonic() + trim_every_s
    while not stop.is_set():
        try:
            with closing(log.consumer(GROUP, folder.topics)) as consumer:
                while not stop.is_set():
                    count = work_once(folder, log, consumer, batch_limit, poll_timeout_ms)
                    if count.records:
                        patience.succeeded()
                        on_batch(count)
                        if count.records < batch_limit * FULL_SHARE:
                            stop.wait(linger_s)
                    if isinstance(log, Trimmed) and time.monotonic() >= trim_at:
                        trim_at = time.monotonic() + trim_every_s
                        log.trim()
        except _RETRYABLE as error:
            patience.wait(error)


def work_once(folder: Folder, log: Log, consumer: Consumer, batch_limit: int, poll_timeout_ms: int) -> FoldCount:
    """One poll and all that it causes, in this order.

    1. Fold in memory, and report what is refused.  2. Write the states.  3. Commit the offsets.
    Were 2 before 1, a crash in between would lose the report, since the states would say that the batch is done; were 3
    before 2, it would lose the batch. As it is, a repeat changes no state and reports again at worst: the id of a dead
    letter is its place in the log.
    """
    polled = consumer.poll(batch_limit, poll_timeout_ms)
    if not polled:
        return FoldCount()
    # 1. and 2.
    count = folder.fold(polled, lambda letters: log.append([message_of(letter) for letter in letters]))
    # 3.
    consumer.commit({partition: entries[-1].offset + 1 for partition, entries in polled.items() if entries})
    return count
