from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from models.onnx import OnnxModel, raw_probabilities
from models.onnx_export import to_float32
from models.registry import Registry
from stream.records import from_micros
from training.batch import NotEnoughToLearn, SplitDays, train
from training.families import FAMILIES
from training.frame import TrainingFrame
from training.metrics import DAY_US

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
SPLIT = SplitDays(gap=2, stop=2, calibrate=3)
SMALL: dict[str, dict[str, float | int | str | bool | None]] = {
    "random_forest": {"n_estimators": 10},
    "hist_gradient_boosting": {"max_iter": 20, "learning_rate": 0.3},
}
DAYS, A_DAY = 14, 250


def frame() -> TrainingFrame:
    """Two weeks in which large amounts at busy cards are fraud, mostly; the third feature is often unknown."""
    rng = np.random.default_rng(0)
    count = DAYS * A_DAY
    X = np.exp(rng.normal(size=(count, 3)))
    y = (X[:, 0] * X[:, 1] * np.exp(0.3 * rng.normal(size=count)) > 6.0).astype(np.int8)
    X[rng.random(count) < 0.3, 2] = np.nan
    return TrainingFrame(
        X=X,
        y=y,
        event_time_us=np.sort(rng.integers(0, DAYS * DAY_US, size=count)),
        card=rng.integers(0, 300, size=count),
        feature_names=("amount", "count", "distance"),
        definition_hash="h",
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_learns_converts_and_says_probabilities(family: str) -> None:
    trained = train(frame(), family, created_at=NOON, split=SPLIT, changes=SMALL.get(family))
    manifest = trained.manifest
    auc, rate, mean = (manifest.metrics[name] for name in ("auc", "fraud_rate", "mean_score"))
    assert auc is not None and auc > 0.9
    assert mean == pytest.approx(rate, abs=0.01)
    assert manifest.max_onnx_difference is not None
    assert manifest.max_onnx_difference <= 1e-5
    assert manifest.segments["all"].rows == manifest.metrics["measured_rows"]
    assert manifest.calibration_error is not None
    assert manifest.single_row_latency_us > 0
    model = OnnxModel(trained.onnx_bytes, manifest)
    assert model.score_one(np.array([9.0, 9.0, np.nan])) > 0.5 > model.score_one(np.array([0.1, 0.1, 1.0]))


def test_the_last_days_are_never_fitted_on() -> None:
    manifest = train(frame(), "logistic_regression", created_at=NOON, split=SPLIT).manifest
    assert manifest.window_end < from_micros((DAYS - 7) * DAY_US)
    assert manifest.metrics["measured_rows"] == np.count_nonzero(frame().event_time_us >= (DAYS - 3) * DAY_US)


def test_what_happens_on_the_last_days_does_not_change_what_was_fitted() -> None:
    before = frame()
    y = before.y.copy()
    y[before.event_time_us >= (DAYS - 3) * DAY_US] ^= 1
    first = train(before, "logistic_regression", created_at=NOON, split=SPLIT)
    second = train(replace(before, y=y), "logistic_regression", created_at=NOON, split=SPLIT)
    assert first.onnx_bytes == second.onnx_bytes
    assert first.manifest.calibration != second.manifest.calibration


def test_the_order_of_rows_does_not_matter_to_the_split() -> None:
    rows = np.random.default_rng(1).permutation(DAYS * A_DAY)
    a = frame()
    b = replace(a, X=a.X[rows], y=a.y[rows], event_time_us=a.event_time_us[rows], card=a.card[rows])
    kinds = [train(each, "logistic_regression", created_at=NOON, split=SPLIT).manifest for each in (a, b)]
    assert kinds[0].window_end == kinds[1].window_end
    assert kinds[0].metrics["auc"] == pytest.approx(kinds[1].metrics["auc"], abs=1e-3)


def test_what_was_trained_registers_and_loads(tmp_path: Path) -> None:
    trained = train(frame(), "logistic_regression", created_at=NOON, split=SPLIT)
    registry = Registry(tmp_path)
    version = registry.register(*trained)
    assert version.startswith("20260131-120000-")
    assert registry.load("fraud", version).manifest.metrics == trained.manifest.metrics


def test_too_few_days_say_so() -> None:
    with pytest.raises(NotEnoughToLearn, match="the days to fit have 0 fraud among 0 rows, of 14 days"):
        train(frame(), created_at=NOON, split=SplitDays(gap=14))


def test_labels_that_contradict_the_model_do_not_turn_its_order_around() -> None:
    turned = frame()
    y = turned.y.copy()
    y[turned.event_time_us >= (DAYS - 3) * DAY_US] ^= 1
    manifest = train(replace(turned, y=y), "logistic_regression", created_at=NOON, split=SPLIT).manifest
    assert manifest.calibration.is_identity
    auc = manifest.metrics["auc"]
    assert auc is not None and auc < 0.5


def test_an_unknown_family_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'deep' is unknown; use one of logistic_regression, random_forest"):
        train(frame(), "deep", created_at=NOON)


def test_an_infinite_value_names_its_feature() -> None:
    X = frame().X.copy()
    X[3, 1] = np.inf
    with pytest.raises(ValueError, match="feature 'count' is infinite"):
        replace(frame(), X=X)


def test_stages_are_told_as_they_begin() -> None:
    stages: list[str] = []
    train(frame(), "logistic_regression", created_at=NOON, split=SPLIT, on_stage=stages.append)
    assert [stage.split()[0] for stage in stages] == ["fit", "convert", "calibrate"]


@pytest.mark.parametrize(
    ("family", "weights"),
    [
        ("logistic_regression", {"class_weight": "balanced"}),
        ("hist_gradient_boosting", {"class_weight": "balanced"}),
        ("lightgbm", {"scale_pos_weight": 50.0}),
    ],
)
def test_classes_that_a_person_weights_are_calibrated_back_to_the_fraud_rate(
    family: str, weights: dict[str, str | float]
) -> None:
    rng, overlapping = np.random.default_rng(2), frame()
    chance = 1.0 / (1.0 + np.exp(4.0 - np.log(overlapping.X[:, 0])))
    overlapping = replace(overlapping, y=(rng.random(len(chance)) < chance).astype(np.int8))
    trained = train(overlapping, family, created_at=NOON, split=SPLIT, changes=dict(weights))
    rate, mean = (trained.manifest.metrics[name] for name in ("fraud_rate", "mean_score"))
    assert mean == pytest.approx(rate, rel=0.02)
    raw = raw_probabilities(trained.onnx_bytes, to_float32(overlapping.X))
    assert raw.mean() > 3.0 * overlapping.y.mean(), "the weight does nothing: there is nothing to take back"
