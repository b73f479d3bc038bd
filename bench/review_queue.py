"""What the analysts' pages and deeds cost with 100,000 cases that wait and 400,000 that are closed, on either database.

`python -m bench.review_queue`, with `HEADRACE_BENCH_CASES=postgresql://…` for PostgreSQL too. Times are of the machine
and of what else it does. What stands beside them is not: statements, steps of SQLite's machine or PostgreSQL's blocks,
and tables that are read from end to end; nor, nearly, is the processor time.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from statistics import median, quantiles

import psutil

from bench.figures import Figure, Figures, not_measured, show
from bench.review_copy import copy_into
from bench.review_pages import pages, signed_in
from bench.review_watch import Watch
from bench.review_world import World, fill
from bench.review_writes import FLAGS_PER_S, PEOPLE, Writes, under_load
from review.case_store import CaseStore

REPEATS = 40
WRITES = 20
LOAD_S = 30.0
BUDGET_MS = 200.0
POSTGRES = "HEADRACE_BENCH_CASES"
"""The URL of an empty PostgreSQL database that the bench may fill."""


def measure(world: World = World()) -> Figures:  # noqa: B008 - immutable
    """All figures; many minutes, most of which fill the store."""
    url = os.environ.get(POSTGRES, "")
    if url:
        with closing(CaseStore(url)) as store:
            if store.last_deed():
                raise SystemExit(f"the database of {POSTGRES} is not empty; name one that may be filled")
    with tempfile.TemporaryDirectory() as folder:
        place = str(Path(folder) / "review.sqlite")
        fill(place, world)
        if url:
            copy_into(place, url)
        found = {f"sqlite: {name}": figure for name, figure in figures(place).items()}
    if not url:
        return found | {"postgresql": not_measured("ms", "lower", f"{POSTGRES} names no empty database", BUDGET_MS)}
    return found | {f"postgresql: {name}": figure for name, figure in figures(url).items()}


def figures(place: str, repeats: int = REPEATS, writes: int = WRITES, load_s: float = LOAD_S) -> Figures:
    """Measure a store that was filled. Writes change it."""
    found: Figures = {}
    with closing(CaseStore(place)) as store:
        watch = Watch(store.database.engine)
        with signed_in(store) as browser:
            for name, ask in pages(store, browser).items():
                found[name] = measured(watch, ask, repeats, BUDGET_MS)
        memory = psutil.Process().memory_info().rss / 2**20
        found["memory of the process that served them"] = Figure(memory, "MiB", None, "lower", "resident")
        for name, do in Writes(store).by_name().items():
            found[name] = measured(watch, do, writes, None)
    if not load_s:
        return found
    load = under_load(place, load_s)
    note = f"{PEOPLE} people, {load.flags_per_s:.0f} of {FLAGS_PER_S} flags/s taken in; "
    for name, times_ms in (("claims", load.claims_ms), ("verdicts", load.verdicts_ms)):
        worst = f"p95 of {len(times_ms)}, median {median(times_ms):.1f}, longest {max(times_ms):.0f}"
        found[f"{name} while flags come in"] = Figure(_p95(times_ms), "ms", None, "lower", note + worst)
    return found


def measured(watch: Watch, ask: Callable[[], object], repeats: int, budget_ms: float | None) -> Figure:
    """The time of a call, with what the database does for it, which is counted in a first one."""
    work = watch.work(ask)
    times_ms = []
    cpu_s = watch.cpu_s()
    for _ in range(repeats):
        began = time.perf_counter()
        ask()
        times_ms.append((time.perf_counter() - began) * 1e3)
    cpu_ms = (watch.cpu_s() - cpu_s) * 1e3 / repeats
    note = f"p95 of {repeats}, median {median(times_ms):.1f}, processor {cpu_ms:.1f}; {work.statements} statements, "
    note += f"{work.amount:,.0f} {work.unit}"
    if work.whole:
        note += f", reads all of {', '.join(work.whole)}"
    return Figure(_p95(times_ms), "ms", budget_ms, "lower", note)


def _p95(times_ms: list[float]) -> float:
    return quantiles(times_ms, n=20)[-1] if len(times_ms) > 1 else times_ms[0]


if __name__ == "__main__":
    show("python -m bench.review_queue", measure())
