"""What a score costs: in process by stage, over HTTP through BentoML, and beside the service the documentation gives.

Worker and learner run beside it, on the same cores, as they would. The load comes from a process of its own.
"""

from __future__ import annotations

import gc
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta
from itertools import islice
from pathlib import Path

import numpy as np

from bench.figures import Figure, Figures, medians
from bench.scoring_peers import MANY_CLIENTS, WARM_UP, documented, fit_documented, percentile, refused, send, variants
from headrace.assembly import open_online_store, open_scorer
from headrace.bootstrap import register_champion, warm
from headrace.run import apply_features
from headrace.settings import Settings
from headrace.source import SimulatedSource
from headrace.stack import Stack
from scoring.live_models import registry_of
from scoring.use_case import FRAUD
from stream.records import Transaction
from training.batch import SplitDays, train
from training.replay import Replay

RUNS = 3
RATE = 200.0
IN_PROCESS_EVENTS = 2000
ONE_CLIENT_EVENTS = 2000
MANY_CLIENT_EVENTS = 8000
SETTLE_S = 2.0
IDLE_S = 0.005
DAYS = 60


def measure() -> Figures:
    """All figures, on a stack of its own in a temporary directory. Takes some five minutes."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as directory:
        settings = Settings({"home": Path(directory)})
        with Stack(settings) as stack:
            stack.start_redis()
            transactions = _prepare(stack)
            stack.start_workers()
            stack.start("learner", "learn")
            machine = _machine(stack.settings)
            paced = [_in_process(stack.settings, transactions, RATE) for _ in range(RUNS)]
            closed = [_in_process(stack.settings, transactions, 0.0) for _ in range(RUNS)]
            url = f"{stack.start_service()}/fraud/score"
            ours = [_over_http(url, transactions) for _ in range(RUNS)]
            stack.children.pop("service").stop(8.0)
            two = _two_processes(stack, transactions)
            turned_back = variants(stack, transactions)
            peer = documented(stack, transactions)
    figures = medians(paced) | medians(closed) | machine | medians(ours) | two | turned_back | peer
    return figures | _ratios(figures)


def _prepare(stack: Stack) -> Iterator[Transaction]:
    applying = apply_features(stack.settings)
    source = SimulatedSource(seed=7, days=DAYS)
    first, last = source.span()
    replay = Replay(FRAUD.features)
    frame = replay.advance(source.between(first, last), collect_from=first + (last - first) / 2)
    assert frame is not None
    split = SplitDays(gap=0)
    trained = train(frame, created_at=last, name=FRAUD.name, split=split)
    register_champion(registry_of(stack.home), trained, "bench")
    fit_documented(frame, stack.home)
    _, errors = applying.communicate()
    if applying.returncode:
        raise ChildProcessError(errors.decode())
    warm(replay, open_online_store(stack.settings))
    return (one.transaction for one in source.between(last, last + timedelta(days=365)))


def _in_process(settings: Settings, transactions: Iterator[Transaction], rate: float) -> Figures:
    scorer, feed = open_scorer(settings, FRAUD)
    feed.start()
    took: list[float] = []
    stages: dict[str, list[int]] = defaultdict(list)
    time.sleep(SETTLE_S)
    gc.collect()
    gc.freeze()
    started_all = time.perf_counter()
    try:
        for number, transaction in enumerate(islice(transactions, WARM_UP + IN_PROCESS_EVENTS)):
            if rate:
                time.sleep(max(0.0, started_all + number / rate - time.perf_counter()))
            started = time.perf_counter()
            decision = scorer.score(transaction, deadline_ms=1000)
            ended = time.perf_counter()
            if decision.degraded:
                raise RuntimeError(f"a degraded answer in a bench: {decision.degraded}")
            if number >= WARM_UP:
                took.append((ended - started) * 1e3)
                for stage, stage_us in decision.latency_us.items():
                    stages[stage].append(stage_us)
    finally:
        gc.unfreeze()
        feed.stop()
    p50, p99 = (float(np.percentile(took, p)) for p in (50, 99))
    if not rate:
        return {
            "score in process, without a pause, p50": Figure(p50, "ms", 0.5, "lower", "as fast as it goes"),
            "score in process, without a pause, p99": Figure(p99, "ms", 1.0, "lower", "as fast as it goes"),
        }
    note = f"at {rate:g} a second; worker and learner beside it"
    figures = {
        "score in process, p50": Figure(p50, "ms", 0.5, "lower", note),
        "score in process, p99": Figure(p99, "ms", 1.0, "lower", note),
    }
    for stage, values in stages.items():
        note = "" if len(values) == len(took) else f"only where reasons are given, {len(values)} times"
        most_us = 300.0 if stage == "reasons" else None
        figures[f"stage {stage}, p50"] = Figure(float(np.percentile(values, 50)), "us", most_us, "lower", note)
    return figures


def _machine(settings: Settings) -> Figures:
    """What the same call costs a core that is busy, and one that slept: the rest of the figures stand between."""
    registry = registry_of(settings.home)
    model = registry.load(FRAUD.name, registry.resolve(FRAUD.name))
    row = np.zeros(len(FRAUD.features.names))
    took: dict[float, list[float]] = {0.0: [], IDLE_S: []}
    for idle_s, found in took.items():
        for _ in range(WARM_UP):
            if idle_s:
                time.sleep(idle_s)
            started = time.perf_counter()
            model.score_one(row)
            found.append((time.perf_counter() - started) * 1e6)
    hot, cold = (float(np.percentile(found, 50)) for found in took.values())
    return {
        "one call of the model, without a pause": Figure(hot, "us", None, "lower", "of this machine"),
        "one call of the model, after 5 ms of sleep": Figure(cold, "us", None, "lower", "of this machine"),
    }


def _two_processes(stack: Stack, transactions: Iterator[Transaction]) -> Figures:
    alone = stack.settings
    stack.settings = alone.but(workers=2)
    try:
        url = f"{stack.start_service()}/fraud/score"
        send(url, transactions, 10 * WARM_UP, MANY_CLIENTS)  # until connections have been dealt again
        found = send(url, transactions, MANY_CLIENT_EVENTS, MANY_CLIENTS)
    finally:
        stack.settings = alone
        stack.children.pop("service").stop(8.0)
    note = f"2 worker processes on {os.cpu_count()} cores; {found.degraded} degraded, {refused(found)} refused"
    name = f"POST /fraud/score, {MANY_CLIENTS} clients, --workers 2"
    return {name: Figure(found.per_second, "requests/s", None, "higher", note)}


def _over_http(url: str, transactions: Iterator[Transaction]) -> Figures:
    send(url, transactions, WARM_UP, 1)
    alone = send(url, transactions, ONE_CLIENT_EVENTS, 1)
    time.sleep(SETTLE_S)
    together = send(url, transactions, MANY_CLIENT_EVENTS, MANY_CLIENTS)
    time.sleep(SETTLE_S)
    note = f"{alone.degraded} degraded, {refused(alone)} refused"
    return {
        "POST /fraud/score, 1 client, p50": Figure(percentile(alone, 50), "ms", 1.0, "lower", note),
        "POST /fraud/score, 1 client, p99": Figure(percentile(alone, 99), "ms", 3.0, "lower", note),
        f"POST /fraud/score, {MANY_CLIENTS} clients": Figure(
            together.per_second,
            "requests/s",
            1000.0,
            "higher",
            f"1 worker process; {together.degraded} degraded, {refused(together)} refused",
        ),
        f"POST /fraud/score, {MANY_CLIENTS} clients, p99": Figure(percentile(together, 99), "ms", None, "lower"),
    }


def _ratios(figures: Figures) -> Figures:
    ours, peer = "POST /fraud/score", "documented service"
    if f"{peer}, 1 client, p99" not in figures:
        return {}
    latency = figures[f"{peer}, 1 client, p50"].value / figures[f"{ours}, 1 client, p50"].value
    many = f"{MANY_CLIENTS} clients"
    rate = figures[f"{ours}, {many}"].value / figures[f"{peer}, {many}"].value
    return {
        "documented over ours, p50 of 1 client": Figure(latency, "times", None, "higher"),
        f"ours over documented, {many}": Figure(rate, "times", None, "higher"),
    }
