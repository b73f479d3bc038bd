"""The review room as a consumer of the log: decisions become cases and verdicts leave as labels until it is stopped."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from threading import Event
from typing import NamedTuple

from review.case_store import CaseStore, CasesUnavailable, Taken
from stream import kept_reading
from stream.dead_letter import dead_letter
from stream.invalid_record import InvalidRecord
from stream.log import Consumer, Entry, Log, LogFull, LogUnavailable, Message, Partition, message_of
from stream.patience import Patience
from stream.records import Decision, decode

GROUP = "review"
TOPIC = Decision.topic
FORWARD_LIMIT = 1000
LINGER_S = 0.1

_RETRYABLE = (LogUnavailable, LogFull, CasesUnavailable)
_log = logging.getLogger(__name__)


class Cycle(NamedTuple):
    """What one poll came to."""

    entries: int = 0
    taken: Taken = Taken()
    labels_sent: int = 0


def keep_forever(
    store: CaseStore,
    log: Log,
    stop: Event,
    *,
    poll_limit: int = 1000,
    poll_timeout_ms: int = 500,
    pause_limit_s: float = 5.0,
    linger_s: float = LINGER_S,
    on_cycle: Callable[[Cycle], None] = lambda cycle: None,
) -> None:
    """Keep the queue until `stop` is set; then leave the group within about one poll.

    A log or a disk that fails for a while is waited for, with everything unread as it was. A verdict leaves as labels
    within about `poll_timeout_ms`. Several keepers may share one file on one machine: they share the partitions.
    """
    patience = Patience(stop, _log, "review", pause_limit_s)
    while not stop.is_set():
        try:
            catch_up(store, log, stop, poll_limit)
            with closing(log.consumer(GROUP, [TOPIC])) as consumer:
                while not stop.is_set():
                    cycle = keep_once(store, log, consumer, poll_limit, poll_timeout_ms)
                    patience.succeeded()
                    if cycle.entries or cycle.labels_sent:
                        on_cycle(cycle)
                    if 0 < cycle.entries < poll_limit // 10:
                        stop.wait(linger_s)  # the next batch is larger, and there are fewer of them
        except _RETRYABLE as error:
            # A new consumer, since this one may be past entries that were polled but not taken in.
            patience.wait(error)


def keep_once(store: CaseStore, log: Log, consumer: Consumer, poll_limit: int, poll_timeout_ms: int) -> Cycle:
    """One poll and all that it causes, in this order.

    1. Dead letters.  2. Cases and offsets, one transaction.  3. Commit the offsets.  4. Forward labels.
    A crash after 1 repeats letters with the same ids; after 2, entries that lie below the store's own offsets. Were 3
    before 2, a crash between would lose the batch. 4 needs none of the others: it is tried whenever the log answers.
    Of many flags 1 and 2 come again and again, for some at a time: others have to write meanwhile.
    """
    polled = consumer.poll(poll_limit, poll_timeout_ms)
    taken = Taken()
    if polled:
        taken = _take_in(store, log, polled)
        # 3.
        consumer.commit({part: store.offset(log.name, part) for part in polled})
    # 4.
    return Cycle(sum(map(len, polled.values())), taken, forward_labels(store, log))


def forward_labels(
    store: CaseStore, log: Log, limit: int = FORWARD_LIMIT, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> int:
    """Move the labels that are due from the outbox to the log, in order; how many went. Any process may, at any time.

    1. Append.  2. Mark as sent.  Reversed, a crash between would lose them; as it is, a repeat is the same label.
    Raises what `Log.append` raises; what was not marked goes with a later call.
    """
    sent = 0
    while labels := store.unsent(limit, clock()):
        # 1.
        log.append([message_of(label) for label in labels])
        # 2.
        store.mark_sent(labels)
        sent += len(labels)
    return sent


def catch_up(store: CaseStore, log: Log, stop: Event, limit: int) -> None:
    """Read what the group has committed but the store does not have (it was restored, moved or is new)."""
    kept_reading.catch_up(store, log, GROUP, [TOPIC], stop, limit, lambda polled: _take_in(store, log, polled))


class _Part:
    """Some of what was polled, in order; what it causes is one transaction."""

    def __init__(self) -> None:
        self.decisions: list[Decision] = []
        self.refused: list[Message] = []
        self.offsets: dict[tuple[str, Partition], int] = {}
        self.flags = 0

    def add(self, log_name: str, partition: Partition, entry: Entry) -> None:
        try:
            self.decisions.append(decode(entry.value, Decision))
            self.flags += self.decisions[-1].outcome != "approve"
        except InvalidRecord as error:
            self.refused.append(message_of(dead_letter(partition, entry, str(error), by=GROUP)))
        self.offsets[log_name, partition] = entry.offset + 1


def _take_in(store: CaseStore, log: Log, polled: Mapping[Partition, Sequence[Entry]]) -> Taken:
    taken = Taken()
    for part in _parts(store, log.name, polled):
        # 1.
        if part.refused:
            log.append(part.refused)
        # 2.
        taken = taken.plus(store.take_in(part.decisions, part.offsets))
    return taken


def _parts(store: CaseStore, log_name: str, polled: Mapping[Partition, Sequence[Entry]]) -> Iterator[_Part]:
    """What the store does not have, in parts of so many flags that analysts need not wait long for one."""
    part = _Part()
    # Sorted, so that the same entries always come in the same order.
    for partition in sorted(polled):
        start = store.offset(log_name, partition)
        for entry in polled[partition]:
            if entry.offset >= start:
                part.add(log_name, partition, entry)
            if part.flags == store.flags_at_once:
                yield part
                part = _Part()
    if part.offsets:
        yield part
