"""LightGBM in ONNX: the same answers where the two differ by nature, on thresholds and on nulls."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from models.contract import Matrix
from models.lightgbm_onnx import NotConvertible, booster_onnx
from models.manifest import Parameter
from models.onnx import OnnxModel, raw_probabilities
from models.onnx_export import export, to_float32
from models.shap import ShapModel
from tests.training.test_batch import NOON, SPLIT, frame
from training.batch import train
from training.families import FAMILIES
from training.lightgbm_trees import LightGbm
from training.metrics import Labels

FAMILY = FAMILIES["lightgbm"]


def rows(count: int = 3000) -> tuple[Matrix, Labels]:
    """Four features: the second and third with nulls, which mean fraud in the third; the others never null."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(count, 4))
    y = ((X[:, 0] - X[:, 1] > 1.5) | (X[:, 2] > 1.6) | (X[:, 3] < -2.0)).astype(np.int8)
    X[(rng.random(count) < 0.2) & (y == 0), 1] = np.nan
    X[(rng.random(count) < 0.4) & (y == 1), 2] = np.nan
    return to_float32(X), y


def fitted(**changes: Parameter) -> LightGbm:
    X, y = rows()
    estimator, _ = FAMILY.fit((X, y), (X, y), changes)
    assert isinstance(estimator, LightGbm)
    return estimator


def thresholds_of(node: dict[str, Any]) -> list[tuple[int, float]]:
    if "leaf_value" in node:
        return []
    below = thresholds_of(node["left_child"]) + thresholds_of(node["right_child"])
    return [(node["split_feature"], node["threshold"]), *below]


def test_each_feature_may_be_null_whether_it_was_so_when_fitted_or_not() -> None:
    estimator, (X, _) = fitted(), rows()
    for feature in range(X.shape[1]):
        blanked = X.copy()
        blanked[:, feature] = np.nan
        assert export(estimator, blanked).max_difference <= 1e-5
        assert np.any(estimator.predict_proba(blanked) != estimator.predict_proba(X)), "the null changes nothing here"
    assert export(estimator, np.full((1, 4), np.nan)).max_difference <= 1e-5


def test_values_next_to_each_threshold_go_to_the_same_side() -> None:
    estimator, (X, _) = fitted(), rows()
    dump = estimator._classifier.booster_.dump_model()
    splits = [split for tree in dump["tree_info"] for split in thresholds_of(tree["tree_structure"])]
    assert len(splits) > 500
    near = []
    for place, (feature, threshold) in enumerate(splits):
        nearest = np.float32(threshold)
        for value in (np.nextafter(nearest, np.float32(-9e9)), nearest, np.nextafter(nearest, np.float32(9e9))):
            near.append(X[place % len(X)].copy())
            # LightGBM's 0 reaches to 1e-35 on either side.
            near[-1][feature] = 0.0 if abs(value) < 1e-34 else value
    assert export(estimator, np.array(near)).max_difference <= 1e-6


def test_the_same_rows_give_the_same_bytes() -> None:
    assert fitted().onnx_bytes() == fitted().onnx_bytes()


def test_it_stops_at_the_tree_that_was_best_on_later_rows() -> None:
    (X, y), rng = rows(), np.random.default_rng(2)
    noise = rng.integers(0, 2, len(y)).astype(np.int8)
    estimator, _ = FAMILY.fit((X, noise), (X[::-1], y), {"learning_rate": 0.3})
    assert isinstance(estimator, LightGbm)
    assert 0 < estimator._trees < 300
    # The artifact has these trees and no more.
    assert export(estimator, X).max_difference <= 1e-5


def test_where_nothing_can_be_learned_the_answer_is_the_rate() -> None:
    X = np.zeros((1000, 2))
    y = (np.arange(1000) % 10 == 0).astype(np.int8)
    estimator, _ = FAMILY.fit((X, y), (X, y), {})
    assert isinstance(estimator, LightGbm)
    content = estimator.onnx_bytes()
    assert raw_probabilities(content, np.array([[5.0, np.nan]])) == pytest.approx([0.1], abs=1e-6)


def test_its_reasons_are_exact_by_the_fast_way() -> None:
    trained = train(frame(), "lightgbm", created_at=NOON, split=SPLIT)
    model, explained = OnnxModel(*trained), ShapModel(*trained)
    reference = np.array([1.0, 1.0, np.nan])
    for x in (np.array([9.0, 9.0, np.nan]), np.array([0.1, 4.0, 2.0])):
        found = explained.explain(x, reference)
        assert found.unit == "log-odds"
        assert 1.0 / (1.0 + np.exp(-found.margin)) == pytest.approx(model.score_one(x), abs=1e-5)
        assert found.base + found.values.sum() == pytest.approx(found.margin, abs=1e-9)


def test_a_form_that_onnx_cannot_have_is_refused_by_name() -> None:
    averaged = fitted(boosting_type="rf", subsample=0.5, subsample_freq=1, n_iter_no_change=None)
    with pytest.raises(NotConvertible, match="averages its trees; leave objective, sigmoid and boosting_type"):
        averaged.onnx_bytes()
    dump = fitted(n_estimators=2)._classifier.booster_.dump_model()
    dump["tree_info"][0]["tree_structure"]["missing_type"] = "Zero"
    with pytest.raises(NotConvertible, match="'Zero' for missing; leave zero_as_missing off"):
        booster_onnx(dump)


def test_a_misspelt_parameter_is_an_error_and_names_the_usual_ones() -> None:
    for family in FAMILIES:
        with pytest.raises(ValueError, match=r"'leafs'; usual are .*(C|max_depth|max_leaf_nodes|num_leaves)"):
            train(frame(), family, created_at=NOON, split=SPLIT, changes={"leafs": 3})


WITHOUT = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("lightgbm", "mlflow"):
            raise ImportError(name)
sys.meta_path.insert(0, Blocked())
from tests.training.test_batch import NOON, SPLIT, frame
from training.batch import train
from training.extras import MissingExtra
from training.mlflow_store import check
train(frame(), "logistic_regression", created_at=NOON, split=SPLIT)
for extra, ask in {
    "lightgbm": lambda: train(frame(), "lightgbm", created_at=NOON, split=SPLIT),
    "mlflow": lambda: check("sqlite:///none.db"),
}.items():
    try:
        ask()
    except MissingExtra as error:
        assert f"pip install 'headrace[{extra}]'" in str(error)
    else:
        raise SystemExit(f"{extra} was found")
"""


def test_without_an_extra_all_else_works_and_asking_for_it_says_how_to_get_it() -> None:
    subprocess.run([sys.executable, "-c", WITHOUT], check=True, timeout=240)


@pytest.mark.parametrize(
    ("weights", "fraud_weight"),
    [({"class_weight": "balanced"}, None), ({"scale_pos_weight": 5.0}, 5.0), ({"class_weight": {0: 1.0, 1: 7.0}}, 7.0)],
)
def test_later_rows_weigh_as_the_fitted_ones_do_and_not_by_their_own_share_of_fraud(
    weights: dict[str, Any], fraud_weight: float | None
) -> None:
    X, y = rows()
    half = np.concatenate([np.flatnonzero(y == 1), np.flatnonzero(y == 0)[: int(y.sum())]])
    estimator, _ = FAMILY.fit((X, y), (X[half], y[half]), {**weights, "n_estimators": 20})
    assert isinstance(estimator, LightGbm)
    found = estimator._classifier.best_score_["valid_0"]["binary_logloss"]
    said = estimator.predict_proba(X[half])[np.arange(len(half)), y[half]]
    weight = np.where(y[half] == 1, fraud_weight or (y == 0).sum() / (y == 1).sum(), 1.0)
    assert found == pytest.approx(-np.average(np.log(said), weights=weight), rel=1e-6)
    assert found != pytest.approx(-np.mean(np.log(said)), rel=1e-3), "the weights make no difference here"


def test_a_weight_that_would_reach_the_fitted_rows_alone_is_refused_with_the_remedy() -> None:
    with pytest.raises(ValueError, match=r"'is_unbalance' would weigh .*; give class_weight='balanced'"):
        train(frame(), "lightgbm", created_at=NOON, split=SPLIT, changes={"is_unbalance": True})
