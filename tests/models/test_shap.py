"""Shapley values against the definition: every subset of features, one by one."""

from __future__ import annotations

import math
from itertools import combinations
from math import factorial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.manifest import Calibration, Manifest, log_odds
from models.onnx import OnnxModel
from models.onnx_export import export, to_float32
from models.shap import NotExplainable, ShapModel
from models.shap_trees import LEAF, Trees, margin, tree_changes, tree_values
from tests.manifests import made_up
from training.families import FAMILIES

N_FEATURES = 8
ALONE = np.arange(N_FEATURES)
SMALL = {
    "random_forest": {"n_estimators": 20},
    "hist_gradient_boosting": {"max_iter": 40},
    "lightgbm": {"n_estimators": 40},
}
"""Few trees, of the depth that they usually have."""
Row = NDArray[np.float64]


def manifest(**fields: Any) -> Manifest:
    return made_up("m", [f"f{i}" for i in range(N_FEATURES)], **fields)


def random_tree(rng: np.random.Generator, depth: int) -> Trees:
    """Three trees with thresholds and values from a short list, so that features return and ties happen."""
    feature: list[int] = []
    value: list[float] = []
    nan_left: list[bool] = []
    left: list[int] = []
    right: list[int] = []

    def grow(levels: int) -> int:
        here = len(feature)
        is_leaf = levels == 0 or rng.random() < 0.15
        feature.append(LEAF if is_leaf else int(rng.integers(N_FEATURES)))
        value.append(float(rng.normal()) if is_leaf else float(rng.integers(-2, 3)))
        nan_left.append(bool(rng.random() < 0.5))
        left.append(0)
        right.append(0)
        if not is_leaf:
            left[here], right[here] = grow(levels - 1), grow(levels - 1)
        return here

    roots, features, lefts, rights = (
        np.array(part, dtype=np.int64) for part in ([grow(depth) for _ in range(3)], feature, left, right)
    )
    return Trees(roots, features, np.array(value), lefts, rights, np.array(nan_left), depth)


def random_row(rng: np.random.Generator) -> Row:
    return np.where(rng.random(N_FEATURES) < 0.2, np.nan, rng.integers(-3, 4, N_FEATURES).astype(np.float64))


def by_definition(trees: Trees, x: Row, reference: Row) -> Row:
    """Shapley's sum over all subsets."""
    worth = {}
    everybody = range(N_FEATURES)
    for size in range(N_FEATURES + 1):
        for subset in combinations(everybody, size):
            mixed = reference.copy()
            mixed[list(subset)] = x[list(subset)]
            worth[frozenset(subset)] = margin(trees, mixed)
    found = np.zeros(N_FEATURES)
    for i in everybody:
        for coalition, value in worth.items():
            if i not in coalition:
                weight = factorial(len(coalition)) * factorial(N_FEATURES - len(coalition) - 1) / factorial(N_FEATURES)
                found[i] += weight * (worth[coalition | {i}] - value)
    return found


@settings(deadline=None)  # the first one compiles
@given(st.integers(0, 10_000), st.integers(0, 7))
def test_tree_values_are_shapleys(seed: int, depth: int) -> None:
    rng = np.random.default_rng(seed)
    trees, x, reference = random_tree(rng, depth), random_row(rng), random_row(rng)
    values = tree_values(trees, x, reference)
    assert values == pytest.approx(by_definition(trees, x, reference), abs=1e-12)
    assert values.sum() == pytest.approx(margin(trees, x) - margin(trees, reference), abs=1e-12)


@settings(deadline=None)  # the first one compiles
@given(st.integers(0, 10_000), st.integers(0, 7))
def test_changes_are_those_of_scoring_each_variant(seed: int, depth: int) -> None:
    rng = np.random.default_rng(seed)
    trees, x, reference = random_tree(rng, depth), random_row(rng), random_row(rng)
    group = rng.integers(0, 4, N_FEATURES)
    group[0] = 3
    for g, change in enumerate(tree_changes(trees, x, reference, group)):
        variant = np.where(group == g, reference, x)
        assert change == pytest.approx(margin(trees, variant) - margin(trees, x), abs=1e-12)


class Fitted:
    """A model of each family, and rows with unknown values that it knows."""

    def __init__(self, family: str) -> None:
        rng = np.random.default_rng(7)
        rows = to_float32(rng.normal(size=(1500, N_FEATURES)))
        rows[rng.random(rows.shape) < 0.1] = np.nan
        known = np.nan_to_num(rows)
        fraud = (known[:, 0] + known[:, 1] ** 2 + known[:, 2] * known[:, 3] > 1.2).astype(np.int8)
        estimator, _ = FAMILIES[family].fit((rows, fraud), (rows, fraud), SMALL.get(family, {}))
        self.content = export(estimator, rows, 1e-3).content
        self.rows = rows[:60]
        self.manifest = manifest(calibration=Calibration(1.3, -0.4))
        self.model = OnnxModel(self.content, self.manifest)
        self.read = ShapModel(self.content, self.manifest)


@pytest.fixture(scope="module", params=FAMILIES)
def fitted(request: pytest.FixtureRequest) -> Fitted:
    return Fitted(request.param)


def test_values_sum_to_the_difference_and_the_margin_is_the_score(fitted: Fitted) -> None:
    reference = np.where(np.arange(N_FEATURES) == 5, np.nan, 0.25)
    for x in fitted.rows:
        shared = fitted.read.explain(x, reference)
        assert shared.values.sum() == pytest.approx(shared.margin - shared.base, abs=1e-6)
        for row, said in ((x, shared.margin), (reference, shared.base)):
            score = (
                1.0 / (1.0 + math.exp(-said)) if shared.unit == "log-odds" else fitted.manifest.calibration.apply(said)
            )
            assert score == pytest.approx(fitted.model.score_one(row), abs=2e-6)


def test_what_is_usual_or_unused_adds_nothing(fitted: Fitted) -> None:
    x = fitted.rows[0]
    reference = x.copy()
    reference[0] = 1.5
    shared = fitted.read.explain(x, reference)
    assert np.flatnonzero(shared.values).tolist() in ([0], [])
    assert not fitted.read.explain(x, x).values.any()


def test_drops_are_those_of_a_batch_of_variants(fitted: Fitted) -> None:
    reference = np.full(N_FEATURES, 0.1)
    pairs = ALONE // 2
    for x in fitted.rows[:20]:
        whole = log_odds(np.array([fitted.model.score_one(x)]))[0]
        for group, drops in zip((ALONE, pairs), fitted.read.drops(x, reference, ALONE, pairs), strict=True):
            variants = np.array([np.where(group == g, reference, x) for g in range(len(drops))])
            assert drops == pytest.approx(whole - log_odds(fitted.model.score_many(variants)), abs=2e-3)


def test_a_linear_models_values_are_its_weights_times_the_differences() -> None:
    fitted = Fitted("logistic_regression")
    x, reference = np.zeros(N_FEATURES), np.zeros(N_FEATURES)
    x[2] = 1.0
    one = fitted.read.explain(x, reference).values
    x[2] = 3.0
    assert fitted.read.explain(x, reference).values == pytest.approx(3 * one, abs=1e-5)


@pytest.mark.parametrize("content", [b"", b"no model"])
def test_bytes_that_are_no_model_are_refused(content: bytes) -> None:
    with pytest.raises(NotExplainable, match="model 'm' version 'v1'"):
        ShapModel(content, manifest())


def test_a_step_that_is_not_known_is_named(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    take, give = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, N_FEATURES]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Sigmoid", ["x"], ["y"])], "g", [take], [give])
    path = tmp_path / "model.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    with pytest.raises(NotExplainable, match="'Sigmoid'"):
        ShapModel(path, manifest())
