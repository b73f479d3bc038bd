"""The ranker's trees answer as onnxruntime does, bit for bit, or not at all."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from models.contract import Matrix
from models.manifest import Calibration, Manifest
from models.onnx import OnnxModel
from models.onnx_export import export, to_float32
from models.quick_trees import LEAVES_LIMIT, NotQuick, QuickTrees, quick_trees
from models.shap import ShapModel
from tests.manifests import made_up

FEATURES = 6
PLAIN = made_up("ranker", [f"f{n}" for n in range(FEATURES)])
CALIBRATED = msgspec.structs.replace(PLAIN, calibration=Calibration(slope=0.7, intercept=-0.3))


def rows_of(count: int) -> Matrix:
    rng = np.random.default_rng(3)
    X = np.round(rng.normal(size=(count, FEATURES)), 1)
    X[rng.random(X.shape) < 0.2] = np.nan
    return to_float32(X)


def artifact(estimator: Any, X: Matrix) -> bytes:
    y = (np.nan_to_num(X[:, 0] * X[:, 1]) + np.nan_to_num(X[:, 2]) > 0.3).astype(int)
    return export(estimator.fit(X, y), X[:200]).content


@pytest.fixture(scope="module")
def boosted() -> bytes:
    return artifact(HistGradientBoostingClassifier(max_iter=20, max_leaf_nodes=LEAVES_LIMIT), rows_of(1500))


@pytest.mark.parametrize("manifest", [PLAIN, CALIBRATED])
@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 300])
def test_the_trees_answer_as_onnxruntime_does(boosted: bytes, manifest: Manifest, count: int) -> None:
    model = OnnxModel(boosted, manifest)
    quick = quick_trees(ShapModel(boosted, manifest), model)
    rows = rows_of(count)
    assert np.array_equal(quick.score_many(rows.astype(np.float32)), model.score_many(rows))
    assert (quick.name, quick.version, quick.manifest) == ("ranker", "v1", manifest)


def test_trees_that_answer_otherwise_are_not_asked(boosted: bytes) -> None:
    model = OnnxModel(boosted, PLAIN)
    quick = QuickTrees(ShapModel(boosted, PLAIN))
    assert quick.answers_as(model)
    quick._nan_left = ~quick._nan_left
    assert not quick.answers_as(model)
    with pytest.raises(NotQuick, match="do not answer as onnxruntime"):
        quick_trees(ShapModel(boosted, PLAIN), OnnxModel(boosted, CALIBRATED))


def test_more_leaves_than_bits_are_left_to_onnxruntime() -> None:
    large = artifact(HistGradientBoostingClassifier(max_iter=3, max_leaf_nodes=LEAVES_LIMIT + 8), rows_of(3000))
    with pytest.raises(NotQuick, match="more than 32 leaves"):
        QuickTrees(ShapModel(large, PLAIN))


def test_what_is_no_trees_is_left_to_onnxruntime() -> None:
    linear = artifact(LogisticRegression(), np.nan_to_num(rows_of(300)))
    with pytest.raises(NotQuick, match="not boosted trees alone"):
        QuickTrees(ShapModel(linear, PLAIN))
