"""Candidates come out of one compiled call: they are what each source says alone, put together in plain Python."""

from __future__ import annotations

from itertools import zip_longest

import numpy as np
import pytest
from numpy.typing import NDArray

from models.batch_items import BatchItems, Neighbours
from models.candidates import BATCH, CONTENT, COVISITATION, FACTORS, NEWCOMERS_MOST, NOTHING, SOURCES, TRENDING, blend
from models.recommender import Recommender
from models.visit import Visit, empty_visit
from tests.models.alone import leaders_of, products
from tests.models.shop import MINUTE_US, shopping, told

EVENTS = shopping(900)
END_US = EVENTS[-1].at_us + MINUTE_US
USERS = tuple(f"user-{n}" for n in range(0, 60, 7))


def fit(recommender: Recommender) -> BatchItems:
    """Each item leads to the next three."""
    ids = tuple(recommender.index.ids)
    count = len(ids)
    items = ((np.arange(count)[:, None] + [1, 2, 3]) % count).astype(np.int32).reshape(-1)
    weights = np.tile(np.array([3.0, 2.0, 1.0], dtype=np.float32), count)
    return BatchItems("fit-1", END_US, ids, Neighbours(np.arange(0, 3 * count + 1, 3, dtype=np.int64), items, weights))


@pytest.fixture(scope="module")
def plain() -> Recommender:
    """Without a batch fit."""
    return told(EVENTS)


@pytest.fixture(scope="module")
def fitted() -> Recommender:
    """With one."""
    recommender = told(EVENTS)
    recommender.adopt(fit(recommender))
    return recommender


def visits(recommender: Recommender) -> list[Visit]:
    """Visitors with and without a past, within a category and anywhere."""
    known = [recommender.visit(user, END_US) for user in USERS]
    shelf = recommender.index.code_of("shelf 3")
    return [*known, *(visit._replace(category=shelf) for visit in known[:3]), empty_visit("nobody", END_US)]


def one_by_one(
    recommender: Recommender, visit: Visit, limit: int, searched: NDArray[np.int32]
) -> tuple[list[int], NDArray[np.float32]]:
    """Numbers in the order of the blend and what each source says of them, each asked by itself."""
    barred = recommender.index.barred(visit.seen, visit.items, visit.category)
    said = {
        COVISITATION: recommender.covisitation.scores(visit, barred),
        FACTORS: products(recommender.factors, visit, searched, barred),
        CONTENT: recommender.content.scores(visit.items, visit.weights, NOTHING, barred),
        BATCH: recommender.of_batch(visit, barred),
    }
    tops = [source.top(limit)[0].tolist() for source in said.values() if source is not None]
    like = said[CONTENT]
    assert like is not None
    trends = recommender.trends
    leads = trends.top_without(limit, barred) if visit.category < 0 else trends.top_within(limit, ~barred)
    tops.append(leads.tolist())
    if not len(like.top(limit)[0]):
        tops.append(np.flatnonzero(~barred)[::-1].tolist()[: min(limit, NEWCOMERS_MOST)])
    turns = [item for round_ in zip_longest(*tops) for item in round_ if item is not None]
    items = np.array(list(dict.fromkeys(turns))[:limit], dtype=np.int32)
    scores = np.full((len(items), len(SOURCES)), np.nan, dtype=np.float32)
    for source, answer in said.items():
        if answer is not None:
            scores[:, source] = answer.of(items)
    scores[:, TRENDING] = trends.scores(items, visit.at_us)
    order = np.argsort(-blend(scores), kind="stable")
    return items[order].tolist(), scores[order]


@pytest.mark.parametrize("limit", [1, 9, 100])
@pytest.mark.parametrize("kind", ["plain", "fitted"])
def test_candidates_are_what_each_source_says_alone(request: pytest.FixtureRequest, kind: str, limit: int) -> None:
    recommender: Recommender = request.getfixturevalue(kind)
    everything = np.arange(len(recommender.index), dtype=np.int32)
    for visit in visits(recommender):
        expected, scores = one_by_one(recommender, visit, limit, everything)
        found = recommender.candidates(visit, limit)
        assert found.items.tolist() == expected
        np.testing.assert_array_equal(found.scores, scores)
        np.testing.assert_array_equal(found.blend, blend(scores))


def test_of_many_items_factors_search_those_that_lead(plain: Recommender, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.factors.SEARCHED_LIMIT", len(plain.index) - 1)
    monkeypatch.setattr(plain.trends, "_lengths", np.minimum(plain.trends._lengths, 12))
    leaders = leaders_of(plain.trends)
    assert len(leaders) < len(plain.index) // 2
    for visit in visits(plain):
        assert plain.candidates(visit, 40).items.tolist() == one_by_one(plain, visit, 40, leaders)[0]
