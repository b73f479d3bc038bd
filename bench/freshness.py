"""From an answered event to a state that contains it, at a steady load.

Three processes: Redis, a worker, and a load generator that scores payments at fixed times whether or not it is behind
(an open loop). Nobody looks at the store meanwhile. The generator notes when each answer was there
(`time.monotonic_ns`, one clock for all processes); the worker's own commits, which come right after the states of a
batch are written, note the time and how far each partition is folded. The log says which offset an event has, and is
read when all is over. An event's freshness is the time of the first commit beyond its offset, less that of its answer.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from contextlib import closing
from pathlib import Path

import msgspec
import numpy as np

from bench.feature_load import payments
from bench.figures import Figure, Figures
from bench.worker_process import Commit, measured, start_worker
from features.pipeline import GROUP
from headrace.assembly import open_outbox, open_scorer
from headrace.settings import Settings
from scoring.use_case import FRAUD
from stream.child import Child, ChildError
from stream.log import Log, Partition, lag, message_of
from stream.records import Transaction, decode

WARM_UP_SHARE = 0.1
SEED = 6
LOAD_GRACE_S = 60.0
FOLD_GRACE_S = 120.0
ANSWER_DEADLINE_MS = 60_000.0
"""A stall makes what is measured later, it does not end the measuring."""
BUDGET_P99_MS = 100.0
STOP_GRACE_S = 20.0


class Load(msgspec.Struct):
    """When each event was answered, and how far behind its time the generator was at worst."""

    answered_ns: dict[str, int]
    rate: float
    behind_ms: float


def freshness(settings: Settings, home: Path, rate: float, seconds: float) -> Figures:
    """The median and the 99th percentile over all events but the first tenth. The store and the log begin empty."""
    count = int(rate * seconds)
    worker_out, load_out = home / "fresh-worker.json", home / "fresh-load.json"
    load_out.unlink(missing_ok=True)
    command: list[str | Path] = [sys.executable, "-m", "bench.freshness", str(rate), str(count), load_out]
    worker = start_worker(settings, 0, worker_out)
    load: Child | None = None
    try:
        _fold_one(settings)
        load = Child(command, home / "fresh-load.log", environment=settings.environment())
        load.wait(seconds + LOAD_GRACE_S)
        if not load_out.is_file():
            raise ChildError(f"the load generator ended without an answer:\n{load.log_tail()}")
        offsets = _wait_until_folded(settings)
    finally:
        if load is not None:
            load.kill()
        worker.stop(STOP_GRACE_S)
    offered = msgspec.json.decode(load_out.read_bytes(), type=Load)
    commits = measured(worker, worker_out).commits
    late_ms = fresh_ms(offered.answered_ns, offsets, commits)[int(count * WARM_UP_SHARE) :]
    note = (
        f"{rate:g} events/s offered for {seconds:g} s, open loop; Scorer without models, one worker process; from the"
        " answer until its states are written (see the module)"
    )
    p50, p99 = (float(np.percentile(late_ms, percentile)) for percentile in (50, 99))
    return {
        "answered to folded, p50": Figure(p50, "ms", None, "lower", note),
        "answered to folded, p99": Figure(p99, "ms", BUDGET_P99_MS, "lower", note),
        "answered to folded, load": Figure(offered.rate, "events/s", None, "higher", "answered, of what was offered"),
        "answered to folded, load behind": Figure(
            offered.behind_ms, "ms", None, "lower", "how late the load generator was at worst"
        ),
    }


def fresh_ms(
    answered_ns: dict[str, int], offsets: dict[Partition, list[tuple[int, str]]], commits: list[Commit]
) -> list[float]:
    """Milliseconds from each answer to the first commit that covers it, in the order of the answers.

    >>> part = Partition("transactions", 0)
    >>> commits = [Commit(5_000_000, *part, 11), Commit(9_000_000, *part, 12)]
    >>> fresh_ms({"a": 1_000_000, "b": 2_000_000}, {part: [(10, "a"), (11, "b")]}, commits)
    [4.0, 7.0]
    """
    by_partition: dict[Partition, list[Commit]] = defaultdict(list)
    for commit in commits:
        by_partition[Partition(commit.topic, commit.number)].append(commit)
    folded_ns: dict[str, int] = {}
    for partition, entries in offsets.items():
        own = iter(by_partition[partition])
        commit = next(own)
        for offset, event_id in entries:
            while commit.next_offset <= offset:
                commit = next(own)
            folded_ns[event_id] = commit.at_ns
    return [(folded_ns[event_id] - at_ns) / 1e6 for event_id, at_ns in answered_ns.items()]


def _fold_one(settings: Settings) -> None:
    """Wait until the worker has started: it folds one record."""
    (record,) = payments(1, SEED + 1)
    with closing(open_outbox(settings)) as log:
        log.append([message_of(record)])
        _wait(log)


def _wait(log: Log) -> None:
    until = time.monotonic() + FOLD_GRACE_S
    while any(lag(log, GROUP, Transaction.topic).values()):
        if time.monotonic() > until:
            raise ChildError(f"the worker had not folded everything after {FOLD_GRACE_S:g} s")
        time.sleep(0.2)


def _wait_until_folded(settings: Settings) -> dict[Partition, list[tuple[int, str]]]:
    with closing(open_outbox(settings)) as log:
        _wait(log)
        found: dict[Partition, list[tuple[int, str]]] = {}
        for number in range(log.partitions(Transaction.topic)):
            partition = Partition(Transaction.topic, number)
            entries = log.read(partition, 0, settings.outbox_limit)
            found[partition] = [(entry.offset, decode(entry.value, Transaction).event_id) for entry in entries]
        return found


def offer(settings: Settings, rate: float, count: int, out: Path) -> None:
    """Be the load generator."""
    records = payments(count, SEED)
    scorer, _ = open_scorer(settings, FRAUD)
    scorer.warm_up(records[0])
    answered_ns: dict[str, int] = {}
    behind_s = 0.0
    started = time.perf_counter()
    for number, record in enumerate(records):
        wait_s = started + number / rate - time.perf_counter()
        if wait_s > 0:
            time.sleep(wait_s)
        behind_s = max(behind_s, -wait_s)
        decision = scorer.score(record, ANSWER_DEADLINE_MS)
        answered_ns[record.event_id] = time.monotonic_ns()
        if "not recorded yet" in decision.degraded:
            raise RuntimeError(f"an answer that was not recorded: {decision.degraded}")
    took_s = time.perf_counter() - started
    scorer.close()
    out.write_bytes(msgspec.json.encode(Load(answered_ns, count / took_s, behind_s * 1000)))


if __name__ == "__main__":
    offer(Settings({}), float(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
