"""A log that counts what goes through it: what every process without HTTP can say of itself."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from scoring.metric_table import WORK_BUCKETS_S
from scoring.tally import Counts, Labels, Tally
from stream.log import Consumer, Entry, Log, Message, Partition


class LogCounts:
    """What went through the logs of one process. One thread counts; others may read."""

    def __init__(self) -> None:
        self.read: dict[Labels, int] = {}
        self.appended: dict[Labels, int] = {}
        self.failures: dict[Labels, int] = {}
        self.work: dict[Labels, Tally] = {}
        self.commits: dict[Labels, Tally] = {}
        self.groups: dict[str, tuple[str, ...]] = {}
        """The groups that were joined, and their topics."""

    def add(self, counted: dict[Labels, int], labels: Labels, number: int = 1) -> None:
        """Count so many more."""
        counted[labels] = counted.get(labels, 0) + number

    def counts(self) -> Counts:
        """All counted so far, by metric."""
        counters = {
            "headrace_log_read_total": self.read,
            "headrace_log_appended_total": self.appended,
            "headrace_log_failures_total": self.failures,
        }
        tallies = {"headrace_log_work_seconds": self.work, "headrace_log_commit_seconds": self.commits}
        return Counts(
            {name: {labels: float(n) for labels, n in found.copy().items()} for name, found in counters.items()},
            {
                name: {labels: [*map(float, one.counts), one.total] for labels, one in found.copy().items()}
                for name, found in tallies.items()
            },
        )

    @contextmanager
    def failing(self, call: str) -> Iterator[None]:
        """Count this call if it raises."""
        try:
            yield
        except Exception:
            self.add(self.failures, (call,))
            raise


class WatchedLog:
    """Another log, with every call passed on and counted."""

    def __init__(self, log: Log, counts: LogCounts) -> None:
        self._log = log
        self._counts = counts
        self.name = log.name

    def append(self, messages: Sequence[Message]) -> None:
        """See `Log`."""
        with self._counts.failing("append"):
            self._log.append(messages)
        for message in messages:
            self._counts.add(self._counts.appended, (message.topic,))

    def partitions(self, topic: str) -> int:
        """See `Log`."""
        return self._log.partitions(topic)

    def read(self, partition: Partition, start: int, limit: int) -> list[Entry]:
        """See `Log`."""
        with self._counts.failing("read"):
            return self._log.read(partition, start, limit)

    def end(self, partition: Partition) -> int:
        """See `Log`."""
        return self._log.end(partition)

    def committed(self, group: str, partition: Partition) -> int:
        """See `Log`."""
        return self._log.committed(group, partition)

    def consumer(self, group: str, topics: Iterable[str]) -> Consumer:
        """See `Log`."""
        topics = tuple(topics)
        self._counts.groups[group] = topics
        with self._counts.failing("join"):
            return WatchedConsumer(self._log.consumer(group, topics), group, self._counts)

    def trim(self) -> int:
        """Trim, where the log can be trimmed; how many entries went."""
        trim = getattr(self._log, "trim", None)
        return 0 if trim is None else int(trim())

    def close(self) -> None:
        """See `Log`."""
        self._log.close()


class WatchedConsumer:
    """A consumer whose records, work and commits are counted."""

    def __init__(self, consumer: Consumer, group: str, counts: LogCounts) -> None:
        self._consumer = consumer
        self._group = group
        self._counts = counts
        self._work = counts.work.setdefault((group,), Tally(WORK_BUCKETS_S))
        self._commits = counts.commits.setdefault((group,), Tally(WORK_BUCKETS_S))
        self._came_at_s: float | None = None

    def poll(self, limit: int, timeout_ms: int) -> dict[Partition, list[Entry]]:
        """See `Consumer`."""
        with self._counts.failing("poll"):
            polled = self._consumer.poll(limit, timeout_ms)
        if polled and self._came_at_s is None:
            self._came_at_s = time.perf_counter()
        for partition, entries in polled.items():
            self._counts.add(self._counts.read, (self._group, partition.topic), len(entries))
        return polled

    def commit(self, next_offsets: Mapping[Partition, int]) -> None:
        """See `Consumer`."""
        began_s = time.perf_counter()
        with self._counts.failing("commit"):
            self._consumer.commit(next_offsets)
        self._commits.add(time.perf_counter() - began_s)
        if self._came_at_s is not None:
            self._work.add(began_s - self._came_at_s)
            self._came_at_s = None

    def assignment(self) -> frozenset[Partition]:
        """See `Consumer`."""
        return self._consumer.assignment()

    def close(self) -> None:
        """See `Consumer`."""
        self._consumer.close()
