"""A real worker in a process of its own that keeps what the benches need: its processor time, and when it had folded.

It runs `work_forever` as `headrace worker` does. It ends when it has folded as many records as it was told, or with
SIGTERM, and then writes its measurements to a file. While it works, it only appends to lists in memory.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from threading import Event

import msgspec

from features.declared import all_views
from features.pipeline import work_forever
from features.worker import FoldCount, Folder
from headrace.assembly import open_log, open_online_store
from headrace.settings import Settings
from stream.child import Child, ChildError
from stream.log import Consumer, Entry, Log, Partition

FOLD_TIMEOUT_S = 300.0
STOP_GRACE_S = 20.0


class Commit(msgspec.Struct, frozen=True):
    """When the states of a batch were written (`time.monotonic_ns`), and the next offset of one of its partitions."""

    at_ns: int
    topic: str
    number: int
    next_offset: int


class Measured(msgspec.Struct):
    """What the worker process wrote down. The first batch, which also warms up, counts in neither time."""

    records: int
    cpu_s: float
    wall_s: float
    commits: list[Commit]

    @property
    def per_cpu_s(self) -> float:
        """Records for each second of the process's processor time: all its threads, user and system."""
        return self.records / self.cpu_s

    @property
    def per_s(self) -> float:
        """Records for each second on the clock."""
        return self.records / self.wall_s


class _Stamping:
    """A consumer that notes each commit; the worker commits when all states of a batch are written."""

    def __init__(self, inner: Consumer, commits: list[Commit]) -> None:
        self._inner = inner
        self._commits = commits

    def commit(self, next_offsets: Mapping[Partition, int]) -> None:
        now = time.monotonic_ns()
        self._commits += [Commit(now, *partition, offset) for partition, offset in next_offsets.items()]
        self._inner.commit(next_offsets)

    def poll(self, limit: int, timeout_ms: int) -> dict[Partition, list[Entry]]:
        return self._inner.poll(limit, timeout_ms)

    def assignment(self) -> frozenset[Partition]:
        return self._inner.assignment()

    def close(self) -> None:
        self._inner.close()


def stamp_commits(log: Log) -> list[Commit]:
    """Let every consumer that the log gives note its commits in the list."""
    commits: list[Commit] = []
    consumer = log.consumer

    def stamped(group: str, topics: Iterable[str]) -> Consumer:
        return _Stamping(consumer(group, topics), commits)

    log.consumer = stamped  # type: ignore[method-assign]
    return commits


def start_worker(settings: Settings, records: int, out: Path) -> Child:
    """Start a worker process that ends by itself after `records` records; 0: not before it is told to."""
    command: list[str | Path] = [sys.executable, "-m", "bench.worker_process", str(records), out]
    out.unlink(missing_ok=True)
    return Child(command, out.with_suffix(".log"), environment=settings.environment())


def measured(child: Child, out: Path) -> Measured:
    """What the process wrote. Raises `ChildError` with the end of its log where it measured nothing."""
    if not out.is_file():
        raise ChildError(f"the worker process measured nothing:\n{child.log_tail()}")
    found = msgspec.json.decode(out.read_bytes(), type=Measured)
    if not found.records:
        raise ChildError("the worker process folded everything in its first batch; give it more records")
    return found


def fold_all(settings: Settings, records: int, out: Path) -> Measured:
    """Let a worker process fold the `records` records that the log has, and measure it."""
    child = start_worker(settings, records, out)
    try:
        child.wait(FOLD_TIMEOUT_S)
    finally:
        child.stop(STOP_GRACE_S)
    return measured(child, out)


def work(settings: Settings, records: int, out: Path) -> None:
    """Be the worker."""
    stop = Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    done = 0
    marks: list[tuple[int, float, float]] = []

    def on_batch(count: FoldCount) -> None:
        nonlocal done
        done += count.records
        marks.append((done, time.process_time(), time.perf_counter()))
        if records and done >= records:
            stop.set()

    store = open_online_store(settings)
    with closing(open_log(settings)) as log:
        commits = stamp_commits(log)
        work_forever(Folder(store, all_views(), log.name), log, stop, on_batch=on_batch)
    first, last = marks[0], marks[-1]
    found = Measured(last[0] - first[0], last[1] - first[1], last[2] - first[2], commits)
    out.write_bytes(msgspec.json.encode(found))


if __name__ == "__main__":
    work(Settings({}), int(sys.argv[1]), Path(sys.argv[2]))
