"""What ranking a hundred candidates and composing a slate of them costs: `python -m bench.ranking_cost`.

Processor time of one call, in process. The ranker is of the size that `training.ranker_fit` makes, fitted on noise:
real features take the same branches more often, so trees cost less there.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np

from bench.figures import Figure, Figures, show
from models.cross_features import CROSS_FEATURES, CandidateFacts, Recents, cross_features
from models.exploration import ExplorationSettings, seed_of, shares_of
from models.onnx import OnnxModel
from models.quick_trees import QuickTrees, quick_trees
from models.ranker import Ranker
from models.shap import ShapModel
from models.slate import Contenders, Exposures, SlateSettings, compose
from scoring.slate_rules import SlateItem, SlateRule, SlateRules
from training.ranker_fit import fit_ranker
from training.slate_rows import SlateRows

CANDIDATES, RECENTS, DIMENSIONS, OTHER_FEATURES = 100, 50, 32, 16
FITTED_SLATES, ROUNDS, CALLS = 3000, 21, 50
BUDGETS_US = {"cross features": 100.0, "ranker": 250.0, "slate": 150.0, "exploration": 100.0}


def measure() -> Figures:
    """Each step of one answer by itself."""
    rng = np.random.default_rng(0)
    names = [f"feature_{n}" for n in range(OTHER_FEATURES)]
    ranker = Ranker(_model(rng, (*names, *CROSS_FEATURES)), (), names)

    def units(count: int) -> Any:
        vectors = rng.normal(size=(count, DIMENSIONS)).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def columns(count: int) -> list[Any]:
        return [rng.random(count).astype(np.float32) for _ in range(4)]

    scores = rng.random((CANDIDATES, 5)).astype(np.float32)
    scores[rng.random(scores.shape) < 0.3] = np.nan
    categories = rng.integers(-1, 8, CANDIDATES).astype(np.int32)
    price, popularity, shown, clicked = columns(CANDIDATES)
    facts = CandidateFacts(categories, price, popularity, np.ones(CANDIDATES, int), shown, clicked, units(CANDIDATES))
    times_us = np.arange(RECENTS, 0, -1, dtype=np.int64) * 1_000_000
    recents = Recents(categories[:RECENTS], price[:RECENTS], np.ones(RECENTS, np.float32), times_us, units(RECENTS))
    cross = cross_features(scores, popularity, facts, recents, 10**9)
    rows = ranker.rows(np.zeros(0), rng.normal(size=(CANDIDATES, OTHER_FEATURES)), cross)
    contenders = Contenders(
        np.arange(CANDIDATES, dtype=np.int32),
        ranker.rank(rows, popularity).scores,
        np.zeros(CANDIDATES, dtype=np.int8),
        categories,
        np.zeros(CANDIDATES, dtype=np.bool_),
        facts.vectors,
    )
    shape = SlateSettings(category_cap=4, mmr_lambda=0.9)
    exploring = SlateSettings(category_cap=4, mmr_lambda=0.9, exploration=ExplorationSettings(places=(5,)))
    counts = np.floor(rng.random(CANDIDATES) * 200.0)
    clicks = np.floor(counts / 10.0)
    exposures = Exposures(counts, clicks, seed_of("a slate"))
    rules = SlateRules(
        [SlateRule(name=f"r{n}", when=f"price > {n} and category == 'c'", action="hide") for n in range(5)]
    )
    items = [SlateItem(f"i{n}", "d", None, 3.0, 1.0, 0.5, "trending") for n in range(CANDIDATES)]
    arms, own, shares = slice(16), exploring.exploration, np.empty(16)
    return {
        "cross features": _figure(
            "cross features", lambda: cross_features(scores, popularity, facts, recents, 10**9), "of 100 candidates"
        ),
        "ranker": _figure("ranker", lambda: ranker.rank(rows, popularity), f"100 rows of {len(ranker.names)} features"),
        "slate": _figure("slate", lambda: compose(contenders, 10, shape), "10 places: category cap and likeness"),
        "exploration": _figure(
            "exploration",
            lambda: shares_of(
                counts[arms],
                clicks[arms],
                own.prior_clicks,
                own.prior_misses,
                exposures.seed,
                own.draws,
                own.floor,
                shares,
            ),
            "64 draws of 16 arms",
        ),
        "slate that explores": _figure("", lambda: compose(contenders, 10, exploring, exposures), "one place of 10"),
        "five rules": _figure("", lambda: rules.apply(items), "asked of 100 candidates"),
    }


def _model(rng: np.random.Generator, names: tuple[str, ...]) -> QuickTrees:
    count = FITTED_SLATES * 10
    X = rng.normal(size=(count, len(names)))
    y = (X @ rng.normal(size=len(names)) + rng.normal(size=count) * 3.0 > 6.0).astype(np.int8)
    slate = np.repeat(np.arange(FITTED_SLATES), 10)
    rows = SlateRows(X, y, slate, np.zeros(count, dtype=np.int64), np.ones(count), slate, names, "bench")
    trained = fit_ranker(rows, created_at=datetime.now(UTC))
    model = OnnxModel(trained.onnx_bytes, trained.manifest)
    return quick_trees(ShapModel(trained.onnx_bytes, trained.manifest), model)


def _figure(name: str, call: Callable[[], Any], note: str = "") -> Figure:
    took = []
    for _ in range(ROUNDS):
        started = time.thread_time()
        for _ in range(CALLS):
            call()
        took.append((time.thread_time() - started) / CALLS * 1e6)
    return Figure(statistics.median(took), "us", BUDGETS_US.get(name), "lower", note)


if __name__ == "__main__":
    show("what ranking and a slate cost", measure())
