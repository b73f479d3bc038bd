"""Where the time of one slate goes: each stage, and the parts within, as fast as they are when nobody disturbs them.

On a machine with others, a median says more of them than of a slate. So the same visitors are asked for again and
again; of each part the least time of each visitor counts, and the mean over the visitors is told. The median of all
rounds, which has the others in it, stands beside it for a whole stage.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any, NamedTuple

import hiredis
import numpy as np
from numpy.typing import NDArray

import models.recommender
import models.slate
import scoring.found
import scoring.recommending
import scoring.slate_log
import scoring.slate_making
from bench.figures import Figure, Figures
from bench.recommend_world import VISITORS
from headrace.assembly import open_ledger
from headrace.assembly_recommending import open_recommending
from headrace.settings import Settings
from models.candidates import CANDIDATES_LIMIT, NOTHING
from models.factors import searched_best, user_of
from models.item_index import NO_CATEGORY
from models.ranker import Ranker
from models.recommender import Recommender
from models.trending import any_leaders
from models.visit import Visit
from scoring.item_table import ItemTable
from scoring.recommend_bodies import RecommendRequest
from scoring.recommending import Recommending

ASKED = 40
"""Visitors."""
ROUNDS = 50
DEADLINE_MS = 10_000.0
REDIS = "Redis"


class Part(NamedTuple):
    """A function within a stage: whose it is, what it is called there, and what it does."""

    stage: str
    owner: Any
    name: str
    does: str


PARTS = (
    Part("read", scoring.recommending, "reads_of", "histories from bytes"),
    Part("visitor", scoring.recommending, "vector_of", "the visitor's features"),
    Part("candidates", Recommender, "visit", "what was learned of the visitor"),
    Part("candidates", scoring.found, "visit_of", "the visit, from the store and from that"),
    Part("candidates", models.recommender, "gather", "all sources, in turns, by the blend"),
    Part("candidates", scoring.found, "with_newcomers", "newcomers"),
    Part("candidates", scoring.found, "facts_of", "facts of candidates"),
    Part("candidates", scoring.found, "recents_of", "facts of recent items"),
    Part("features", ItemTable, "put_rows", "items' features"),
    Part("features", scoring.slate_making, "put_cross_features", "cross features"),
    Part("rank", Ranker, "rank", "the ranker"),
    Part("slate", models.slate, "compose_places", "places, Thompson's draws, propensities"),
    Part("reasons", scoring.slate_making, "packed_rows", "vectors to be logged"),
    Part("reasons", scoring.slate_making, "behind", "the items behind"),
    Part("log", scoring.slate_log, "encode", "the slate as JSON"),
)


class Clock:
    """The time of each part within one slate, in microseconds: what is called twice counts twice."""

    def __init__(self) -> None:
        self.parts_us: dict[str, float] = {}

    def watched(self, label: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, which tells how long it takes."""

        def watch(*given: Any, **named: Any) -> Any:
            began_ns = time.perf_counter_ns()
            try:
                return function(*given, **named)
            finally:
                took_us = (time.perf_counter_ns() - began_ns) / 1e3
                self.parts_us[label] = self.parts_us.get(label, 0.0) + took_us

        return watch


@contextmanager
def watching(clock: Clock, recommending: Recommending) -> Iterator[dict[str, tuple[int, int]]]:
    """Have all parts watched for so long; gives the commands and bytes that each round trip sends."""
    before = [getattr(part.owner, part.name) for part in PARTS]
    connection: Any = recommending.connection
    call, sent = connection.call, dict[str, tuple[int, int]]()

    def called(commands: Any, *given: Any) -> Any:
        stage = "read" if commands[0][0] == "XREAD" else "log"
        sent[stage] = (len(commands), sum(len(hiredis.pack_command(one)) for one in commands))
        return clock.watched(f"{stage}: {REDIS}", call)(commands, *given)

    for part, function in zip(PARTS, before, strict=True):
        setattr(part.owner, part.name, clock.watched(f"{part.stage}: {part.does}", function))
    connection.call = called
    try:
        yield sent
    finally:
        del connection.call
        for part, function in zip(PARTS, before, strict=True):
            setattr(part.owner, part.name, function)


def stages(settings: Settings, name: str) -> Figures:
    """The least time of each stage and part, as the mean over some visitors."""
    recommending, _, feeds = open_recommending(settings, open_ledger(settings))
    feeds.start()
    recommending.warm_up()
    random, clock = Random(5), Clock()
    requests = [RecommendRequest(user_id=f"user-{random.randrange(VISITORS)}") for _ in range(ASKED)]
    time.sleep(2.0)  # until items' features and the first snapshot are read
    gc.collect()
    gc.freeze()
    try:
        whole, medians = _least(lambda request: _whole_us(recommending, request), requests)
        with watching(clock, recommending) as sent:
            parts, _ = _least(lambda request: _parts_us(recommending, clock, request), requests)
        state = recommending.feed.state
        assert state is not None
        alone, _ = _least(lambda request: _sources_us(state.recommender, request), requests)
    finally:
        gc.unfreeze()
        feeds.stop()
        recommending.connection.close()
    notes = {f"{stage}: {REDIS}": f"{count} commands, {size:,} bytes sent" for stage, (count, size) in sent.items()}
    figures: Figures = {}
    for stage, took_us in whole.items():
        note = f"least of many, mean over visitors; median of all {medians[stage]:.1f}"
        figures[f"{name}, {stage}"] = Figure(took_us, "us", None, "lower", note)
        for label, part_us in parts.items():
            if label.startswith(f"{stage}: "):
                figures[f"  {label}"] = Figure(part_us, "us", None, "lower", notes.get(label, "watched, as above"))
        if stage == "candidates":
            for source, source_us in alone.items():
                figures[f"    {source} alone"] = Figure(
                    source_us, "us", None, "lower", "asked by itself, again and again"
                )
    return figures


def _least(
    measure: Callable[[RecommendRequest], dict[str, float]], requests: list[RecommendRequest]
) -> tuple[dict[str, float], dict[str, float]]:
    """By label the least of each request, as a mean over the requests; and the median of all."""
    took: dict[str, list[list[float]]] = {}
    for _ in range(ROUNDS):
        for place, request in enumerate(requests):
            for label, took_us in measure(request).items():
                took.setdefault(label, [[] for _ in requests])[place].append(took_us)
    least = {label: float(np.mean([min(own) for own in of_all if own])) for label, of_all in took.items()}
    return least, {label: float(np.median([us for own in of_all for us in own])) for label, of_all in took.items()}


def _whole_us(recommending: Recommending, request: RecommendRequest) -> dict[str, float]:
    began_ns, cpu_ns = time.perf_counter_ns(), time.thread_time_ns()
    slate = recommending.recommend(request, DEADLINE_MS)
    cpu_ns, ended_ns = time.thread_time_ns() - cpu_ns, time.perf_counter_ns()
    if slate.degraded:
        raise RuntimeError(f"a slate in a bench, without {slate.degraded}")
    return {"whole": (ended_ns - began_ns) / 1e3, "CPU of its thread": cpu_ns / 1e3, **slate.latency_us}


def _parts_us(recommending: Recommending, clock: Clock, request: RecommendRequest) -> dict[str, float]:
    clock.parts_us = {}
    recommending.recommend(request, DEADLINE_MS)
    return clock.parts_us


def _sources_us(recommender: Recommender, request: RecommendRequest) -> dict[str, float]:
    visit = recommender.visit(request.user_id, time.time_ns() // 1000)
    barred = recommender.index.barred(visit.seen, visit.items, NO_CATEGORY)
    clock = Clock()
    asked: dict[str, Callable[[Visit], Any]] = {
        "co-visitation": lambda visit: recommender.covisitation.scores(visit, barred).top(CANDIDATES_LIMIT),
        "factors": lambda visit: _by_factors(recommender, visit, barred),
        "content": lambda visit: recommender.content.scores(visit.items, visit.weights, NOTHING, barred).top(
            CANDIDATES_LIMIT
        ),
        "trending": lambda visit: recommender.trends.top_without(CANDIDATES_LIMIT, barred),
        "batch fit": lambda visit: (found := recommender.of_batch(visit, barred)) and found.top(CANDIDATES_LIMIT),
    }
    for source, ask in asked.items():
        clock.watched(source, ask)(visit)
    return clock.parts_us


def _by_factors(recommender: Recommender, visit: Visit, barred: NDArray[np.bool_]) -> None:
    before, after, bias, _, by_rank, _ = recommender.factors.columns
    counts, leaders, lengths, *_ = recommender.trends.columns
    context = visit.items[: len(by_rank)]
    user = np.empty(after.shape[1], dtype=np.float32)
    user_of(before, context, by_rank[: len(context)] * visit.weights[: len(context)], user)
    searched_best(after, bias, user, any_leaders(leaders, lengths, len(counts)), barred, CANDIDATES_LIMIT)
