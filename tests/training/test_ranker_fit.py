"""A ranker learns from slates as they were served, and is not taken in by where things stood."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import pytest

from models.contract import Matrix
from models.cross_features import CROSS_FEATURES
from models.manifest import Manifest
from models.onnx import OnnxModel
from models.ranker import BLEND_VERSION, Ranker, UnfitRanker
from models.registry import Registry
from training.batch import NotEnoughToLearn, Trained
from training.ranker_fit import BLEND, SlateSplit, fit_ranker, split_slates
from training.slate_rows import WEIGHT_LIMIT, SlateRows, attention, ndcg, weights

T0 = datetime(2026, 1, 31, tzinfo=UTC)
ITEM, OTHER = CROSS_FEATURES.index("cross_likeness_last"), CROSS_FEATURES.index("cross_price_log")
PLACES = 8
FAST = {"max_iter": 20}


def vectors(count: int, seed: int = 0) -> Matrix:
    X = np.full((count, len(CROSS_FEATURES)), np.nan)
    X[:, [ITEM, OTHER]] = np.random.default_rng(seed).normal(size=(count, 2))
    X[:, CROSS_FEATURES.index(BLEND)] = X[:, OTHER]
    return X


def shown(slates: int, eta: float = 1.0) -> SlateRows:
    """Slates in which what is asked for is `ITEM`, and an old ranker put what is high in `OTHER` first."""
    rng = np.random.default_rng(0)
    X = vectors(slates * PLACES)
    order = np.lexsort((-X[:, OTHER], np.repeat(np.arange(slates), PLACES)))
    X = X[order]
    place = np.tile(np.arange(1, PLACES + 1), slates)
    appeal = 1.0 / (1.0 + np.exp(1.0 - 1.5 * X[:, ITEM]))
    y = (rng.random(len(X)) < appeal * attention(place, eta)).astype(np.int8)
    slate = np.repeat(np.arange(slates), PLACES)
    return SlateRows(X, y, slate, place, np.ones(len(X)), slate * 1_000_000, CROSS_FEATURES, "h")


@pytest.fixture(scope="module")
def rows() -> SlateRows:
    return shown(2500)


@pytest.fixture(scope="module")
def trained(rows: SlateRows) -> Trained:
    return fit_ranker(rows, created_at=T0, eta=1.0, changes=FAST)


def lean(trained: Trained) -> float:
    """How much more probable what the old ranker put first is held to be than what it put last, all else alike."""
    X = vectors(2000, seed=1)
    low, high = X.copy(), X.copy()
    for name in (OTHER, CROSS_FEATURES.index(BLEND)):
        low[:, name], high[:, name] = -1.0, 1.0
    model = OnnxModel(trained.onnx_bytes, trained.manifest)
    return float(np.mean(model.score_many(high)) / np.mean(model.score_many(low)))


def test_weighed_by_place_the_old_order_is_not_learned_again(rows: SlateRows, trained: Trained) -> None:
    naive = fit_ranker(rows, created_at=T0, eta=0.0, changes=FAST)
    assert lean(naive) > 2.0
    assert 0.6 < lean(trained) < 1.5


def test_the_place_is_no_feature(trained: Trained) -> None:
    assert trained.manifest.feature_names == CROSS_FEATURES
    assert not [name for name in CROSS_FEATURES if "place" in name or "position" in name]


def test_what_was_fitted_is_held_by_the_registry_and_ranks(tmp_path: Path, trained: Trained) -> None:
    registry = Registry(tmp_path)
    version = registry.register(trained.onnx_bytes, trained.manifest)
    ranker = Ranker(registry.load("ranker", version))
    X = vectors(50, seed=2).astype(np.float32)
    ranked = ranker.rank(X, np.zeros(50, dtype=np.float32))
    assert ranked.version == ranker.version == version
    assert np.corrcoef(ranked.scores, X[:, ITEM])[0, 1] > 0.8


def test_the_manifest_says_how_good_it_is_on_slates_that_were_not_fitted(trained: Trained) -> None:
    manifest = Manifest.from_json(trained.manifest.to_json())
    metrics = manifest.metrics
    assert (metrics["ndcg_10"] or 0.0) > (metrics["ndcg_10_blend"] or 0.0) + 0.05
    assert (metrics["auc"] or 0.0) > 0.6
    assert metrics["measured_slates"] == 500.0
    assert metrics["fitted_rows"] == 1750.0 * PLACES
    assert (manifest.max_onnx_difference or 0.0) <= 1e-5
    assert manifest.profile is not None
    assert manifest.window_end < manifest.label_cutoff
    assert (metrics["hundred_rows_us"] or 0.0) > 0.0


def test_slates_are_split_by_time_and_never_torn(rows: SlateRows) -> None:
    group = rows.groups()
    parts = split_slates(rows, group, SlateSplit())
    assert group[parts.fit].max() < group[parts.stop].min()
    assert group[parts.stop].max() < group[parts.measure].min()
    assert sum(map(len, parts)) == len(rows.y)


def test_slates_are_numbered_by_time_whatever_they_are_called() -> None:
    X = np.zeros((3, 1))
    one = np.ones(3)
    rows = SlateRows(
        X, np.zeros(3, np.int8), np.array(["z", "a", "z"]), one.astype(np.int64), one, np.array([5, 9, 5]), ("x",), "h"
    )
    assert rows.groups().tolist() == [0, 1, 0]


def test_a_click_low_down_or_of_a_rare_draw_counts_more_but_not_without_bound() -> None:
    X = np.zeros((5, 1))
    y = np.array([1, 1, 0, 1, 1], dtype=np.int8)
    place = np.array([1, 4, 4, 0, 9], dtype=np.int64)
    propensity = np.array([1.0, 1.0, 0.5, 0.5, 0.001])
    rows = SlateRows(X, y, np.arange(5), place, propensity, np.arange(5), ("x",), "h")
    assert weights(rows, eta=0.5).tolist() == [1.0, 2.0, 2.0, 2.0, WEIGHT_LIMIT]


def test_ndcg_is_one_in_the_right_order_and_a_gain_counts_what_it_weighs() -> None:
    group = np.array([0, 0, 1, 1, 2, 2])
    gain = np.array([1.0, 0.0, 0.0, 1.0, 0.0, 0.0])
    assert ndcg(group, np.array([0.9, 0.1, 0.1, 0.9, 0.3, 0.4]), gain) == 1.0
    assert ndcg(group, np.array([0.1, 0.9, 0.1, 0.9, 0.3, 0.4]), gain) == pytest.approx((1 + 1 / np.log2(3)) / 2)
    heavy = np.array([1.0, 0.0, 0.0, 9.0, 0.0, 0.0])
    assert ndcg(group, np.array([0.1, 0.9, 0.1, 0.9, 0.3, 0.4]), heavy) == pytest.approx((9 + 1 / np.log2(3)) / 10)
    assert ndcg(group, gain, np.zeros(6)) is None


def test_too_few_slates_say_which_part_lacks_what(rows: SlateRows) -> None:
    none = SlateRows(
        rows.X, np.zeros_like(rows.y), rows.slate, rows.place, rows.propensity, rows.at_us, rows.feature_names, "h"
    )
    with pytest.raises(NotEnoughToLearn, match=r"the slates to fit have 0 rows .* take more slates"):
        fit_ranker(none, created_at=T0)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"propensity": np.zeros(PLACES)}, "propensities are 0 or below"),
        ({"place": np.full(PLACES, -1)}, "places are below 0"),
        ({"X": np.full((PLACES, 1), np.inf)}, "'x' is infinite"),
        ({"X": np.zeros((PLACES, 2))}, r"X has the shape \(8, 2\)"),
        ({"at_us": np.zeros(3, dtype=np.int64)}, "at_us has the shape"),
    ],
)
def test_rows_that_cannot_be_are_refused(change: dict[str, object], says: str) -> None:
    ones = np.ones(PLACES, dtype=np.int64)
    good = {
        "X": np.zeros((PLACES, 1)),
        "y": np.zeros(PLACES, dtype=np.int8),
        "slate": ones,
        "place": ones,
        "propensity": np.ones(PLACES),
        "at_us": ones,
        "feature_names": ("x",),
        "definition_hash": "h",
    }
    with pytest.raises(ValueError, match=says):
        SlateRows(**(good | change))  # type: ignore[arg-type]


def test_a_ranker_of_other_features_is_refused(trained: Trained) -> None:
    model = OnnxModel(trained.onnx_bytes, trained.manifest)
    with pytest.raises(UnfitRanker, match=r"other features than are served: user_count_1h .* train it again"):
        Ranker(model, ["user_count_1h"])


def test_where_the_model_has_no_number_the_blend_answers_for_all(trained: Trained) -> None:
    class Broken(OnnxModel):
        def score_many(self, X: Matrix) -> Matrix:
            return np.append(super().score_many(X)[:-1], np.nan)

    broken = Broken(trained.onnx_bytes, msgspec.structs.replace(trained.manifest, version="v1"))
    ranked = Ranker(broken).rank(vectors(3).astype(np.float32), np.array([0.3, 0.2, np.nan], dtype=np.float32))
    assert ranked.version == BLEND_VERSION
    assert ranked.scores.tolist() == pytest.approx([1.0, np.exp(-0.1), 0.0])
