"""A log in memory that keeps the contract, and records made by the dozen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from stream.log import Entry, Message, Partition, message_of, partition_of
from stream.records import Decision, Label, MemberScore, Transaction, Verdict

START = datetime(2026, 1, 1, tzinfo=UTC)
PARTITIONS = 2


class MemoryConsumer:
    def __init__(self, log: MemoryLog, group: str, topics: Iterable[str]) -> None:
        self._log = log
        self._group = group
        every = [Partition(topic, number) for topic in topics for number in range(PARTITIONS)]
        self._positions = {part: log.committed(group, part) for part in every}

    def poll(self, limit: int, timeout_ms: int) -> dict[Partition, list[Entry]]:
        each = max(1, limit // len(self._positions))
        found = {part: self._log.read(part, start, each) for part, start in self._positions.items()}
        found = {part: entries for part, entries in found.items() if entries}
        self._positions.update({part: entries[-1].offset + 1 for part, entries in found.items()})
        return found

    def commit(self, next_offsets: Mapping[Partition, int]) -> None:
        if self._log.failing_commits > 0:
            self._log.failing_commits -= 1
            raise ConnectionAbortedError("crashed before the log had the offsets")
        self._log.commits.update({(self._group, part): offset for part, offset in next_offsets.items()})

    def assignment(self) -> frozenset[Partition]:
        return frozenset(self._positions)

    def close(self) -> None:
        pass


class MemoryLog:
    """Offsets have gaps of three, as those of Redis and Kafka may."""

    def __init__(self) -> None:
        self.name = "memory"
        self.entries: dict[Partition, list[Entry]] = defaultdict(list)
        self.commits: dict[tuple[str, Partition], int] = {}
        self.failing_commits = 0

    def append(self, messages: Sequence[Message]) -> None:
        for message in messages:
            part = Partition(message.topic, partition_of(message.key, PARTITIONS))
            self.entries[part].append(Entry(self.end(part) + 2, message.key, message.value))

    def send(self, *records: Decision | Label) -> None:
        self.append([message_of(record) for record in records])

    def partitions(self, topic: str) -> int:
        return PARTITIONS

    def read(self, partition: Partition, start: int, limit: int) -> list[Entry]:
        return [entry for entry in self.entries[partition] if entry.offset >= start][:limit]

    def end(self, partition: Partition) -> int:
        entries = self.entries[partition]
        return entries[-1].offset + 1 if entries else 0

    def committed(self, group: str, partition: Partition) -> int:
        return self.commits.get((group, partition), 0)

    def consumer(self, group: str, topics: Iterable[str]) -> MemoryConsumer:
        return MemoryConsumer(self, group, topics)

    def close(self) -> None:
        pass


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
def new_log() -> type[MemoryLog]:
    """For tests that compare two passes."""
    return MemoryLog


def _decision(
    event_id: str,
    vector: Sequence[float | None] = (1.0, 2.0),
    score: float = 0.5,
    definition_hash: str = "h",
    day: float = 0.0,
    use_case: str = "fraud",
) -> Decision:
    at = START + timedelta(days=day)
    return Decision(
        event_id=event_id,
        event_timestamp=at,
        scored_at=at,
        use_case=use_case,
        outcome="approve",
        score=score,
        scores={"batch": MemberScore("v1", score / 2)},
        vector=list(vector),
        definition_hash=definition_hash,
        policy_version="1",
        record=Transaction(event_id=event_id, event_timestamp=at, card_id=event_id, merchant_id="m", amount=1.0),
    )


def _label(event_id: str, verdict: Verdict, hour: float = 0.0, source: str = "feed") -> Label:
    return Label(event_id=event_id, label=verdict, labelled_at=START + timedelta(days=7, hours=hour), source=source)


@pytest.fixture
def decision() -> Callable[..., Decision]:
    return _decision


@pytest.fixture
def label() -> Callable[..., Label]:
    return _label
