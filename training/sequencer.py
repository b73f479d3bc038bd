"""The sequencer: from the log's partitions to the one sequence that all states of recommending follow.

What is in the sequence is said by its marks, not by what was committed to the log: a crash, a lease that was lost or a
second sequencer repeats entries, and the marks leave the repeats out. So commits only save reading.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from collections.abc import Sequence as Listed
from contextlib import closing
from datetime import UTC, datetime, timedelta
from threading import Event

from scoring.sequenced import TOPICS, payload_of
from stream.connection import RedisError, RedisUnavailable
from stream.dead_letter import dead_letter
from stream.invalid_record import InvalidRecord
from stream.kept_reading import missed
from stream.log import Consumer, Entry, Log, LogFull, LogUnavailable, Message, Partition, message_of
from stream.patience import Patience
from stream.sequence import APPEND_LIMIT, NO_MARK, Sequence, source_of

GROUP = "sequencer"
LINGER_S = 0.005
APPEND_TRIES = 20
CLOCK_SKEW = timedelta(days=1)
"""How far in the future a record's time may lie. The HTTP doors are stricter; this is for who writes to topics."""

_RETRYABLE = (LogUnavailable, LogFull, RedisUnavailable, RedisError)
_log = logging.getLogger(__name__)


class Outrun(LogUnavailable):
    """Another sequencer moved the same partition's mark each time that we tried. Join the group again."""


class Sequencer:
    """Appends what partitions hold to a sequence, each record once. One thread; begin anew with it after an error."""

    def __init__(self, log: Log, sequence: Sequence) -> None:
        self.log = log
        self.sequence = sequence
        self._marks = sequence.marks()
        self._emptied: set[str] = set()
        self.appended = 0
        self.refused = 0

    def catch_up(self, stop: Event, limit: int = 1000) -> None:
        """Append what the group has committed though the sequence does not have it: Redis may have lost a second.

        A mark beyond the end of its partition means that the log was emptied: it goes on from its oldest entry.
        """
        every = [Partition(topic, number) for topic in TOPICS for number in range(self.log.partitions(topic))]
        goals = {part: self.log.committed(GROUP, part) for part in every}
        for part in every:
            if self.offset(self.log.name, part) > self.log.end(part):
                self._emptied.add(source_of(self.log.name, part))
        while not stop.is_set() and (polled := missed(self, self.log, goals, limit)):
            self.take_in(polled)

    def step(self, consumer: Consumer, poll_limit: int, poll_timeout_ms: int) -> int:
        """One poll and all that it causes, in this order; how many entries came.

        1. Dead letters for what cannot be used.  2. Append to the sequence, which moves the marks.  3. Commit.
        Were 2 before 1, a crash between would lose the letters, since the marks say that their entries are done;
        repeated, a letter has the same id. Were 3 before 2, it would lose the records.
        """
        polled = consumer.poll(poll_limit, poll_timeout_ms)
        if not polled:
            return 0
        # 1. and 2.
        self.take_in(polled)
        # 3.
        consumer.commit({part: entries[-1].offset + 1 for part, entries in polled.items()})
        return sum(map(len, polled.values()))

    def take_in(self, polled: Mapping[Partition, Listed[Entry]]) -> None:
        """Append what lies past the marks, items first, then slates, then what was done with them."""
        for partition in sorted(polled, key=lambda one: (TOPICS.index(one.topic), one.number)):
            fresh = self._fresh(partition, polled[partition])
            usable, letters = self._sorted(partition, fresh)
            # 1.
            if letters:
                self.log.append(letters)
                self.refused += len(letters)
            # 2.
            for start in range(0, len(usable), APPEND_LIMIT):
                self._append(partition, usable[start : start + APPEND_LIMIT])

    def offset(self, log_name: str, partition: Partition) -> int:
        """Where to go on in a partition, by its mark."""
        source = source_of(log_name, partition)
        return 0 if source in self._emptied else self._marks.get(source, NO_MARK) + 1

    def _append(self, partition: Partition, entries: list[tuple[int, bytes]]) -> None:
        source = source_of(self.log.name, partition)
        for _ in range(APPEND_TRIES):
            if not entries:
                return
            if self.sequence.append(source, self._marks.get(source, NO_MARK), entries):
                self._marks[source] = entries[-1][0]
                self._emptied.discard(source)
                self.appended += len(entries)
                return
            # Somebody else has appended: what lies past the new mark is still to be done.
            self._marks = self.sequence.marks()
            self._emptied.discard(source)
            entries = [entry for entry in entries if entry[0] > self._marks.get(source, NO_MARK)]
        raise Outrun(f"another sequencer appends {source} too; give up its partitions")

    def _fresh(self, partition: Partition, entries: Listed[Entry]) -> list[Entry]:
        start = self.offset(self.log.name, partition)
        return [entry for entry in entries if entry.offset >= start]

    def _sorted(self, partition: Partition, entries: Listed[Entry]) -> tuple[list[tuple[int, bytes]], list[Message]]:
        usable: list[tuple[int, bytes]] = []
        letters: list[Message] = []
        latest = datetime.now(UTC) + CLOCK_SKEW
        for entry in entries:
            try:
                payload = payload_of(partition.topic, entry.value, latest)
            except InvalidRecord as error:
                letters.append(message_of(dead_letter(partition, entry, str(error), by=GROUP)))
                continue
            if payload is not None:
                usable.append((entry.offset, payload))
        return usable, letters


def sequence_forever(
    log: Log,
    sequence: Sequence,
    stop: Event,
    *,
    poll_limit: int = 1000,
    poll_timeout_ms: int = 250,
    pause_limit_s: float = 5.0,
    linger_s: float = LINGER_S,
) -> None:
    """Sequence until `stop` is set; then leave the group within about one poll.

    A log or a Redis that fails for a while is waited for. After each failure it begins with the marks: a batch that was
    polled and not appended must not be passed over by the next one's commit.
    """
    patience = Patience(stop, _log, "sequencer", pause_limit_s)
    while not stop.is_set():
        try:
            sequencer = Sequencer(log, sequence)
            sequencer.catch_up(stop)
            with closing(log.consumer(GROUP, TOPICS)) as consumer:
                while not stop.is_set():
                    count = sequencer.step(consumer, poll_limit, poll_timeout_ms)
                    if count:
                        patience.succeeded()
                        if count < poll_limit // 10:
                            stop.wait(linger_s)  # the next batch is larger, and there are fewer of them
        except _RETRYABLE as error:
            patience.wait(error)
