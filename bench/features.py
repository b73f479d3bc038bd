"""What features cost: folding, reading, freshness and batch, and the peers that do the nearest to it."""

from __future__ import annotations

import tempfile
import warnings
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bench import batch
from bench.feast_cost import fill, reading, writing
from bench.feature_load import payments
from bench.figures import Figure, Figures, medians
from bench.freshness import freshness
from bench.history_cost import history_cost
from bench.peers import side_by_side
from bench.worker_process import fold_all
from headrace.assembly import open_online_store, open_outbox
from headrace.settings import Settings
from headrace.stack import Stack
from stream.connection import RedisConnection
from stream.log import message_of

WORKER_BUDGET = 10_000.0


@dataclass(frozen=True)
class Sizes:
    """How much of each; the defaults are what is published."""

    runs: int = 3
    worker_events: int = 20_000
    rounds: int = 2000
    filled_events: int = 6000
    reads: int = 200
    written_rows: int = 500
    rate: float = 500.0
    seconds: float = 20.0
    peer_events: int = 5000
    with_peers: bool = True
    with_batch: bool = True


def measure(sizes: Sizes | None = None) -> Figures:
    """All figures, on a Redis, a broker and processes of its own. Takes some ten minutes."""
    sizes = sizes or Sizes()
    figures = medians([history_cost(sizes.rounds) for _ in range(sizes.runs)])
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as directory:
        home = Path(directory)
        # Not the environment's: what follows empties its Redis.
        with Stack(Settings({"home": home}, environ={})) as stack:
            stack.start_redis()
            figures |= _feast(stack.settings, sizes)
            runs = [_worker(stack.settings, home, sizes.worker_events, run) for run in range(sizes.runs)]
            figures |= medians(runs)
            fresh = []
            for _ in range(sizes.runs):
                _empty(stack.settings)
                fresh.append(freshness(stack.settings, home, sizes.rate, sizes.seconds))
            figures |= medians(fresh)
            if sizes.with_peers:
                figures |= side_by_side(stack.settings, home, sizes.peer_events, sizes.runs)
    if sizes.with_batch:
        figures |= batch.measure()
    return figures


def _feast(settings: Settings, sizes: Sizes) -> Figures:
    from feature_repo.repository import apply, open_store

    with warnings.catch_warnings():
        # Feast says of every on-demand view that it is experimental.
        warnings.simplefilter("ignore", RuntimeWarning)
        apply(settings.home, settings.redis)
        feast = open_store(settings.home, settings.redis)
        store = open_online_store(settings)
        with closing(store.connection):
            fill(store, sizes.filled_events)
            reads = [reading(store, feast, sizes.reads, sizes.filled_events) for _ in range(sizes.runs)]
            writes = [writing(store, feast, sizes.written_rows, run) for run in range(sizes.runs)]
    return medians(reads) | medians(writes)


def _worker(settings: Settings, home: Path, events: int, run: int) -> Figures:
    _empty(settings)
    with closing(open_outbox(settings)) as log:
        log.append([message_of(one) for one in payments(events)])
    found = fold_all(settings, events, home / f"worker-{run}.json")
    note = f"3 entities each, exactly once, Redis log and store; {found.records:,} events after the first batch"
    return {
        "worker, a core": Figure(
            found.per_cpu_s, "events/s", WORKER_BUDGET, "higher", f"by the worker process's processor time; {note}"
        ),
        "worker, on the clock": Figure(
            found.per_s, "events/s", None, "higher", f"on the clock, one process with Redis beside it; {note}"
        ),
    }


def _empty(settings: Settings) -> None:
    with RedisConnection(settings.redis) as connection:
        connection.one("FLUSHALL")
