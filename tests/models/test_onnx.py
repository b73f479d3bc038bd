from __future__ import annotations

import pickle
from datetime import UTC, datetime

import msgspec
import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from models.contract import Matrix
from models.manifest import Calibration, Manifest
from models.onnx import InvalidArtifact, OnnxModel, raw_probabilities
from models.onnx_export import ExportMismatch, export, to_float32

MANIFEST = Manifest(
    name="fraud",
    version="v1",
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
    feature_names=("a", "b"),
    definition_hash="h",
    window_start=datetime(2025, 1, 1, tzinfo=UTC),
    window_end=datetime(2025, 2, 1, tzinfo=UTC),
    label_cutoff=datetime(2025, 2, 8, tzinfo=UTC),
)


@pytest.fixture(scope="module")
def logistic() -> bytes:
    X = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    return export(LogisticRegression().fit(X, [0, 0, 1, 1]), X).content


def amounts(count: int) -> Matrix:
    """Cents, as float64: neighbours so close that a threshold between them needs every bit."""
    rng = np.random.default_rng(0)
    X = np.array(np.round(np.exp(rng.normal(6.0, 3.0, size=(count, 8))), 2), dtype=np.float64)
    X[rng.random(X.shape) < 0.2] = np.nan
    return X


def test_boosted_trees_answer_alike_in_onnx_with_nulls_and_without() -> None:
    X = to_float32(amounts(3000))
    y = (np.nan_to_num(X[:, 0]) > np.nan_to_num(X[:, 1])).astype(int)
    trees = HistGradientBoostingClassifier(max_iter=10).fit(X, y)
    assert export(trees, X).max_difference < 1e-5


def test_a_model_fitted_on_finer_values_than_it_will_see_is_refused() -> None:
    X = 1e8 + np.arange(400.0).reshape(-1, 1)  # float32 knows every eighth of these
    trees = HistGradientBoostingClassifier(max_iter=5, min_samples_leaf=1).fit(X, np.arange(400) % 2)
    with pytest.raises(ExportMismatch, match="train on values rounded to float32"):
        export(trees, X)


def test_calibration_moves_the_score_as_its_formula_says(logistic: bytes) -> None:
    x = np.array([1.5, 1.6])
    raw = float(raw_probabilities(logistic, x.reshape(1, -1))[0])
    model = OnnxModel(logistic, msgspec.structs.replace(MANIFEST, calibration=Calibration(2.0, -1.0)))
    assert model.score_one(x) == pytest.approx(1 / (1 + np.exp(-(2.0 * np.log(raw / (1 - raw)) - 1.0))), abs=1e-12)


@pytest.mark.parametrize("probability", [0.0, 1e-12, 0.3, 1.0])
def test_a_calibrated_probability_stays_one(probability: float) -> None:
    assert 0.0 <= Calibration(30.0, 500.0).apply(probability) <= 1.0
    assert 0.0 <= Calibration(30.0, -500.0).apply(probability) <= 1.0


def test_calibration_leaves_nan_for_the_ensemble_to_see() -> None:
    assert np.isnan(Calibration(2.0, 0.0).apply(float("nan")))


def test_a_pickle_is_not_an_artifact() -> None:
    with pytest.raises(InvalidArtifact, match="not an ONNX file that loads"):
        OnnxModel(pickle.dumps(LogisticRegression()), MANIFEST)


def test_an_artifact_of_another_width_is_refused_at_load(logistic: bytes) -> None:
    with pytest.raises(InvalidArtifact, match=r"takes 2 features .* manifest names 3"):
        OnnxModel(logistic, msgspec.structs.replace(MANIFEST, feature_names=("a", "b", "c")))


def test_a_manifest_reads_back_as_it_was_written() -> None:
    manifest = msgspec.structs.replace(MANIFEST, metrics={"auc": 0.1 + 0.2, "cp": None}, parameters={"C": 1.0})
    assert Manifest.from_json(manifest.to_json()) == manifest
