"""What a score costs: in process by stage, and over HTTP through BentoML, with one client and with sixteen."""

from __future__ import annotations

import gc
import http.client
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from bench.figures import Figure, Figures, medians
from headrace.assembly import open_online_store, open_scorer
from headrace.bootstrap import Stretch, fit_stretch, register_champion, warm
from headrace.run import apply_features
from headrace.settings import Settings
from headrace.source import SimulatedSource
from headrace.stack import Stack
from scoring.live_models import registry_of
from scoring.use_case import FRAUD
from stream.records import Transaction, encode
from training.batch import SplitDays

RUNS = 3
IN_PROCESS_EVENTS = 3000
ONE_CLIENT_EVENTS = 1500
MANY_CLIENTS = 16
MANY_CLIENT_EVENTS = 6000
WARM_UP = 300
DAYS = 60


def measure() -> Figures:
    """All figures, on a stack of its own in a temporary directory. Takes about two minutes."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as directory:
        settings = Settings({"home": Path(directory)})
        with Stack(settings) as stack:
            stack.start_redis()
            transactions = _prepare(stack)
            stack.start_workers()
            stack.start("learner", "learn")
            runs = [_in_process(stack.settings, transactions) for _ in range(RUNS)]
            url = stack.start_service()
            over_http = [_over_http(url, transactions) for _ in range(RUNS)]
    return medians(runs) | medians(over_http)


def _prepare(stack: Stack) -> Iterator[Transaction]:
    applying = apply_features(stack.settings)
    source = SimulatedSource(seed=7, days=DAYS)
    first, last = source.span()
    stretch = Stretch(first, first + (last - first) / 2, last, 1.0, SplitDays(gap=0))
    replay, trained = fit_stretch(FRAUD, source.between(first, last), stretch, "hist_gradient_boosting", lambda _: None)
    register_champion(registry_of(stack.home), trained, "bench")
    _, errors = applying.communicate()
    if applying.returncode:
        raise ChildProcessError(errors.decode())
    warm(replay, open_online_store(stack.settings))
    return (one.transaction for one in source.between(last, last + timedelta(days=365)))


def _in_process(settings: Settings, transactions: Iterator[Transaction]) -> Figures:
    scorer, feed = open_scorer(settings, FRAUD)
    feed.start()
    took: list[float] = []
    stages: dict[str, list[int]] = defaultdict(list)
    gc.collect()
    gc.freeze()
    try:
        for number, transaction in enumerate(islice(transactions, WARM_UP + IN_PROCESS_EVENTS)):
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
    budget = {50: 0.5, 99: 1.0}
    figures = {
        f"score in process, p{p}": Figure(float(np.percentile(took, p)), "ms", budget[p], "lower") for p in (50, 99)
    }
    for stage, values in stages.items():
        note = "" if len(values) == len(took) else f"only where reasons are given, {len(values)} times"
        figures[f"stage {stage}, p50"] = Figure(float(np.percentile(values, 50)), "us", None, "lower", note)
    return figures


def _over_http(url: str, transactions: Iterator[Transaction]) -> Figures:
    bodies = [encode(one) for one in islice(transactions, WARM_UP + ONE_CLIENT_EVENTS)]
    _post_all(url, bodies[:WARM_UP])
    alone = _post_all(url, bodies[WARM_UP:])
    shares = [
        [encode(one) for one in islice(transactions, MANY_CLIENT_EVENTS // MANY_CLIENTS)] for _ in range(MANY_CLIENTS)
    ]
    together: list[float] = []
    threads = [threading.Thread(target=lambda own=own: together.extend(_post_all(url, own))) for own in shares]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rate = len(together) / (time.perf_counter() - started)
    return {
        "POST /fraud/score, 1 client, p50": Figure(float(np.percentile(alone, 50)), "ms", 1.0, "lower"),
        "POST /fraud/score, 1 client, p99": Figure(float(np.percentile(alone, 99)), "ms", 3.0, "lower"),
        f"POST /fraud/score, {MANY_CLIENTS} clients, p99": Figure(
            float(np.percentile(together, 99)), "ms", None, "lower", "the clients share the cores and one interpreter"
        ),
        f"POST /fraud/score, {MANY_CLIENTS} clients": Figure(rate, "requests/s", 1000.0, "higher", "1 worker process"),
    }


def _post_all(url: str, bodies: list[bytes]) -> list[float]:
    """Milliseconds for each request, one after another on one kept-alive connection."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    link = http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)
    took = []
    for body in bodies:
        started = time.perf_counter()
        link.request("POST", "/fraud/score", body, {"content-type": "application/json"})
        answer = link.getresponse()
        content = answer.read()
        took.append((time.perf_counter() - started) * 1e3)
        if answer.status != 200:
            raise RuntimeError(f"{answer.status}: {content.decode()}")
    link.close()
    return took
