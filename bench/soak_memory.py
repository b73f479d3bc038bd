"""The memory of the stack's processes over time, and whether it stays flat."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from statistics import median
from threading import Event, Thread
from typing import NamedTuple

import numpy as np
import psutil

from bench.figures import Figure, Figures, not_measured
from headrace.stack import Stack

MIB = 2**20
MINUTE_S = 60.0
SAMPLE_EVERY_S = 5.0
SLOPE_LIMIT_MB_MIN = 4.0
GROWTH_LIMIT = 1.1
REFERENCE_MINUTE = 3
"""Of a process's life under load: by then what it keeps for good is there."""
REFERENCE_MINUTES = {"archiver": 6}
"""Of those that take longer: the archiver holds up to five minutes of records before it stores the first of them."""
MORE_MINUTES = 1.5
"""A process that lived not so much longer than until its reference has no verdict."""


class Sample(NamedTuple):
    """Megabytes at a time in seconds."""

    at_s: float
    mb: float


Life = list[Sample]


class MemoryWatch:
    """Samples the memory of every child with what it started, and of Redis, until it is stopped.

    A process that is started again begins another life under the same name: `lives` has the last one of each.
    """

    def __init__(self, stack: Stack, every_s: float = SAMPLE_EVERY_S) -> None:
        self._stack = stack
        self._every_s = every_s
        self._lives: dict[tuple[str, int], Life] = defaultdict(list)
        self._stop = Event()
        self._thread = Thread(target=self._watch, name="memory-watch", daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def lives(self) -> dict[str, Life]:
        """By name, in the order in which they began."""
        return {name: life for (name, _), life in self._lives.items()}

    def _watch(self) -> None:
        while not self._stop.wait(self._every_s):
            pids = {name: child.pid for name, child in list(self._stack.children.items()) if child.running}
            if (redis := self._stack.redis) is not None:
                try:
                    pids["redis"] = redis.pid
                except RuntimeError:  # killed a moment ago
                    continue
            for name, pid in pids.items():
                resident = resident_mb(pid)
                if resident:
                    self._lives[name, pid].append(Sample(time.monotonic(), resident))


def resident_mb(pid: int) -> float:
    """Of a process and what it started; 0 where it is gone."""
    try:
        top = psutil.Process(pid)
        return float(sum(one.memory_info().rss for one in (top, *top.children(recursive=True)))) / MIB
    except psutil.NoSuchProcess:
        return 0.0


def slope_mb_min(life: Life) -> float:
    """Megabytes a minute over the second half, by least squares."""
    half = life[len(life) // 2 :]
    return float(np.polyfit([one.at_s / MINUTE_S for one in half], [one.mb for one in half], 1)[0])


def growth(life: Life, minute: int) -> float:
    """The last minute's median over that of an earlier one, counted from 1."""
    begin_s, end_s = life[0].at_s, life[-1].at_s
    then = [one.mb for one in life if minute - 1 <= (one.at_s - begin_s) / MINUTE_S < minute]
    now = [one.mb for one in life if one.at_s > end_s - MINUTE_S]
    return median(now) / median(then)


def memory_figures(lives: Mapping[str, Life]) -> Figures:
    """For each process what it holds, and two figures with a budget that say whether it is flat.

    Redis has none: it holds the log and the answers for as long as their retention says, and grows with them.
    """
    figures: Figures = {}
    for name, life in sorted(lives.items()):
        lived_s = life[-1].at_s - life[0].at_s
        figures[f"memory, {name}"] = Figure(
            median([one.mb for one in life[-12:]]), "MB", None, "lower", f"{lived_s / MINUTE_S:.1f} min of this process"
        )
        if name == "redis":
            continue
        minute = REFERENCE_MINUTES.get(name, REFERENCE_MINUTE)
        slope_name, growth_name = f"memory, {name}, slope", f"memory, {name}, last over earlier minute"
        least_s = (minute + MORE_MINUTES) * MINUTE_S
        if lived_s < least_s:
            why = f"this process lived {lived_s:.0f} s, it takes {least_s:.0f} s"
            figures[slope_name] = not_measured("MB/min", "lower", why, SLOPE_LIMIT_MB_MIN)
            continue
        figures[slope_name] = Figure(slope_mb_min(life), "MB/min", SLOPE_LIMIT_MB_MIN, "lower", "of the second half")
        figures[growth_name] = Figure(growth(life, minute), "times", GROWTH_LIMIT, "lower", f"over minute {minute}")
    return figures


def is_flat(figures: Figures) -> bool:
    """Whether no process grew by more than the budgets."""
    return not any(one.meets_budget is False for name, one in figures.items() if name.startswith("memory, "))
