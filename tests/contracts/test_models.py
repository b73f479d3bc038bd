"""One contract, every model: what `models.contract` promises to those who score."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import Protocol

import numpy as np
import pytest

from models.contract import Matrix, Vector
from models.manifest import Calibration, Manifest
from models.online import OnlineLearner
from models.onnx import OnnxModel
from models.onnx_export import export, to_float32
from models.snapshot import OnlineSnapshot
from training.families import FAMILIES

N_FEATURES = 6
NAMES = tuple(f"f{number}" for number in range(N_FEATURES))
SMALL = {"random_forest": {"n_estimators": 10}, "hist_gradient_boosting": {"max_iter": 10, "min_samples_leaf": 5}}


class Scoring(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    def score_one(self, x: Vector) -> float: ...


def rows(count: int, seed: int = 1) -> Matrix:
    rng = np.random.default_rng(seed)
    X: Matrix = np.exp(rng.normal(size=(count, N_FEATURES)))
    X[rng.random(X.shape) < 0.1] = np.nan
    return to_float32(X)


def labels(X: Matrix) -> np.ndarray[tuple[int], np.dtype[np.int8]]:
    return (np.nan_to_num(X[:, 0]) + np.nan_to_num(X[:, 1]) > 4).astype(np.int8)


@cache
def onnx_model(family: str) -> OnnxModel:
    X = rows(1500)
    y = labels(X)
    estimator, _ = FAMILIES[family].fit((X[:1000], y[:1000]), (X[1000:], y[1000:]), SMALL.get(family, {}))
    manifest = Manifest(
        name="fraud",
        version="v1",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        feature_names=NAMES,
        definition_hash="h",
        window_start=datetime(2025, 1, 1, tzinfo=UTC),
        window_end=datetime(2025, 2, 1, tzinfo=UTC),
        label_cutoff=datetime(2025, 2, 8, tzinfo=UTC),
        calibration=Calibration(1.2, -0.3),
    )
    return OnnxModel(export(estimator, X).content, manifest)


@cache
def online_learner() -> OnlineLearner:
    learner = OnlineLearner(NAMES)
    X = rows(500)
    for x, y in zip(X, labels(X), strict=True):
        learner.observe(x)
        learner.learn_one(x, bool(y))
    return learner


MODELS: dict[str, Callable[[], Scoring]] = {
    **{family: (lambda family=family: onnx_model(family)) for family in FAMILIES},  # type: ignore[misc]
    "online learner": online_learner,
    "online snapshot": lambda: OnlineSnapshot(online_learner().to_weights()),
    "online snapshot that learned nothing": lambda: OnlineSnapshot(OnlineLearner(NAMES).to_weights()),
}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> Scoring:
    return MODELS[request.param]()


def test_a_score_is_a_probability(model: Scoring) -> None:
    assert all(0.0 <= model.score_one(x) <= 1.0 for x in rows(200, seed=2))


def test_a_score_is_a_plain_float(model: Scoring) -> None:
    assert type(model.score_one(rows(1)[0])) is float


def test_unknown_values_still_give_a_finite_score(model: Scoring) -> None:
    assert 0.0 <= model.score_one(np.full(N_FEATURES, np.nan)) <= 1.0


def test_the_same_input_gives_the_same_score(model: Scoring) -> None:
    x = rows(1, seed=3)[0]
    assert len({model.score_one(x) for _ in range(5)}) == 1


def test_scoring_changes_neither_the_vector_nor_the_model(model: Scoring) -> None:
    x = rows(1, seed=4)[0]
    before, version = x.copy(), model.version
    model.score_one(x)
    np.testing.assert_array_equal(x, before)
    assert model.version == version


@pytest.mark.parametrize("extreme", [0.0, 1e300, -1e300, 1e-300])
def test_extreme_values_raise_nothing_and_never_leave_the_range(model: Scoring, extreme: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        score = model.score_one(np.full(N_FEATURES, extreme))
    assert math.isnan(score) or 0.0 <= score <= 1.0


def test_one_at_a_time_equals_all_at_once(model: Scoring) -> None:
    if not isinstance(model, OnnxModel | OnlineSnapshot):
        pytest.skip("only what serves scores batches")
    X = rows(50, seed=5)
    np.testing.assert_allclose(model.score_many(X), [model.score_one(x) for x in X], rtol=0, atol=1e-6)


def test_the_row_that_is_fraud_scores_above_the_row_that_is_not(model: Scoring) -> None:
    if model.version == "1.0":
        pytest.skip("has learned nothing")
    low, high = np.ones(N_FEATURES) * 0.5, np.ones(N_FEATURES) * 0.5
    high[:2] = 5.0
    assert model.score_one(high) > model.score_one(low)
