"""What one look at a service's /metrics costs it: all of it, as Prometheus asks, and what the live dashboard wants.

A service scores at a steady rate. Blocks of some seconds follow each other, every other one without anybody who looks:
what a machine that others use does to one of them it does to its neighbours. The CPU that a block took above the two
beside it, over the looks in it, is what a look costs. What Redis knows is read for the dashboard once in 5 or 15 s
(`scoring/telling.py`), here once in a hundred looks, with an open dashboard in every third: half a look's time.
"""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

import numpy as np

from bench.figures import Figure, Figures
from bench.http_load import load
from bench.pages_cost import Place, cpu_s, payments, scoring_stack
from bench.scoring_peers import WARM_UP
from review.series_table import WANTED
from stream.records import Transaction, encode

RATE = 200.0
BLOCK_S = 4.0
ROUNDS = 8
CLIENTS = 8
LOOKS_PER_S = 20.0
TICK_S = 2.0
"""How often an open dashboard looks (`review/collector.py`)."""
DRAWS = 2_000
BUDGET_SHARE = 0.01
"""Of the work of scoring, with a dashboard open: what nobody can measure from outside."""
PATHS = {
    "all of /metrics": "/metrics",
    "what the dashboard wants": f"/metrics?{urlencode([('name[]', name) for name in sorted(WANTED)])}",
}


class Block(NamedTuple):
    """Some seconds of scoring: what was asked meanwhile ("" for nothing), how often, and the service's CPU seconds."""

    path: str
    looks: int
    scores: int
    cpu_s: float


def measure(rounds: int = ROUNDS, block_s: float = BLOCK_S, rate: float = RATE, home: Path | None = None) -> Figures:
    """All figures, on a stack of its own. Takes some three minutes.

    `home` has a plan and a champion; without one it is made in a temporary directory.
    """
    with scoring_stack(home) as stack:
        service = Place(stack.start_service(), stack.children["service"], [])
        calls = payments(seed=9)
        load(f"{service.url}/fraud/score", [encode(one) for one in islice(calls, WARM_UP)], CLIENTS)
        blocks = [_block(service, "", calls, rate, block_s)]
        for _ in range(rounds):
            for path in PATHS.values():
                blocks += [_block(service, path, calls, rate, block_s), _block(service, "", calls, rate, block_s)]
        return summed_up(blocks, rate)


def summed_up(blocks: list[Block], rate: float) -> Figures:
    """What blocks came to, of which every other one is of nobody who looks."""
    alone_us = float(np.median([block.cpu_s / block.scores for block in blocks if not block.path])) * 1e6
    figures: Figures = {
        "a score": Figure(alone_us, "us", None, "lower", f"CPU of the service, {rate:g} a second and nobody looks")
    }
    for name, path in PATHS.items():
        looks_ms = _looks_ms(blocks, path)
        drawn = np.random.default_rng(7).choice(looks_ms, (DRAWS, len(looks_ms)))
        low, high = np.percentile(np.median(drawn, axis=1), (2.5, 97.5))
        look_ms = float(np.median(looks_ms))
        note = f"CPU of the service, median of {len(looks_ms)} pairs, {low:.2f} to {high:.2f}"
        figures[f"{name}: a look"] = Figure(look_ms, "ms", None, "lower", note)
        figures[f"{name}: in scores"] = Figure(look_ms * 1e3 / alone_us, "scores", None, "lower", "")
    share = look_ms / 1e3 / TICK_S / (alone_us * 1e-6 * rate)
    figures["a dashboard is open"] = Figure(
        share, "of scoring", BUDGET_SHARE, "lower", f"a look each {TICK_S:g} s over {rate:g} scores a second"
    )
    return figures


def _looks_ms(blocks: list[Block], path: str) -> list[float]:
    """What a look cost in each block of this path, above the two blocks beside it."""
    found = []
    for index, block in enumerate(blocks):
        if block.path == path:
            beside = [blocks[index - 1], blocks[index + 1]]
            alone_s = float(np.mean([one.cpu_s / one.scores for one in beside]))
            found.append((block.cpu_s - alone_s * block.scores) / block.looks * 1e3)
    return found


def _block(service: Place, path: str, calls: Iterator[Transaction], rate: float, block_s: float) -> Block:
    bodies = [encode(one) for one in islice(calls, round(rate * block_s))]
    with _looking(service.url, path) as looks:
        before_s = cpu_s(service.child)
        load(f"{service.url}/fraud/score", bodies, CLIENTS, rate)
        took_s = cpu_s(service.child) - before_s
    return Block(path, len(looks), len(bodies), took_s)


@contextmanager
def _looking(url: str, path: str) -> Iterator[list[int]]:
    """Somebody who asks for a path again and again, and the lengths of the answers; nobody where there is no path."""
    ended = Event()
    lengths: list[int] = []

    def look() -> None:
        with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)) as asking:
            while not ended.wait(1 / LOOKS_PER_S):
                asking.request("GET", path)
                lengths.append(len(asking.getresponse().read()))

    looker = Thread(target=look, daemon=True)
    if path:
        looker.start()
    try:
        yield lengths
    finally:
        ended.set()
        if path:
            looker.join()
    if path and not min(lengths, default=0):
        raise RuntimeError(f"{url}{path} said nothing, which measures nothing")
