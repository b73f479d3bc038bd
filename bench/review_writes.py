"""What analysts and the keeper write, one by one, and analysts' claims while flags keep coming in."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from multiprocessing import get_context
from threading import Thread
from typing import NamedTuple

import msgspec

from bench.review_world import NOW, decision
from review.case_filter import QueueFilter
from review.case_store import CaseStore
from stream.records import Decision

MANY = 100
FLAGS_PER_S = 300
BATCHES_PER_S = 12
JOINING = 0.5
"""The share of flags whose card has an open case."""
PEOPLE = 4
UNDO_S = 20.0


class UnderLoad(NamedTuple):
    """Times of claims and of verdicts in ms, and how many flags a second were taken in meanwhile."""

    claims_ms: list[float]
    verdicts_ms: list[float]
    flags_per_s: float


class Writes:
    """Each is done again and again, on other cases. Nothing sweeps idle claims: their time is over by itself."""

    def __init__(self, store: CaseStore) -> None:
        self._store = store
        self._picked = random.Random(9)
        self._number = 0
        self._now = NOW
        free = QueueFilter(claimed="free")
        self._open = [case.case_id for case in store.queue(1000, None, free, NOW, "ann")][::-1]

    def by_name(self) -> dict[str, Callable[[], object]]:
        """All of them."""
        store = self._store
        return {
            "claim the next": lambda: store.claim_next("ann", self._later()),
            "claim the next of a search": lambda: store.claim_next("ann", self._later(), QueueFilter(text="kiosk")),
            "claim": lambda: store.claim(self._fresh(1)[0], "ann", self._later()),
            "decide": lambda: store.decide(self._fresh(1)[0], "fraud", "ann", self._later(), UNDO_S),
            "snooze": lambda: store.snooze(self._fresh(1)[0], NOW + timedelta(days=9), "ann", self._later()),
            f"{MANY} decided at once, and taken back": self._bulk,
            f"{MANY} snoozed at once": self._snoozed,
            "a flag joins an open case": lambda: store.take_in(self._flags(1, 1.0), {}),
            "50 flags taken in": lambda: store.take_in(self._flags(50, JOINING), {}),
            "labels that are due": lambda: store.mark_sent(store.unsent(MANY, self._later())),
        }

    def _bulk(self) -> None:
        ids, now = self._fresh(MANY), self._later()
        if self._store.decide_many(ids, "legit", "ann", now, UNDO_S).refused:
            raise RuntimeError("cases that are free were refused")
        self._store.undo_many(ids, "ann", now)
        self._open = ids + self._open

    def _snoozed(self) -> None:
        ids = self._fresh(MANY)
        self._store.snooze_many(ids, NOW + timedelta(hours=1), "ann", self._later())
        self._open = ids + self._open

    def _later(self) -> datetime:
        self._now += timedelta(seconds=1)
        return self._now

    def _fresh(self, count: int) -> list[str]:
        taken, self._open = self._open[-count:], self._open[:-count]
        return taken

    def _flags(self, count: int, joining: float) -> list[Decision]:
        self._number += count
        return flags(self._picked, f"w{self._number}", count, joining)


def flags(picked: random.Random, prefix: str, count: int, joining: float) -> list[Decision]:
    """Some of them on cards that have an open case."""
    found = []
    for number in range(count):
        one = decision(prefix, number, picked, NOW)
        if picked.random() < joining:
            card_id = f"card-tx-{picked.randrange(1000):07}"
            one = msgspec.structs.replace(one, record=msgspec.structs.replace(one.record, card_id=card_id))
        found.append(one)
    return found


def under_load(place: str, seconds: float) -> UnderLoad:
    """Analysts claim and decide while another process takes in flags."""
    context = get_context("spawn")
    stop, taken = context.Event(), context.Value("q", 0)
    keeper = context.Process(target=_keep, args=(place, stop, taken), daemon=True)
    keeper.start()
    claims: list[float] = []
    verdicts: list[float] = []
    failed: list[BaseException] = []
    with closing(CaseStore(place)) as store:
        until(lambda: taken.value > 0, 300.0)
        began, before = time.monotonic(), taken.value

        def work(name: str) -> None:
            try:
                while time.monotonic() - began < seconds:
                    started = time.perf_counter()
                    case = store.claim_next(name, NOW)
                    claimed = time.perf_counter()
                    if case is None:
                        raise RuntimeError("no case is left to claim")
                    store.decide(case.case_id, "legit", name, NOW, UNDO_S)
                    claims.append((claimed - started) * 1e3)
                    verdicts.append((time.perf_counter() - claimed) * 1e3)
                    time.sleep(0.2)
            except BaseException as error:
                failed.append(error)

        people = [Thread(target=work, args=(f"person-{number}",)) for number in range(PEOPLE)]
        for one in people:
            one.start()
        for one in people:
            one.join()
        rate = (taken.value - before) / (time.monotonic() - began)
    stop.set()
    keeper.join(60.0)
    if failed:
        raise failed[0]
    return UnderLoad(claims, verdicts, rate)


def until(holds: Callable[[], bool], limit_s: float) -> None:
    """Wait for it. Raises `TimeoutError`."""
    end = time.monotonic() + limit_s
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError("the keeper took nothing in")
        time.sleep(0.02)


def _keep(place: str, stop: object, taken: object) -> None:
    picked, number, began = random.Random(11), 0, time.monotonic()
    prefix = f"k{time.time_ns()}"
    with closing(CaseStore(place)) as store:
        while not stop.is_set():  # type: ignore[attr-defined]
            store.take_in(flags(picked, f"{prefix}-{number}", FLAGS_PER_S // BATCHES_PER_S, JOINING), {})
            number += 1
            taken.value = number * (FLAGS_PER_S // BATCHES_PER_S)  # type: ignore[attr-defined]
            stop.wait(max(0.0, began + number / BATCHES_PER_S - time.monotonic()))  # type: ignore[attr-defined]
