"""What `bench/recommend_latency.py` tells: what slates take in process, by stage and over HTTP, while all goes on."""

from __future__ import annotations

import gc
import http.client
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import closing
from random import Random
from urllib.parse import urlsplit

import msgspec
import numpy as np

from bench.figures import Figure, Figures
from bench.recommend_appending import appending
from bench.recommend_latency import INTERACTIONS, ITEMS
from bench.recommend_stack import furnish, recommending_stack
from bench.recommend_stages import stages
from bench.recommend_world import VISITORS, World, learned
from headrace.assembly import open_ledger
from headrace.assembly_recommending import open_recommending
from headrace.run import apply_features
from headrace.settings import Settings
from headrace.stack import Stack
from scoring.recommend_bodies import RecommendRequest

REQUESTS = 2000
WARM_UP = 200
PLACES = 10
RATE = 200.0
BUDGETS_MS = {10_000: (1.0, 2.0), 100_000: (None, 5.0)}
"""p50 and p99 in process, by the number of items."""
HTTP_BUDGET_MS = 3.0
Say = Callable[[str], None]
"""Told what is being done."""


def _silent(what: str) -> None:
    """For who does not want to know."""


def measure(sizes: tuple[int, ...] = ITEMS, interactions: int = INTERACTIONS, say: Say = _silent) -> Figures:
    """All figures, on a stack of its own in a temporary directory. Some minutes."""
    figures: Figures = {}
    for items in sizes:
        with recommending_stack() as stack:
            figures |= _prepare(stack, items, interactions, say)
            with appending(stack.settings.redis, items, VISITORS):
                say(f"slates in process, {RATE:.0f} a second")
                figures |= _in_process(stack.settings, items, RATE)
                say("slates in process, without a pause")
                figures |= _in_process(stack.settings, items, 0.0)
                say("starting the service")
                url = stack.start_service()
                say("slates over HTTP")
                figures |= _over_http(url, items)
    return figures


def measure_stages(sizes: tuple[int, ...] = ITEMS, interactions: int = INTERACTIONS, say: Say = _silent) -> Figures:
    """Where the time of one slate goes, while nothing is learned and nobody else asks."""
    figures: Figures = {}
    for items in sizes:
        with recommending_stack() as stack:
            _prepare(stack, items, interactions, say)
            say("slates, part by part")
            figures |= stages(stack.settings, f"{items:,} items")
    return figures


def _prepare(stack: Stack, items: int, interactions: int, say: Say) -> Figures:
    say(f"a world of {items:,} items, {interactions:,} interactions learned")
    applying = apply_features(stack.settings)
    world = World(items)
    state, learn_us = learned(world, interactions)
    say("a ranker, the snapshot and the histories")
    size, took_s = furnish(stack, world, state, applying)
    name = f"{items:,} items"
    return {
        f"{name}, learning one action": Figure(learn_us, "us", 100.0, "lower", f"of {interactions:,}"),
        f"{name}, snapshot": Figure(size / 2**20, "MiB", None, "lower", f"written in {took_s:.1f} s"),
    }


def _in_process(settings: Settings, items: int, rate: float) -> Figures:
    ledger = open_ledger(settings)
    recommending, _, feeds = open_recommending(settings, ledger)
    feeds.start()
    recommending.warm_up()
    random = Random(5)
    took: list[float] = []
    degraded = 0
    stages: dict[str, list[int]] = defaultdict(list)
    gc.collect()
    gc.freeze()
    try:
        time.sleep(2.0)
        began_s = time.perf_counter()
        for number in range(WARM_UP + REQUESTS):
            if rate:
                time.sleep(max(0.0, began_s + number / rate - time.perf_counter()))
            request = RecommendRequest(user_id=f"user-{random.randrange(VISITORS)}")
            started_s = time.perf_counter()
            slate = recommending.recommend(request, 1000.0)
            ended_s = time.perf_counter()
            if len(slate.items) != PLACES:
                raise RuntimeError(f"a slate of {len(slate.items)} items in a bench, without {slate.degraded}")
            degraded += bool(slate.degraded)
            if number >= WARM_UP:
                took.append((ended_s - started_s) * 1e3)
                for stage, stage_us in slate.latency_us.items():
                    stages[stage].append(stage_us)
    finally:
        gc.unfreeze()
        feeds.stop()
        recommending.connection.close()
    name = f"{items:,} items, in process" + ("" if rate else ", without a pause")
    budgets = BUDGETS_MS.get(items, (None, None)) if rate else (None, None)
    figures = {
        f"{name}, p{p}": Figure(float(np.percentile(took, p)), "ms", budget, "lower", f"{degraded} degraded")
        for p, budget in zip((50, 99), budgets, strict=True)
    }
    if rate:
        for stage, values in stages.items():
            note = f"p99 {np.percentile(values, 99):.0f}"
            figures[f"{name}, {stage}, p50"] = Figure(float(np.percentile(values, 50)), "us", None, "lower", note)
    return figures


def _over_http(url: str, items: int) -> Figures:
    parts = urlsplit(url)
    random = Random(9)
    took: list[float] = []
    refused = 0
    with closing(http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)) as link:
        for number in range(WARM_UP + REQUESTS):
            body = msgspec.json.encode({"user_id": f"user-{random.randrange(VISITORS)}"})
            time.sleep(1 / RATE)
            started_s = time.perf_counter()
            link.request("POST", "/recommend", body, {"content-type": "application/json"})
            with link.getresponse() as answer:
                content = answer.read()
            ended_s = time.perf_counter()
            if answer.status not in (200, 503):
                raise RuntimeError(f"answered {answer.status}: {content[:300]!r}")
            refused += answer.status == 503
            if number >= WARM_UP:
                took.append((ended_s - started_s) * 1e3)
    name = f"{items:,} items, POST /recommend"
    note = f"one client; {refused} refused, with those before they count"
    return {
        f"{name}, p50": Figure(float(np.percentile(took, 50)), "ms", None, "lower", note),
        f"{name}, p99": Figure(float(np.percentile(took, 99)), "ms", HTTP_BUDGET_MS, "lower", note),
    }
