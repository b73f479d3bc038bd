"""The compiled loops that find candidates, each against the same in plain Python."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from numpy.typing import NDArray

from models.best_of import best_of
from models.candidate_facts import facts_of, recents_of
from models.candidates import NEWCOMER_IMPRESSIONS
from models.content import Content, terms_of
from models.covisitation import CONTEXT_LIMIT, IN_POWER, PRIOR, CoVisitation
from models.factors import Factors
from models.item_index import ItemFacts, ItemIndex
from models.recommender import Recommender
from models.trending import HALF_LIVES_US, LEADERS, Trending
from models.visit import Visit, empty_visit
from tests.models.alone import leaders_of, products
from tests.models.shop import MINUTE_US, START_US, hash_of, shopping, told

RANDOM = np.random.default_rng(8)
EVENTS = shopping(1_200)
END_US = EVENTS[-1].at_us + MINUTE_US


@pytest.fixture(scope="module")
def recommender() -> Recommender:
    return told(EVENTS)


@pytest.mark.parametrize("limit", [0, 1, 7, 100, 5_000])
@pytest.mark.parametrize("kinds", [3, 1_000_000])
def test_the_best_are_those_that_sorting_finds_and_of_equal_ones_the_lowest(limit: int, kinds: int) -> None:
    scores = RANDOM.integers(0, kinds, 3_000).astype(np.float32)
    numbers = RANDOM.permutation(3_000)[:900].astype(np.int32)
    found, of_found = best_of(numbers, scores, limit)
    order = sorted(numbers.tolist(), key=lambda number: (-scores[number], number))[:limit]
    assert found.tolist() == order
    assert of_found.tolist() == scores[order].tolist()


def test_barred_is_what_is_hidden_seen_visited_or_of_another_category() -> None:
    index = ItemIndex()
    for n in range(300):
        index.put(ItemFacts(f"item-{n}", None, f"shelf {n % 3}"))
    index.remove("item-7")
    seen, items = np.array([4, -1, 9_999], dtype=np.int32), np.array([5], dtype=np.int32)
    assert np.flatnonzero(index.barred(seen, items, -1)).tolist() == [4, 5, 7]
    shelf = index.code_of("shelf 1")
    allowed = np.flatnonzero(~index.barred(seen, items, shelf)).tolist()
    assert allowed == [n for n in range(300) if n % 3 == 1 and n not in (4, 5, 7)]


def after(index: ItemIndex, taken: NDArray[np.int32], count: int, looked_at: int, visit: Visit) -> list[int]:
    """What comes after the candidates that are taken; nothing is said of it, and they stay as they were."""
    n = len(taken)
    before = taken, np.ones((n, 2), dtype=np.float32), np.ones(n, dtype=np.float32)
    items, scores, blend = index.with_newest(before, count, looked_at, visit)
    assert (items[:n].tolist(), scores[:n].tolist(), blend[:n].tolist()) == tuple(one.tolist() for one in before)
    assert np.isnan(scores[n:]).all()
    assert not blend[n:].any()
    newest: list[int] = items[n:].tolist()
    return newest


def test_the_newest_are_described_and_neither_barred_nor_taken_and_only_so_many_are_looked_at() -> None:
    index = ItemIndex()
    for n in range(40):
        index.put(ItemFacts(f"item-{n}", None, f"shelf {n % 2}"))
    index.add("known from actions only")
    index.remove("item-39")
    none = np.zeros(0, dtype=np.int32)
    taken, seen, items = (np.array([n], dtype=np.int32) for n in (38, 37, 36))
    visit = empty_visit("u", START_US)._replace(seen=seen, items=items)
    elsewhere = empty_visit("u", START_US, category=index.code_of("shelf 0"))
    for read in (index, ItemIndex.from_rows(index.rows())):
        assert after(read, taken, 3, 20, visit) == [35, 34, 33]
        assert after(read, taken, 3, 8, visit) == [35, 34, 33]
        assert after(read, taken, 3, 7, visit) == [35, 34]
        assert after(read, none, 2, 41, elsewhere) == [38, 36]


def test_cosines_are_those_of_the_terms_by_name() -> None:
    content, said = Content(), dict[int, dict[int, float]]()
    for n in range(120):
        facts = ItemFacts(f"{n}", f"thing {n % 9} {n % 4}xyz", f"shelf {n % 5}", (f"tag-{n % 7}",))
        content.put(n, facts)
        said[n] = terms_of(facts)
    bearing = {term: sum(term in terms for terms in said.values()) for terms in said.values() for term in terms}
    worth = {term: 1.0 / (1.0 + np.log2(count) / 4.0) for term, count in bearing.items()}

    def vector(number: int) -> dict[int, float]:
        return {term: weight * worth[term] for term, weight in said[number].items()}

    asked = vector(3)
    numbers, scores = content.similar(3, 200, np.zeros(0, dtype=np.bool_))
    for number, score in zip(numbers.tolist(), scores.tolist(), strict=True):
        own = vector(number)
        product = sum(own[term] * asked[term] for term in own if term in asked)
        lengths = [sqrt(sum(value**2 for value in one.values())) for one in (own, asked)]
        assert score == pytest.approx(product / (lengths[0] * lengths[1]), rel=1e-4)
    assert len(numbers) > 20


def test_factors_find_what_a_product_of_all_finds() -> None:
    factors = Factors()
    factors.reserve(200)
    for n in range(600):
        items = np.array([n % 50, (n * 7) % 200], dtype=np.int32)
        visit = Visit("u", items, np.zeros(2, np.int64), np.ones(2, np.float32), items, START_US)
        factors.learn_one((n * 3) % 200, 1.0, visit)
    barred = RANDOM.random(200) < 0.3
    searched = np.arange(0, 200, 2, dtype=np.int32)
    scored = products(factors, visit, searched, barred)
    assert scored is not None
    logits = scored.of(np.arange(200, dtype=np.int32))
    expected = [n for n in np.argsort(-logits, kind="stable").tolist() if not barred[n] and n % 2 == 0][:15]
    assert scored.top(15)[0].tolist() == expected


def test_leaders_of_a_part_are_those_of_all_its_counts() -> None:
    trending = Trending()
    trending.reserve(2_000)
    for n in range(4_000):
        trending.learn_one(int(2_000 * RANDOM.random() ** 3), 1.0, START_US + n * MINUTE_US)
    barred = np.arange(2_000) % 10 != 3
    found = trending.top_within(30, ~barred)
    at_us = START_US + 4_000 * MINUTE_US
    counts = trending.scores(np.arange(2_000, dtype=np.int32), at_us)
    assert (
        found.tolist() == [n for n in np.argsort(-counts, kind="stable").tolist() if n % 10 == 3 and counts[n] > 0][:30]
    )
    leaders = {n for h in range(len(HALF_LIVES_US)) for n in trending.top(LEADERS, h).tolist()}
    assert sorted(leaders_of(trending).tolist()) == sorted(leaders)
    nothing = np.zeros(2_000, dtype=np.bool_)
    nothing[found[0]] = True
    assert trending.top_without(9, nothing).tolist() == [n for n in trending.top(10).tolist() if n != found[0]][:9]


def test_in_a_category_what_leads_it_is_found_though_it_leads_nothing_else() -> None:
    found = Recommender(hash_of)
    for n in range(LEADERS + 40):
        found.put_item(ItemFacts(f"item-{n}", None, "rare" if n % 60 == 0 else "shelf"))
        for _ in range(1 if n % 60 == 0 else 3):
            found.trends.learn_one(n, 1.0, START_US)
    for slate in range(int(NEWCOMER_IMPRESSIONS)):  # so that none is proposed as a newcomer
        found.exposure.shown(slate, range(0, LEADERS, 60), [False] * 5)
    rare = empty_visit("u", START_US, category=found.index.code_of("rare"))
    assert not {*found.trends.top(LEADERS).tolist()} & {0, 60, 120, 180, 240}
    assert sorted(found.candidates(rare).items.tolist()) == [0, 60, 120, 180, 240]


def test_what_popularity_divides_by_is_right_after_learning_and_after_reading() -> None:
    model = CoVisitation()
    model.reserve(60)
    for n in range(400):
        items = RANDOM.permutation(60)[:CONTEXT_LIMIT].astype(np.int32)
        times = np.full(len(items), START_US, dtype=np.int64)
        at_us = START_US + n * 1_000 * MINUTE_US
        model.learn_one(n % 60, 1.0, Visit("u", items, times, np.ones(len(items), np.float32), items, at_us))
    for one in (model, CoVisitation.from_arrays(model.arrays())):
        np.testing.assert_allclose(one._divisors[:60], (PRIOR + one._popularity[:60]) ** IN_POWER, rtol=1e-6)


def test_facts_are_what_the_columns_say(recommender: Recommender) -> None:
    visit = recommender.visit("user-3", END_US)
    numbers = recommender.candidates(visit).items
    facts, recents, index = facts_of(recommender, numbers, END_US), recents_of(recommender, visit), recommender.index
    np.testing.assert_array_equal(facts.categories, index.category[numbers])
    np.testing.assert_array_equal(facts.prices, index.price[numbers])
    np.testing.assert_array_equal(facts.first_us, index.first_us[numbers])
    np.testing.assert_array_equal(
        np.column_stack([facts.impressions, facts.clicks]), recommender.exposure.by_item[numbers, :2]
    )
    for items, units in ((numbers, facts.vectors), (visit.items[: len(recents.vectors)], recents.vectors)):
        vectors = recommender.factors.vectors[items]
        np.testing.assert_allclose(units, vectors / np.linalg.norm(vectors, axis=1)[:, None], rtol=1e-5)
    assert all(column.flags.c_contiguous for column in (*facts, *recents))
