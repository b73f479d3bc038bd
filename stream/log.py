"""The log: what every carrier of records promises, whichever server stands behind it.

A topic is a fixed number of partitions; a partition is an ordered, durable list of entries. Two implementations pass
one contract suite (`tests/contracts/test_log.py`): `RedisLog` on one machine and `KafkaLog` beyond.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable
from zlib import crc32

import msgspec

from stream.records import Record, encode


class LogUnavailable(ConnectionError):
    """The server behind the log did not answer. A retry can help."""


class LogFull(RuntimeError):
    """The outbox has reached its bound; nothing was written. A retry helps once the relay or worker catches up."""


class Partition(NamedTuple):
    """One partition of one topic."""

    topic: str
    number: int


class Entry(NamedTuple):
    """One record as the log holds it. Offsets grow within a partition; they need not be consecutive."""

    offset: int
    key: str
    value: bytes


class Message(NamedTuple):
    """What is to be appended: the topic, the key that chooses the partition, the record's bytes."""

    topic: str
    key: str
    value: bytes


def message_of(record: Record) -> Message:
    """A record on its way to its topic."""
    return Message(record.topic, record.key, encode(record))


def partition_of(key: str, partitions: int) -> int:
    """Which of a topic's partitions a key belongs to: the same for both logs and for every process."""
    return crc32(key.encode()) % partitions


Admit = Callable[[str, Entry], Entry]
"""What a topic's entry is to its readers: a log calls it with each entry that it gives out."""


def as_it_is(topic: str, entry: Entry) -> Entry:
    """Every entry as the log has it."""
    return entry


class Consumer(Protocol):
    """A member of a consumer group: reads the partitions that it currently holds, each in order.

    Delivery is at least once: after a crash, a lost lease or a rebalance, entries since the last commit come again,
    possibly to another member while this one still works on them. Whoever consumes must make a repeat a no-op.
    """

    def poll(self, limit: int, timeout_ms: int) -> dict[Partition, list[Entry]]:
        """Up to about `limit` new entries, at once if there are any, else after at most `timeout_ms`: maybe none.

        Also the heartbeat: call it at least every few seconds or lose the partitions.
        """

    def commit(self, next_offsets: Mapping[Partition, int]) -> None:
        """Record, durably, the offset after the last entry whose effects are complete; never past a lost lease."""

    def assignment(self) -> frozenset[Partition]:
        """The partitions that this member holds now; two members never hold one for longer than a lease."""

    def close(self) -> None:
        """Leave the group, so that others take over at once."""


class Log(Protocol):
    """Append records and read them back in order."""

    name: str
    """Which log this is, unique over servers (a Kafka cluster id): offsets mean nothing in another log."""

    def append(self, messages: Sequence[Message]) -> None:
        """Write all messages, in order for each partition, and return when they are durable (as configured).

        Raises `LogUnavailable` if it is not certain that all were written: append them again, repeats are harmless.
        Raises `LogFull` where the log has a bound and it is reached.
        """

    def partitions(self, topic: str) -> int:
        """How many partitions the topic has."""

    def read(self, partition: Partition, start: int, limit: int) -> list[Entry]:
        """Up to `limit` entries of one partition from offset `start` on (0: the oldest kept), without a group."""

    def end(self, partition: Partition) -> int:
        """The offset after the newest entry: `read(partition, end, 1)` is empty until something is appended."""

    def committed(self, group: str, partition: Partition) -> int:
        """Where the group goes on in this partition; 0 if it never committed."""

    def consumer(self, group: str, topics: Iterable[str]) -> Consumer:
        """Join a group over these topics. A new group starts at the oldest entry."""

    def close(self) -> None:
        """Release connections; entries already appended stay."""


@runtime_checkable
class Trimmed(Protocol):
    """A log that somebody has to trim: `RedisLog`."""

    def trim(self) -> int:
        """Delete old entries that every group has read; how many."""


def source_id(log_name: str, partition: Partition) -> int:
    """A 32-bit name for one partition of one log, small enough to stand in every state.

    >>> source_id("redis", Partition("transactions", 0)) == source_id("redis", Partition("transactions", 1))
    False
    """
    return crc32(msgspec.json.encode([log_name, partition.topic, partition.number]))


def lag(log: Log, group: str, topic: str) -> dict[Partition, bool]:
    """For each partition of the topic, whether the group still has entries to read."""
    every = (Partition(topic, number) for number in range(log.partitions(topic)))
    return {part: bool(log.read(part, log.committed(group, part), 1)) for part in every}
