"""Reading a log into something that keeps its own offsets: nothing is missed, and nothing counts twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from threading import Event
from typing import Protocol

from stream.log import Consumer, Entry, Log, Partition


class Offsets(Protocol):
    """Knows how far of each partition it has taken in."""

    def offset(self, log_name: str, partition: Partition) -> int:
        """Where to go on in this partition; 0 if nothing of it was taken in."""


class Rewindable(Offsets, Protocol):
    """May begin again: what comes twice changes nothing."""

    def rewind(self, log_name: str, partition: Partition) -> None:
        """Go on from the oldest entry of a partition."""


class Keeper(Rewindable, Protocol):
    """Keeps what entries cause and the offsets after them in one place, in one transaction."""

    def take_in(self, polled: Mapping[Partition, Sequence[Entry]], log_name: str) -> None:
        """Take in what lies at or after each partition's own offset; what comes again changes nothing."""


def read_once(keeper: Keeper, log: Log, consumer: Consumer, poll_limit: int, poll_timeout_ms: int) -> int:
    """One poll and all that it causes, in this order; how many entries.

    1. Take in, with the offsets.  2. Commit the offsets. A crash between has the same entries come again, below the
    keeper's own offsets; reversed, it would lose them.
    """
    polled = consumer.poll(poll_limit, poll_timeout_ms)
    if not polled:
        return 0
    # 1.
    keeper.take_in(polled, log.name)
    # 2.
    consumer.commit({part: keeper.offset(log.name, part) for part in polled})
    return sum(map(len, polled.values()))


def catch_up(
    keeper: Rewindable,
    log: Log,
    group: str,
    topics: Sequence[str],
    stop: Event,
    limit: int,
    take_in: Callable[[dict[Partition, list[Entry]]], object],
) -> None:
    """Read what the group has committed but the keeper does not have (its file was restored, moved or is new).

    Offsets beyond the end mean that the log was emptied: the keeper goes on from its oldest entry. `take_in` must move
    the keeper's offsets past what it is given.
    """
    every = [Partition(topic, number) for topic in topics for number in range(log.partitions(topic))]
    goals = {part: log.committed(group, part) for part in every}
    for part in goals:
        if keeper.offset(log.name, part) > log.end(part):
            keeper.rewind(log.name, part)
    while not stop.is_set() and (polled := missed(keeper, log, goals, limit)):
        take_in(polled)


def missed(keeper: Offsets, log: Log, goals: Mapping[Partition, int], limit: int) -> dict[Partition, list[Entry]]:
    """What lies between the keeper's offsets and these, up to so many entries of each partition; empty at the end."""
    starts = {part: keeper.offset(log.name, part) for part in goals}
    found = {
        part: [entry for entry in log.read(part, starts[part], limit) if entry.offset < goal]
        for part, goal in goals.items()
        if starts[part] < goal
    }
    return {part: entries for part, entries in found.items() if entries}
