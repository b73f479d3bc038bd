from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

from models.contract import Matrix, Vector
from models.online import OnlineLearner
from models.snapshot import SCALED_LIMIT, InvalidWeights, OnlineSettings, OnlineSnapshot, OnlineWeights

NAMES = ("amount", "count", "speed")


def rows(count: int, seed: int = 0, spread: float = 3.0) -> Matrix:
    rng = np.random.default_rng(seed)
    X: Matrix = np.exp(rng.normal(2.0, spread, size=(count, len(NAMES)))) * rng.choice(
        [-1.0, 1.0], size=(count, len(NAMES))
    )
    X[rng.random(X.shape) < 0.15] = np.nan
    return X


def is_fraud(x: Vector) -> bool:
    return bool(x[0] > 20.0)


def taught(X: Matrix, learner: OnlineLearner | None = None) -> OnlineLearner:
    learner = OnlineLearner(NAMES) if learner is None else learner
    for x in X:
        learner.observe(x)
        learner.learn_one(x, is_fraud(x))
    return learner


def test_learning_resumed_from_weights_equals_uninterrupted_learning_bit_for_bit() -> None:
    X = rows(900)
    resumed = OnlineLearner(NAMES)
    for part in np.split(X, [1, 50, 99, 100, 101, 130, 400]):  # also while features warm up
        resumed = taught(part, OnlineLearner.from_weights(OnlineWeights.from_json(resumed.to_weights().to_json())))
    assert resumed.to_weights() == taught(X).to_weights()


def test_a_snapshot_answers_what_river_answers() -> None:
    learner = taught(rows(500))
    snapshot = OnlineSnapshot(learner.to_weights())
    assert max(abs(snapshot.score_one(x) - learner.score_one(x)) for x in rows(500, seed=1)) < 1e-12


def test_a_snapshot_stays_as_it_was_while_the_learner_goes_on() -> None:
    learner, x = taught(rows(100)), np.array([50.0, 1.0, 1.0])
    snapshot = OnlineSnapshot(learner.to_weights())
    before = snapshot.score_one(x)
    taught(rows(100, seed=1), learner)
    assert snapshot.score_one(x) == before
    assert learner.score_one(x) != before


def test_it_learns_what_fraud_looks_like() -> None:
    learner = taught(rows(3000, spread=1.0))
    assert learner.score_one(np.array([1000.0, 1.0, 1.0])) > 0.5 > learner.score_one(np.array([-1000.0, 1.0, 1.0]))


def test_a_null_does_not_move_the_scaler() -> None:
    learner = taught(rows(50))
    before = learner.to_weights()
    learner.observe(np.full(3, np.nan))
    assert learner.to_weights() == before


def test_a_null_scores_as_the_usual_value() -> None:
    learner = OnlineLearner(NAMES, settings=OnlineSettings(warm_up=4))
    for value in (3.0, 3.0, -3.0, -3.0):  # the usual value is 0
        learner.observe(np.full(3, value))
    learner.learn_one(np.full(3, 3.0), True)
    assert learner.score_one(np.array([np.nan, 1.0, 1.0])) == learner.score_one(np.array([0.0, 1.0, 1.0]))


def test_a_label_does_not_move_the_scaler() -> None:
    learner = taught(rows(50))
    before = learner.to_weights()
    learner.learn_one(np.full(3, 7.0), True)
    assert learner.to_weights().means == before.means


def test_the_first_value_after_a_long_silence_moves_the_score_within_bounds() -> None:
    learner = OnlineLearner(NAMES)
    for _ in range(10_000):
        learner.observe(np.zeros(3))
    learner.observe(np.full(3, 1.0))
    before = learner.to_weights()
    learner.learn_one(np.full(3, 1.0), True)
    after = learner.to_weights()
    step = before.settings.learning_rate * before.settings.fraud_weight
    assert max(np.abs(after.coefficients)) <= step * SCALED_LIMIT


def test_before_any_label_it_says_the_prior() -> None:
    learner = OnlineLearner(NAMES, settings=OnlineSettings(prior_fraud_rate=0.02, fraud_weight=7.0))
    assert learner.score_one(np.array([1.0, np.nan, 3.0])) == pytest.approx(0.02)


def test_weighting_fraud_leaves_the_mean_score_at_the_fraud_rate() -> None:
    rng = np.random.default_rng(0)
    learner = OnlineLearner(("noise",), settings=OnlineSettings(fraud_weight=10.0, learning_rate=0.01))
    scores = []
    for _ in range(10_000):
        x = rng.normal(size=1)
        learner.observe(x)
        learner.learn_one(x, bool(rng.random() < 0.05))
        scores.append(learner.score_one(x))
    assert 0.035 < np.mean(scores[5000:]) < 0.065


def ordinary(count: int = 1000, seed: int = 0) -> Vector:
    values: Vector = np.random.default_rng(seed).normal(50.0, 10.0, size=count)
    return values


def scaler_of(values: Vector) -> tuple[float, float]:
    """The mean and the standard deviation that one feature is scaled by after these values."""
    learner = OnlineLearner(("amount",))
    for value in values:
        learner.observe(np.array([value]))
    weights = learner.to_weights()
    return weights.means[0], math.sqrt(weights.variances[0])


def test_ordinary_values_are_scaled_by_their_own_mean_and_deviation() -> None:
    assert scaler_of(ordinary()) == pytest.approx((ordinary().mean(), ordinary().std()))


@pytest.mark.parametrize("at", [[0], [1], [99], [100], [999], list(range(9)), [*range(0, 900, 300)]])
@pytest.mark.parametrize("outlier", [1e12, -1e12, 1.7e308])
def test_outliers_do_not_own_the_scaler_whenever_they_come(at: list[int], outlier: float) -> None:
    values = ordinary()
    values[at] = outlier
    mean, deviation = scaler_of(values)
    assert abs(mean - 50.0) < 10.0
    assert 9.0 < deviation < 40.0


def test_values_that_become_usual_move_the_scaler() -> None:
    mean, deviation = scaler_of(np.concatenate([ordinary(200), 100.0 * ordinary(20_000)]))
    assert mean == pytest.approx(5000.0, rel=0.1)
    assert deviation == pytest.approx(1000.0, rel=0.5)


def test_a_feature_that_is_nearly_always_the_same_is_scaled_once_it_varies() -> None:
    learner = OnlineLearner(("risk",))
    for value in [*np.zeros(1000), 1.0, *np.zeros(200)]:
        learner.observe(np.array([value]))
    learner.learn_one(np.ones(1), True)
    assert learner.to_weights().coefficients[0] > 0.0


def test_an_outlier_in_a_feature_that_never_varied_does_not_own_it() -> None:
    mean, deviation = scaler_of(np.array([*np.zeros(500), 1e12, *np.zeros(500)]))
    assert (0.0 < mean < 1.0, 0.0 < deviation < 1.0) == (True, True)


def test_a_feature_says_nothing_until_enough_values_of_it_were_seen() -> None:
    learner = OnlineLearner(("amount", "speed"), settings=OnlineSettings(warm_up=3))
    for x in ([1e12, np.nan], [5.0, 7.0], [6.0, np.nan]):
        assert learner.to_weights().counts == (0, 0)
        learner.observe(np.array(x))
    assert learner.to_weights().counts == (3, 0)
    assert learner.to_weights().first == ((), (7.0,))


def test_it_is_ready_once_it_knows_enough_of_both_classes() -> None:
    learner = OnlineLearner(NAMES, settings=OnlineSettings(min_labels=2))
    x = np.ones(3)
    for y in (False, False, False, True):
        learner.learn_one(x, y)
    assert not OnlineSnapshot(learner.to_weights()).ready
    learner.learn_one(x, True)
    assert OnlineSnapshot(learner.to_weights()).ready


def test_the_version_says_how_many_labels_it_has_learned() -> None:
    assert taught(rows(30), OnlineLearner(NAMES, version="7")).version == "7.30"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"\x80\x04not json", "no weights"),
        (b"{}", "no weights"),
        (OnlineLearner(NAMES).to_weights().to_json().replace(b'"means":[0.0,', b'"means":['), "columns of"),
        (OnlineLearner(NAMES).to_weights().to_json().replace(b'"means":[0.0', b'"means":[1e999'), "no|finite"),
        (OnlineLearner(NAMES).to_weights().to_json().replace(b'"fraud_weight":2.0', b'"fraud_weight":1e9'), "no"),
    ],
)
def test_what_is_not_weights_is_refused(content: bytes, complaint: str) -> None:
    with pytest.raises(InvalidWeights, match=complaint):
        OnlineWeights.from_json(content)


LIGHT = """
import sys
import models
assert "onnxruntime" not in sys.modules, "models imports onnxruntime"
import models.snapshot
assert "river" not in sys.modules, "models.snapshot imports river"
import models.registry
assert not {"bentoml", "skl2onnx"} & {*sys.modules}, "models.registry imports bentoml or skl2onnx"
import models.onnx
assert "sklearn" not in sys.modules, "models.onnx imports sklearn"
import training.learner
assert "bentoml" not in sys.modules, "training.learner imports bentoml"
import training.learner_loop
assert "feast" not in sys.modules, "training.learner_loop imports feast"
import headrace.doctor, headrace.keys, headrace.run, scoring.service
assert "numba" not in sys.modules, "what only starts a process, or knows of features, imports numba"
"""


def test_importing_what_is_light_does_not_import_what_is_heavy() -> None:
    ended = subprocess.run([sys.executable, "-c", LIGHT], check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
