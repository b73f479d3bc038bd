"""What the analysts' pages cost scoring: none, in the same process, and in a process of their own.

Two services score, one of which has the pages within it; a third process has pages alone and asks the first service's
/metrics. Blocks of some seconds follow each other, every other one on the service that nobody looks at: what a machine
that others use does to one of them it does to its neighbours. Each is held against the two beside it, and the median
of these ratios is told with the interval in which it lies 95 times of 100.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil

from bench.figures import Figure, Figures, show
from bench.http_load import load
from bench.pages_visitors import Kind, Seen, Visitors
from bench.review_world import World, fill
from bench.scoring_peers import WARM_UP, percentile, refused
from bench.soak import prepare
from headrace.review import FILE
from headrace.settings import Settings
from headrace.source import SimulatedSource
from headrace.stack import READY_TIMEOUT_S, Stack
from review.account import Caller
from review.accounts import Accounts
from review.case_store import CaseStore
from review.passwords import Cost, Passwords
from review.web.site import Site
from stream.child import Child, ChildError, free_port
from stream.records import Transaction, encode

RATE = 200.0
BLOCK_S = 5.0
"""Shorter ones would let the arm without anyone begin before the pages look seldom again."""
ROUNDS = 2
CASES = 10_000
DASHBOARDS, ANALYSTS = 20, 5
CLIENTS = 8
SETTLE_S = 0.5
DRAWS = 2_000
BUDGET = 1.05
"""Of the arrangement that the documentation recommends: what a bench on a machine that others use can tell from 1."""


class Arm(NamedTuple):
    """An arrangement: which service is asked for scores, and who is at the pages meanwhile."""

    name: str
    mounted: bool = False
    kind: Kind | None = None
    apart: bool = False


# The pages within the service look at the counts each 2 s for a minute after the last dashboard: the arm without anyone
# comes last, more than a minute after the arm with dashboards.
ARMS = (
    Arm("within, 20 dashboards", mounted=True, kind="dashboards"),
    Arm("none, once more"),
    Arm("alone, 20 dashboards", kind="dashboards", apart=True),
    Arm("alone, analysts page the queue", kind="analysts", apart=True),
    Arm("within, analysts page the queue", mounted=True, kind="analysts"),
    Arm("within, nobody there", mounted=True),
)
NONE = Arm("none")


class Block(NamedTuple):
    """What a block of load came to."""

    arm: Arm
    cpu_us: float
    p50_ms: float
    p99_ms: float
    latency_ms: list[float]
    refused: int
    seen: Seen


class Place(NamedTuple):
    """A process tree, where it answers, and who is signed in there."""

    url: str
    child: Child
    cookies: list[str]


def measure(
    rounds: int = ROUNDS,
    block_s: float = BLOCK_S,
    cases: int = CASES,
    rate: float = RATE,
    home: Path | None = None,
) -> Figures:
    """All figures, on a stack of its own. Takes some four minutes, and a minute and a half more with each round.

    `home` has a plan and a champion, and no cases; without one it is made in a temporary directory.
    """
    with scoring_stack(home) as stack:
        cookies = _fill(stack.home, cases)
        calls = payments(seed=8)
        return summed_up(
            _blocks(stack, cookies, calls, rounds, partial(_loaded, calls=calls, rate=rate, block_s=block_s)),
            cases,
            rate,
        )


@contextmanager
def scoring_stack(home: Path | None) -> Iterator[Stack]:
    """A stack of its own whose service is all that is not started yet.

    `home` has a plan and a champion; without one it is made in a temporary directory.
    """
    with (
        tempfile.TemporaryDirectory(prefix="headrace-bench-") as directory,
        Stack(Settings({"home": home or Path(directory)})) as stack,
    ):
        stack.start_redis()
        if home is None:
            prepare(stack, "bench")
        stack.start_workers()
        stack.start("learner", "learn")
        yield stack


def payments(seed: int) -> Iterator[Transaction]:
    """Payments of ten made-up years, as they are asked for."""
    source = SimulatedSource(seed=seed, days=30)
    first, last = source.span()
    return (one.transaction for one in source.between(first, last + timedelta(days=3650)))


def _blocks(
    stack: Stack, cookies: list[str], calls: Iterator[Transaction], rounds: int, loaded: Callable[[Arm, Place], Block]
) -> list[Block]:
    plain = Place(stack.start_service(), stack.children.pop("service"), [])
    stack.children["plain"] = plain.child
    settings = stack.settings
    stack.settings = settings.but(review_pages="on")
    mounted = Place(stack.start_service(), stack.children["service"], cookies)
    stack.settings = settings
    pages = _pages_alone(stack, plain.url, cookies)
    for place in (plain, mounted):
        load(f"{place.url}/fraud/score", [encode(one) for one in islice(calls, WARM_UP)], CLIENTS)
    block = partial(_block, plain, mounted, pages, loaded=loaded)
    blocks = [block(NONE)]
    for _ in range(rounds):
        for arm in ARMS:
            blocks += [block(arm), block(NONE)]
    os.kill(pages.child.pid, signal.SIGCONT)  # What stands still does not end when it is told to.
    return blocks


def _block(plain: Place, mounted: Place, pages: Place, arm: Arm, loaded: Callable[[Arm, Place], Block]) -> Block:
    service = mounted if arm.mounted else plain
    with _running(pages.child, arm.apart):
        if arm.kind is None:
            time.sleep(SETTLE_S)
            return loaded(arm, service)
        at = pages if arm.apart else mounted
        people = at.cookies[:DASHBOARDS] if arm.kind == "dashboards" else at.cookies[:ANALYSTS]
        with Visitors(at.url, arm.kind, people) as visitors:
            time.sleep(SETTLE_S)
            block = loaded(arm, service)
    if visitors.seen.refused or not visitors.seen.pages + visitors.seen.events:
        raise RuntimeError(f"{arm.name}: the visitors saw {visitors.seen}, which measures nothing")
    return block._replace(seen=visitors.seen)


def _loaded(arm: Arm, service: Place, calls: Iterator[Transaction], rate: float, block_s: float) -> Block:
    before_s = cpu_s(service.child)
    bodies = [encode(one) for one in islice(calls, round(rate * block_s))]
    found = load(f"{service.url}/fraud/score", bodies, CLIENTS, rate)
    cpu_us = (cpu_s(service.child) - before_s) * 1e6 / len(found.latency_ms)
    return Block(arm, cpu_us, percentile(found, 50), percentile(found, 99), found.latency_ms, refused(found), Seen())


@contextmanager
def _running(child: Child, is_there: bool) -> Iterator[None]:
    """The pages alone stand still but in the blocks about them: they ask for /metrics also with nobody there."""
    if is_there:
        os.kill(child.pid, signal.SIGCONT)
    try:
        yield
    finally:
        os.kill(child.pid, signal.SIGSTOP)


def cpu_s(child: Child) -> float:
    """The CPU seconds that a process and its children have taken so far."""
    root = psutil.Process(child.pid)
    times = [one.cpu_times() for one in (root, *root.children(recursive=True))]
    return float(sum(one.user + one.system for one in times))


def _fill(home: Path, count: int) -> list[str]:
    """A queue in this home and in that of the pages alone, and as many sessions as there are dashboards."""
    # Nobody ever types these passwords: their hashes need not be dear.
    passwords, now = Passwords(Cost(passes=1, memory_kib=8, lanes=1)), datetime.now(UTC)
    fill(str(home / FILE), World(waiting=count, closed=0, of_busy=0, of_full=1))
    with closing(CaseStore(home / FILE)) as store:
        accounts = Accounts(store.database, passwords)
        sessions = []
        for number in range(DASHBOARDS):
            name = f"analyst-{number}"
            link = accounts.invite(name, "analyst", "bench", now)
            caller = Caller("127.0.0.1", "", "")
            sessions.append(accounts.links.use(link, name, f"{link}-a", caller, now).session)
    apart = home / "apart"
    apart.mkdir()
    shutil.copy(home / FILE, apart / FILE)
    return [f"{Site().cookie('session')}={session}" for session in sessions]


def _pages_alone(stack: Stack, service: str, cookies: list[str]) -> Place:
    """`headrace review serve` beside the first service."""
    port = free_port()
    settings = stack.settings.but(home=stack.home / "apart", review_port=port, review_service=service)
    child = stack.start("pages", "review", "serve", environment=settings.environment())
    until_s = time.monotonic() + READY_TIMEOUT_S
    while not _listens(port):
        if not child.running or time.monotonic() > until_s:
            raise ChildError(f"the pages do not answer:\n{child.log_tail()}")
        time.sleep(0.2)
    return Place(f"http://localhost:{port}", child, cookies)


def _listens(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


def summed_up(blocks: list[Block], cases: int, rate: float) -> Figures:
    """What blocks came to, of which every other one is of `NONE`."""
    figures: Figures = {}
    for arm in (NONE, *ARMS):
        mine = [block for block in blocks if block.arm == arm]
        together = np.concatenate([block.latency_ms for block in mine])
        note = f"{len(mine)} blocks of {len(mine[0].latency_ms):,} requests at {rate:g} a second"
        if turned_away := sum(block.refused for block in mine):
            note += f", {turned_away:,} refused"
        if arm.kind == "dashboards":
            note += f"; {DASHBOARDS} dashboards heard {sum(block.seen.events for block in mine):,} ticks"
        elif arm.kind == "analysts":
            note += (
                f"; {ANALYSTS} analysts were shown {sum(block.seen.pages for block in mine):,} pages, {cases:,} cases"
            )
        cpu_us = float(np.median([block.cpu_us for block in mine]))
        figures[f"{arm.name}: CPU of the service, a request"] = Figure(cpu_us, "us", None, "lower", note)
        for p in (50, 99):
            value = float(np.percentile(together, p))
            figures[f"{arm.name}: p{p}"] = Figure(value, "ms", None, "lower", note)
    for arm in ARMS:
        for what in ("cpu_us", "p50_ms", "p99_ms"):
            figures[f"{arm.name}, over none: {what.partition('_')[0]}"] = _ratio(blocks, arm, what)
    return figures


def _ratio(blocks: list[Block], arm: Arm, what: str) -> Figure:
    ratios = []
    for index, block in enumerate(blocks):
        if block.arm == arm:
            beside = (blocks[index - 1], blocks[index + 1])
            ratios.append(getattr(block, what) / np.mean([getattr(one, what) for one in beside]))
    found = np.array(ratios)
    drawn = np.random.default_rng(7).choice(found, (DRAWS, len(found)))
    low, high = np.percentile(np.median(drawn, axis=1), (2.5, 97.5))
    budget = BUDGET if arm.apart and what == "cpu_us" else None
    note = f"median of {len(found)} pairs, {low:.3f} to {high:.3f}"
    return Figure(float(np.median(found)), "times", budget, "lower", note)


if __name__ == "__main__":
    # More rounds than `headrace bench pages` has: the intervals become narrower.
    show("headrace bench pages", measure(rounds=int(sys.argv[1])))
