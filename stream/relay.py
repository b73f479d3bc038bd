"""Carry the outbox on: from one log (Redis) to another (Kafka), losing nothing while the other is gone."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from contextlib import closing
from threading import Event
from typing import NamedTuple

from stream.log import Consumer, Log, LogFull, LogUnavailable, Message, Trimmed
from stream.patience import Patience

GROUP = "relay"
LINGER_S = 0.005
BATCH_LIMIT = 250
"""A crash repeats a batch; readers that remember the last 256 records of a key know each of its entries again."""

log = logging.getLogger(__name__)


class RelayCounts(NamedTuple):
    """What a relay did: entries appended to the sink, times either log failed, entries trimmed."""

    moved: int
    failures: int
    trimmed: int


def relay(
    source: Log,
    sink: Log,
    topics: Iterable[str],
    stop: Event,
    *,
    batch_limit: int = BATCH_LIMIT,
    poll_timeout_ms: int = 500,
    pause_limit_s: float = 5.0,
    trim_every_s: float = 60.0,
    linger_s: float = LINGER_S,
) -> RelayCounts:
    """Move entries of the topics from `source` to `sink` until `stop` is set; returns what it did.

    Several relays share the partitions. While either log fails it leaves the group, so that the batch in hand
    comes again, and tries anew after a pause that doubles up to `pause_limit_s`. An entry may arrive more than
    once, never not at all. Every `trim_every_s` it trims a source that needs it.
    """
    topics = tuple(topics)
    moved = failures = trimmed = 0
    patience = Patience(stop, log, "relay", pause_limit_s)
    trim_at = time.monotonic() + trim_every_s
    while not stop.is_set():
        try:
            with closing(source.consumer(GROUP, topics)) as consumer:
                while not stop.is_set():
                    count = relay_once(consumer, sink, batch_limit, poll_timeout_ms)
                    moved += count
                    if count:
                        patience.succeeded()
                        if count < batch_limit // 10:
                            stop.wait(linger_s)  # the next batch is larger, and there are fewer of them
                    if isinstance(source, Trimmed) and time.monotonic() >= trim_at:
                        trim_at = time.monotonic() + trim_every_s
                        trimmed += source.trim()
        except (LogUnavailable, LogFull) as error:
            failures += 1
            patience.wait(error)
    return RelayCounts(moved, failures, trimmed)


def relay_once(consumer: Consumer, sink: Log, batch_limit: int, poll_timeout_ms: int) -> int:
    """Move one batch; returns its size.

    1. See that the batch is still ours.  2. Append to the sink, durably.  3. Commit on the source.
    Were 3 before 2, a crash between the two would lose the batch; so it repeats it. Without 1, a relay that was stopped
    past its lease would append what its heir has appended long ago, further back than readers remember. If 1 or 2
    raises, nothing is committed: leave the group and join it again, or the next batch's commit would pass over this
    one.
    """
    batch = consumer.poll(batch_limit, poll_timeout_ms)
    if not batch:
        return 0
    messages = [Message(part.topic, entry.key, entry.value) for part in batch for entry in batch[part]]
    # 1. See that it is ours.
    lost = batch.keys() - consumer.assignment()
    if lost:
        raise LogUnavailable(f"{min(lost)} and {len(lost) - 1} others were held no longer when their batch was due")
    # 2. Append to the sink.
    sink.append(messages)
    # 3. Commit on the source.
    consumer.commit({part: entries[-1].offset + 1 for part, entries in batch.items()})
    return len(messages)
