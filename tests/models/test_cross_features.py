"""What a candidate has to do with what the visitor did last, by small known answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.candidates import FACTORS, SOURCES
from models.cross_features import (
    CROSS_FEATURES,
    UNLIFTED,
    CandidateFacts,
    Recents,
    cross_features,
    put_cross_features,
)
from models.ranker import BLEND_VERSION, Ranker

H_US = 3_600_000_000
AT_US = 1_000_000 * H_US
NAN = math.nan
Rows = NDArray[np.float32]


def floats(*values: float) -> Rows:
    return np.array(values, dtype=np.float32)


def facts(n: int = 3) -> CandidateFacts:
    return CandidateFacts(
        np.array([1, 2, -1][:n], dtype=np.int32),
        floats(*[10.0, 40.0, NAN][:n]),
        floats(*[3.0, 9.0, 0.0][:n]),
        np.array([AT_US - H_US, 0, AT_US + H_US][:n], dtype=np.int64),
        floats(*[0.0, 100.0, 1.0][:n]),
        floats(*[0.0, 50.0, 2.0][:n]),
        floats(1, 0, 0, 1, 0, 0).reshape(3, 2)[:n],
    )


def recents() -> Recents:
    return Recents(
        np.array([2, 1, 2], dtype=np.int32),
        floats(1e6, 10.0, 40.0),
        floats(0.0, 1.0, 4.0),
        np.array([AT_US - 10_000_000, AT_US - H_US, AT_US - 2 * H_US], dtype=np.int64),
        floats(0, 1, 0.6, 0.8, 0, 1).reshape(3, 2),
    )


NO_RECENTS = Recents(np.zeros(0, dtype=np.int32), floats(), floats(), np.zeros(0, dtype=np.int64))
SCORES = np.array([[2.0, -1.0, NAN, 3.0, NAN], [4.0, 0.0, NAN, 9.0, NAN], [NAN, -2.0, NAN, 0.0, NAN]], dtype=np.float32)


def lifted_by(scores: Rows) -> list[int]:
    n = len(scores)
    out, none = np.empty((n, len(CROSS_FEATURES)), dtype=np.float32), np.zeros(n, dtype=np.float32)
    known = CandidateFacts(np.zeros(n, dtype=np.int32), none, none, np.zeros(n, dtype=np.int64), none, none)
    found: list[int] = put_cross_features(scores, none, known, NO_RECENTS, AT_US, out).tolist()
    return found


def columns(found: Rows) -> dict[str, list[float]]:
    return {name.removeprefix("cross_"): found[:, i].tolist() for i, name in enumerate(CROSS_FEATURES)}


@pytest.fixture
def found() -> dict[str, list[float]]:
    return columns(cross_features(SCORES, floats(0.5, 0.9, 0.1), facts(), recents(), AT_US))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("covisitation_score", [2.0, 4.0, NAN]),
        ("covisitation_share", [0.5, 1.0, NAN]),
        ("covisitation_nearness", [0.5, 1.0, NAN]),
        ("factors_share", [math.exp(-1), 1.0, math.exp(-2)]),  # logits: by their difference
        ("batch_score", [NAN, NAN, NAN]),
        ("batch_share", [NAN, NAN, NAN]),
        ("trending_share", [1 / 3, 1.0, 0.0]),
        ("sources", [3.0, 3.0, 2.0]),
        ("blend_nearness", [1 / 2, 1.0, 1 / 3]),
        ("popularity_nearness", [1 / 2, 1.0, 1 / 3]),
        # The newest recent item has weight 0: no sign of liking, but the visitor was there.
        ("recents_log", [math.log(3)] * 3),
        ("since_last_log_s", [math.log(11)] * 3),
        ("category_share", [0.5, 0.5, NAN]),
        ("category_recency", [1 / 1.8, 0.8 / 1.8, NAN]),
        ("category_last", [1.0, 0.0, NAN]),
        ("category_session", [0.0, 0.0, NAN]),
        ("category_crowd", [1 / 3, 1 / 3, NAN]),
        ("likeness_last", [0.6, 0.8, 0.0]),
        ("likeness_best", [0.6, 1.0, 0.0]),
        ("likeness_mean", [0.6 / 1.8, (0.8 + 0.8) / 1.8, 0.0]),
        ("price_log", [math.log(10), math.log(40), NAN]),
        ("price_ratio_log", [math.log(0.5), math.log(2), NAN]),
        ("popularity_log", [math.log(4), math.log(10), 0.0]),
        ("age_log_h", [math.log(2), NAN, 0.0]),
        ("shown_log", [0.0, math.log(101), math.log(2)]),
        ("click_rate", [1 / 20, 51 / 120, 3 / 22]),
    ],
)
def test_a_feature_is_what_its_name_says(found: dict[str, list[float]], name: str, expected: list[float]) -> None:
    assert found[name] == pytest.approx(expected, rel=1e-5, abs=1e-7, nan_ok=True)


@pytest.mark.parametrize("seed", range(5))
def test_many_are_compared_as_plain_numpy_does_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, m, width = 90, 20, 7

    def drawn(size: int) -> Rows:
        return rng.random(size).astype(np.float32)

    scores, blend = rng.integers(0, 9, (n, len(SOURCES))).astype(np.float32), rng.integers(0, 9, n).astype(np.float32)
    scores[rng.random(scores.shape) < 0.3] = np.nan
    scores[:, 2] = np.nan
    kinds, kinds_of_recent = rng.integers(-1, 5, n).astype(np.int32), rng.integers(-1, 5, m).astype(np.int32)
    weights, own, others = drawn(m), drawn(n * width).reshape(n, width), drawn(m * width).reshape(m, width)
    weights[rng.random(m) < 0.3] = 0.0
    times_us = AT_US - np.arange(m, dtype=np.int64) * H_US // 8
    known = CandidateFacts(kinds, drawn(n), drawn(n), np.ones(n, dtype=np.int64), drawn(n), drawn(n), own)
    recent = Recents(kinds_of_recent, drawn(m), weights, times_us, others)
    found = cross_features(scores, blend, known, recent, AT_US)
    by_name = {name.removeprefix("cross_"): found[:, i] for i, name in enumerate(CROSS_FEATURES)}

    liked = np.flatnonzero(weights > 0.0)
    worth = 0.8 ** np.arange(len(liked))
    same = (kinds[:, None] == kinds_of_recent[liked]) & (kinds[:, None] >= 0)
    products = own @ others[liked].T
    expected = {
        "category_share": same.mean(axis=1),
        "category_recency": same @ worth / worth.sum(),
        "category_last": same[:, 0],
        "category_session": (same & (AT_US - times_us[liked] <= H_US // 2)).any(axis=1),
        "category_crowd": (kinds[:, None] == kinds).mean(axis=1),
        "likeness_last": products[:, 0],
        "likeness_best": products.max(axis=1),
        "likeness_mean": products @ worth / worth.sum(),
    }
    for name, values in expected.items():
        known_only = np.where((kinds < 0) & name.startswith("category"), np.nan, values)
        np.testing.assert_allclose(by_name[name], known_only, rtol=1e-5, atol=1e-6, err_msg=name)
    for name, column in {**dict(zip(SOURCES, scores.T, strict=True)), "blend": blend}.items():
        ranks = 1 + (column[None, :] > column[:, None]).sum(axis=1)
        nearness = np.where(np.isnan(column), np.nan, 1.0 / ranks)
        np.testing.assert_allclose(by_name[f"{name}_nearness"], nearness, rtol=1e-6, err_msg=name)


def test_an_hour_in_the_session_counts_as_the_session() -> None:
    late = recents()._replace(times_us=np.full(3, AT_US - H_US // 2, dtype=np.int64))
    found = columns(cross_features(SCORES, floats(0.5, 0.9, 0.1), facts(), late, AT_US))
    assert found["category_session"][:2] == [1.0, 1.0]


def test_equal_scores_have_equal_nearness() -> None:
    same = np.zeros((3, 5), dtype=np.float32)
    assert columns(cross_features(same, floats(1, 1, 1), facts(), recents(), AT_US))["blend_nearness"] == [
        1.0,
        1.0,
        1.0,
    ]


def test_of_a_stranger_all_that_compares_is_unknown() -> None:
    found = columns(cross_features(SCORES, floats(0.5, 0.9, 0.1), facts(), NO_RECENTS, AT_US))
    for name in ("category_share", "category_last", "likeness_last", "likeness_mean", "price_ratio_log"):
        assert np.isnan(found[name]).all()
    assert found["recents_log"] == [0.0] * 3


def test_vectors_of_two_models_do_not_compare() -> None:
    with pytest.raises(ValueError, match="2 dimensions, those of recent items 3"):
        cross_features(
            SCORES, floats(1, 1, 1), facts(), recents()._replace(vectors=np.ones((3, 3), dtype=np.float32)), AT_US
        )


def test_no_candidates_have_no_rows() -> None:
    none = np.zeros((0, 5), dtype=np.float32)
    assert cross_features(none, none[:, 0], facts(0), recents(), AT_US).shape == (0, len(CROSS_FEATURES))


ANY = st.floats(width=32, allow_nan=True, allow_infinity=True)


@settings(max_examples=100, deadline=None)
@given(
    scores=st.lists(st.lists(ANY, min_size=5, max_size=5), min_size=1, max_size=4),
    odd=ANY,
    at_us=st.integers(0, 2**60),
    times=st.lists(st.integers(0, 2**60), max_size=3),
)
def test_whatever_comes_nothing_is_infinite(
    scores: list[list[float]], odd: float, at_us: int, times: list[int]
) -> None:
    n, m = len(scores), len(times)
    odds = np.full(n, odd, dtype=np.float32)
    known_us = np.full(n, at_us // 2 + 1, dtype=np.int64)
    given_ = CandidateFacts(np.zeros(n, dtype=np.int32), odds, odds, known_us, odds, odds)
    past = Recents(
        np.zeros(m, dtype=np.int32),
        np.full(m, odd, dtype=np.float32),
        np.ones(m, dtype=np.float32),
        np.array(times, dtype=np.int64),
    )
    rows = np.array(scores, dtype=np.float32)
    assert not np.isinf(cross_features(rows, rows[:, 0], given_, past, at_us)).any()


def test_without_a_model_the_blend_ranks() -> None:
    ranker = Ranker()
    rows = ranker.rows(np.zeros(0), np.zeros((3, 0)), cross_features(SCORES, SCORES[:, 0], facts(), recents(), AT_US))
    ranked = ranker.rank(rows, floats(0.5, 0.9, NAN))
    assert ranked.scores.tolist() == pytest.approx([math.exp(-0.4), 1.0, 0.0])
    assert ranked.version == ranker.version == BLEND_VERSION


def test_a_blend_far_below_the_best_keeps_a_score_above_zero() -> None:
    scores = Ranker().rank(np.zeros((3, 0), dtype=np.float32), floats(-1e30, 3.0, 1e30)).scores
    assert scores.max() == 1.0
    assert (scores > 0.0).all()
    assert len(Ranker().rank(np.zeros((0, 0), dtype=np.float32), floats()).scores) == 0


def test_a_row_is_the_visitor_then_the_item_then_the_cross_features() -> None:
    ranker = Ranker(None, ["v1", "v2"], ["i1"])
    rows = ranker.rows(np.array([1.0, 2.0]), np.array([[3.0], [4.0]]), np.full((2, len(CROSS_FEATURES)), 5, np.float32))
    assert ranker.names[:4] == ("v1", "v2", "i1", CROSS_FEATURES[0])
    assert rows[:, :4].tolist() == [[1.0, 2.0, 3.0, 5.0], [1.0, 2.0, 4.0, 5.0]]


def test_the_source_that_ranks_an_item_first_has_lifted_it() -> None:
    scores = np.array([[1, -1, NAN, 5, NAN], [NAN, -2, NAN, 6, 1], [NAN, -0.5, 9, 1, 0]], dtype=np.float32)
    assert [SOURCES[source] for source in lifted_by(scores)] == ["covisitation", "trending", "factors"]
    assert SOURCES[lifted_by(floats(0, NAN, 2, 1, NAN).reshape(1, 5))[0]] == "batch"
    assert lifted_by(np.full((1, 5), NAN, dtype=np.float32)) == [UNLIFTED]
    assert lifted_by(np.zeros((1, 5), dtype=np.float32)) == [FACTORS]
    assert lifted_by(np.zeros((0, 5), dtype=np.float32)) == []


def test_cross_features_are_written_where_a_wider_row_has_them() -> None:
    rows = np.full((3, len(CROSS_FEATURES) + 4), 7.0, dtype=np.float32)
    put_cross_features(SCORES, floats(0.5, 0.9, 0.1), facts(), recents(), AT_US, rows[:, 3:-1])
    alone = cross_features(SCORES, floats(0.5, 0.9, 0.1), facts(), recents(), AT_US)
    assert np.array_equal(rows[:, 3:-1], alone, equal_nan=True)
    assert (rows[:, [0, 1, 2, -1]] == 7.0).all()
    with pytest.raises(ValueError, match="columns"):
        put_cross_features(SCORES, floats(0.5, 0.9, 0.1), facts(), recents(), AT_US, rows)


def test_many_candidates_are_ranked_and_compared_like_a_few() -> None:
    rng = np.random.default_rng(1)
    n, m, width = 130, 70, 5
    scores = np.round(rng.normal(size=(n, 5)), 1).astype(np.float32)
    scores[rng.random(scores.shape) < 0.3] = NAN
    own, others = rng.normal(size=(n, width)).astype(np.float32), rng.normal(size=(m, width)).astype(np.float32)
    ones, codes = np.ones(n, dtype=np.float32), rng.integers(-1, 9, n).astype(np.int32)
    given_ = CandidateFacts(codes, ones, ones, np.ones(n, dtype=np.int64), ones, ones, own)
    liked = np.ones(m, dtype=np.float32)
    past = Recents(codes[:m], liked, liked, np.zeros(m, dtype=np.int64), others)
    found = columns(cross_features(scores, ones, given_, past, AT_US))
    nearness = [NAN if math.isnan(one) else 1.0 / (1 + (scores[:, 2] > one).sum()) for one in scores[:, 2].tolist()]
    assert found["batch_nearness"] == pytest.approx(nearness, nan_ok=True)
    assert found["likeness_best"] == pytest.approx((own @ others.T).max(axis=1).tolist(), rel=1e-5)
    crowds = [NAN if code < 0 else (codes == code).sum() / n for code in codes.tolist()]
    assert found["category_crowd"] == pytest.approx(crowds, nan_ok=True)
