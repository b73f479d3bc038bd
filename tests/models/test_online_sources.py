"""The online models by themselves, each against what is plainly right."""

from __future__ import annotations

import numpy as np
import pytest

from models.covisitation import SLOTS, CoVisitation
from models.exposure import CLICKS, EXPLORED, EXPLORED_CLICKS, SHOWN, SLATES_LIMIT, Exposure
from models.factors import Factors
from models.interaction import weight_of
from models.item_index import ItemFacts, ItemIndex
from models.number_table import NumberTable
from models.trending import DAY_US, HALF_LIVES_US, Trending
from models.visit import Visit
from models.visitors import ACTIONS_LIMIT, BLOCK, Visitors
from tests.models.alone import products
from tests.models.shop import START_US

NOTHING_BARRED = np.zeros(1_000, dtype=np.bool_)


def visit_of(*items: int, at_us: int = START_US) -> Visit:
    numbers = np.array(items, dtype=np.int32)
    times = np.full(len(items), at_us, dtype=np.int64)
    return Visit("ann", numbers, times, np.ones(len(items), dtype=np.float32), numbers, at_us)


def test_a_table_holds_what_a_dictionary_holds() -> None:
    random = np.random.default_rng(3)
    table, truth = NumberTable(), dict[int, int]()
    for n, key in enumerate(random.integers(-300, 300, 20_000).tolist()):
        if key in truth and n % 3:
            table.drop(key)
            del truth[key]
        elif key not in truth:
            table.put(key, n)
            truth[key] = n
    assert all(table.find_one(key) == truth.get(key, -1) for key in range(-310, 310))
    assert len(table) == len(truth)


def test_what_often_follows_is_the_nearest_neighbour() -> None:
    model = CoVisitation()
    model.reserve(10)
    for n in range(50):
        model.learn_one(1 + n % 2, 1.0, visit_of(0))
        model.learn_one(1, 1.0, visit_of(0))
    numbers, scores = model.neighbours(0, 5, NOTHING_BARRED)
    assert numbers.tolist() == [1, 2]
    assert scores[0] > scores[1] > 0.0


def test_a_new_habit_overtakes_an_old_one() -> None:
    model = CoVisitation()
    model.reserve(10)
    for _ in range(50):
        model.learn_one(1, 1.0, visit_of(0))
    later = START_US + 3 * 365 * DAY_US
    for _ in range(5):
        model.learn_one(2, 1.0, visit_of(0, at_us=later))
    assert model.neighbours(0, 5, NOTHING_BARRED)[0][0] == 2


def test_a_full_row_keeps_the_neighbours_that_come_often() -> None:
    model = CoVisitation()
    model.reserve(1_000)
    for n in range(5 * SLOTS):
        model.learn_one(1 + n % 5, 1.0, visit_of(0))
        model.learn_one(10 + n, 1.0, visit_of(0))
    numbers, _ = model.neighbours(0, SLOTS, NOTHING_BARRED)
    assert set(range(1, 6)) <= set(numbers.tolist())
    assert len(numbers) == SLOTS


def test_leaders_are_those_that_a_plain_count_finds() -> None:
    random = np.random.default_rng(5)
    trending, hidden = Trending(), np.zeros(500, dtype=np.bool_)
    trending.reserve(500)
    events = [(int(500 * random.random() ** 2), START_US + n * DAY_US // 50) for n in range(4_000)]
    for item, at_us in events:
        trending.learn_one(item, 1.0, at_us)
    end_us = events[-1][1]
    for place, half_life_us in enumerate(HALF_LIVES_US):
        counts = np.zeros(500)
        for item, at_us in events:
            counts[item] += 2.0 ** ((at_us - end_us) / half_life_us)
        top = trending.top(20, place)
        np.testing.assert_allclose(counts[top], np.sort(counts)[::-1][:20], rtol=1e-9)
        np.testing.assert_allclose(trending.scores(top, end_us, place), counts[top], rtol=1e-5)
        np.testing.assert_array_equal(trending.top_within(20, ~hidden, place), top)


def test_leaders_stay_right_when_the_landmark_has_moved_many_times() -> None:
    trending = Trending()
    trending.reserve(3)
    for year in range(40):
        for item, times in ((0, 3), (1, 2), (2, 1)):
            for _ in range(times):
                trending.learn_one(item, 1.0, START_US + year * 365 * DAY_US)
    at_us = START_US + 39 * 365 * DAY_US
    for place in range(len(HALF_LIVES_US)):
        assert trending.top(3, place).tolist() == [0, 1, 2]
        assert np.isfinite(trending.scores(np.arange(3, dtype=np.int32), at_us, place)).all()
    assert trending.scores(np.array([0], dtype=np.int32), at_us, 0)[0] == pytest.approx(3.0)


def test_factors_learn_which_items_go_together_without_having_met_the_pair() -> None:
    random = np.random.default_rng(2)
    factors = Factors()
    factors.reserve(40)
    for _ in range(4_000):
        shelf = 20 * int(random.integers(2))
        first, second = (shelf + random.choice(20, 2, replace=False)).tolist()
        if {first, second} != {0, 1}:
            factors.learn_one(second, 1.0, visit_of(first))
    found = products(factors, visit_of(0), np.arange(40, dtype=np.int32), np.zeros(40, dtype=np.bool_))
    assert found is not None
    numbers, scores = found.top(15)
    assert np.mean(numbers < 20) > 0.9
    np.testing.assert_allclose(scores, found.of(numbers), rtol=1e-5, atol=1e-5)
    assert found.of(np.array([1], dtype=np.int32))[0] > found.of(np.arange(20, 40, dtype=np.int32)).max()
    assert products(factors, visit_of(), np.arange(40, dtype=np.int32), np.zeros(40, dtype=np.bool_)) is None


def test_visitors_keep_the_newest_actions_within_their_bounds() -> None:
    visitors = Visitors(visitors_limit=3, blocks_limit=2 * ACTIONS_LIMIT // BLOCK)
    for n in range(ACTIONS_LIMIT + 500):
        visitors.learn_one(1, n, 1.0, n)
    visit = visitors.visit(1, "ann", 0)
    assert visit.items[0] == ACTIONS_LIMIT + 499
    assert ACTIONS_LIMIT - BLOCK <= len(visit.seen) <= ACTIONS_LIMIT
    assert min(visit.seen) >= 500
    for key in (2, 3, 1, 4):
        visitors.learn_one(key, 7, 1.0, 0)
    assert len(visitors) == 3
    # 2 had been away for longest.
    assert [len(visitors.visit(key, "", 0).items) > 0 for key in (1, 2, 3, 4)] == [True, False, True, True]
    for key in range(10, 60):
        for n in range(20):
            visitors.learn_one(key, n, 1.0, 0)
    assert len(visitors) == 3


def test_blocks_run_out_before_visitors_do_and_the_eldest_leave() -> None:
    visitors = Visitors(visitors_limit=10_000, blocks_limit=ACTIONS_LIMIT // BLOCK + 2)
    for key in range(2_000):
        visitors.learn_one(key, 1, 1.0, 0)
    assert len(visitors) == ACTIONS_LIMIT // BLOCK + 2
    for n in range(2 * ACTIONS_LIMIT):
        visitors.learn_one(1_999, n, 1.0, 0)
    assert len(visitors.visit(1_999, "", 0).seen) >= ACTIONS_LIMIT - BLOCK


def test_a_click_counts_once_and_only_where_the_item_was_shown() -> None:
    exposure = Exposure()
    exposure.reserve(5)
    assert exposure.shown(11, [0, 1], [False, True])
    assert not exposure.shown(11, [0, 1], [False, True])
    assert [exposure.clicked(11, item) for item in (1, 1, 2, -1)] == [True, False, False, False]
    assert not exposure.clicked(12, 1)
    counts = exposure.by_item
    assert counts[:, SHOWN].tolist() == [1, 1, 0, 0, 0]
    assert counts[:, CLICKS].tolist() == [0, 1, 0, 0, 0]
    assert counts[1, [EXPLORED, EXPLORED_CLICKS]].tolist() == [1, 1]


def test_old_slates_make_room() -> None:
    exposure = Exposure()
    exposure.reserve(1)
    for slate in range(SLATES_LIMIT + 10):
        exposure.shown(slate, [0], [False])
    assert not exposure.clicked(3, 0)
    assert exposure.clicked(SLATES_LIMIT + 3, 0)
    counts = exposure.by_item
    assert 0 < counts[0, CLICKS] <= counts[0, SHOWN] < 10_000


def test_an_item_keeps_its_number() -> None:
    index = ItemIndex()
    numbers = [index.put(ItemFacts(f"item-{n}", None, f"shelf {n % 3}", (), 2.0 * n)) for n in range(500)]
    assert numbers == list(range(500))
    index.remove("item-7")
    index.remove("never seen")
    assert index.hidden[7]
    assert index.hidden[500]
    assert index.facts(7) is None
    assert index.put(ItemFacts("item-7")) == 7
    assert index.category[9] == index.code_of("shelf 0")
    assert index.price[9] == 18.0
    assert np.isnan(index.price[7])
    again = ItemIndex.from_rows(index.rows())
    assert again.rows() == index.rows()


def test_weights_are_never_negative_and_always_finite() -> None:
    for kind in ("view", "rating", "hide", "", "something else"):
        for value in (None, float("nan"), float("inf"), -1e300, 1e300, 3.0):
            assert 0.0 <= weight_of(kind, value) <= 4.0
