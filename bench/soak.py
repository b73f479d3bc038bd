"""A soak: minutes under load while something fails every minute, then the books.

A stack as `headrace up` starts it, with a Redis that flushes each acknowledgement (`appendfsync always`), so that
"nothing lost" is exact. First the peak of a closed loop, then 70% of it in an open loop by clients as they should be
(`bench/soak_load.py`), and one fault a minute. At the end, when everything has been read by everybody: every answer is
in the log once, as it was given, and states, archive and audit chain agree with the log.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import cycle, islice
from pathlib import Path

import msgspec

from bench.figures import Figure, Figures
from bench.soak_call import Call, Said, calls
from bench.soak_end import count
from bench.soak_faults import FLOOD_S, FLOOD_TIMES, Fault, FaultFailed, in_order
from bench.soak_figures import Felt, load_figures
from bench.soak_load import LoadPlan, ended, start_load
from bench.soak_memory import MIB, MemoryWatch, memory_figures
from headrace.bootstrap import Stretch, fit_stretch, register_champion
from headrace.run import apply_features
from headrace.settings import Settings
from headrace.source import SimulatedSource
from headrace.stack import Stack
from scoring.live_models import registry_of
from scoring.use_case import FRAUD
from stream.child import free_port
from stream.connection import RedisConnection
from training.batch import SplitDays

SEED = 20
MINUTES = 10.0
MINUTE_S = 60.0
PEAK_S = 20.0
PEAK_CLIENTS = 16
PEAK_CALLS = 60_000
WARM_UP_S = 3.0
SHARE = 0.7
CLIENTS = 32
FIRST_FAULT_SHARE = 0.25
"""Of the time between two faults: where in it each begins."""
LEAD_S = 3.0
CUSTOMERS = 10_000
MERCHANTS = 2_000
DAYS = 40


def measure(
    minutes: float = MINUTES,
    faults: Sequence[Fault] | None = None,
    home: Path | None = None,
    peak_s: float = PEAK_S,
) -> Figures:
    """All figures, on a stack of its own. `home` has a plan and a champion; without one both are made in a temporary
    directory. The faults come one after another at equal distances: one a minute, where none are given."""
    faults = list(islice(cycle(in_order(SEED)), max(1, round(minutes)))) if faults is None else faults
    with tempfile.TemporaryDirectory(prefix="headrace-soak-") as directory:
        settings = Settings({"home": home or Path(directory), "appendfsync": "always", "port": free_port()})
        with Stack(settings) as stack:
            stack.start_redis()
            if home is None:
                prepare(stack)
            return Soak(stack, Path(directory), minutes * MINUTE_S, faults, peak_s).run()


class Soak:
    """One soak on a stack whose Redis runs and whose home has a champion."""

    def __init__(self, stack: Stack, scratch: Path, seconds: float, faults: Sequence[Fault], peak_s: float) -> None:
        self.stack = stack
        self.scratch = scratch
        self.seconds = seconds
        self.faults = faults
        self.peak_s = peak_s
        self.calls = calls(SEED, CUSTOMERS, MERCHANTS)
        self.felt: list[Felt] = []

    def run(self) -> Figures:
        """Start, measure the peak, soak, drain, count."""
        stack = self.stack
        stack.start_workers()
        for name, command in (("learner", "learn"), ("review", "review keep"), ("archiver", "archive")):
            stack.start(name, *command.split())
        stack.start("audit", "audit", "keep")
        url = stack.start_service()
        before = self._peak(url)
        peak = _per_second(before, WARM_UP_S)
        used_before = self._redis_used()
        with MemoryWatch(stack) as memory:
            said = self._soak(url, peak * SHARE)
        used_mb = self._redis_used() - used_before
        figures: Figures = {
            "peak": Figure(peak, "calls/s", None, "higher", f"closed loop, {PEAK_CLIENTS} clients, {self.peak_s:g} s"),
            "offered": Figure(
                peak * SHARE, "calls/s", None, "higher", f"open loop for {self.seconds / MINUTE_S:g} min"
            ),
        }
        figures |= load_figures(said, self.felt, stack.settings.deadline)
        figures |= count(stack, [*before, *said])
        figures |= memory_figures(memory.lives)
        figures["Redis grew, a call"] = Figure(
            used_mb * 1024 / max(1, len(said)), "KB", None, "lower", "the log and the answers, kept for their retention"
        )
        return figures

    def _peak(self, url: str) -> list[Said]:
        file, journal = self.scratch / "peak.calls", self.scratch / "peak.journal"
        _write(file, islice(self.calls, PEAK_CALLS))
        seconds = self.peak_s + WARM_UP_S
        plan = LoadPlan(url, PEAK_CLIENTS, 0.0, seconds, time.monotonic() + LEAD_S)
        return ended(start_load(plan, file, journal), journal)

    def _soak(self, url: str, rate: float) -> list[Said]:
        every_s = self.seconds / max(1, len(self.faults))
        begins = [every_s * (place + FIRST_FAULT_SHARE) for place in range(len(self.faults))]
        floods = [
            (begin_s, begin_s + FLOOD_S, FLOOD_TIMES)
            for begin_s, fault in zip(begins, self.faults, strict=True)
            if fault.name == "flood"
        ]
        needed = round(rate * (self.seconds + len(floods) * FLOOD_S * FLOOD_TIMES) * 1.01) + 100
        file, journal = self.scratch / "soak.calls", self.scratch / "soak.journal"
        _write(file, islice(self.calls, needed))
        starts_at_s = time.monotonic() + LEAD_S
        load = start_load(LoadPlan(url, CLIENTS, rate, self.seconds, starts_at_s, floods), file, journal)
        try:
            for begin_s, fault in zip(begins, self.faults, strict=True):
                time.sleep(max(0.0, starts_at_s + begin_s - time.monotonic()))
                self.felt.append(self._fault(fault, url, starts_at_s))
            return ended(load, journal)
        finally:
            load.kill()
            load.wait()

    def _fault(self, fault: Fault, url: str, starts_at_s: float) -> Felt:
        began_s = time.monotonic() - starts_at_s
        try:
            what, failed = fault.act(self.stack, url), False
        except FaultFailed as error:
            what, failed = str(error), True
        return Felt(fault.name, began_s, time.monotonic() - starts_at_s, what, failed)

    def _redis_used(self) -> float:
        """Megabytes, as Redis counts them."""
        with RedisConnection(str(self.stack.settings.redis)) as connection:
            lines = connection.one("INFO", "memory").decode().splitlines()
        return float(next(line for line in lines if line.startswith("used_memory:")).partition(":")[2]) / MIB


def _per_second(said: Sequence[Said], after_s: float) -> float:
    """Answered calls a second of a closed loop, once it has warmed up."""
    ends = [one.due_s + one.took_ms / 1000 for one in said if one.status in (200, 202)]
    return sum(end > after_s for end in ends) / (max(ends) - after_s)


def _write(file: Path, some: Iterator[Call]) -> None:
    with file.open("wb") as lines:
        for call in some:
            lines.write(msgspec.json.encode(call) + b"\n")


def prepare(stack: Stack, why: str = "soak") -> None:
    """A plan, and a model of the simulator's first days."""
    applying = apply_features(stack.settings)
    source = SimulatedSource(seed=7, days=DAYS)
    first, last = source.span()
    stretch = Stretch(first, first + timedelta(days=DAYS / 4), last, 1.0, SplitDays(gap=0))
    _, trained = fit_stretch(FRAUD, source.between(first, last), stretch, "hist_gradient_boosting", lambda _: None)
    register_champion(registry_of(stack.home), trained, why)
    _, errors = applying.communicate()
    if applying.returncode:
        raise ChildProcessError(errors.decode())
