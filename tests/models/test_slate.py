"""A slate is what its arguments say, and nothing that is barred is ever in it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.exploration import ExplorationSettings, draw_of, shares_of, unit_of
from models.slate import Contenders, Exposures, Place, SlateSettings, compose

EXPLORING = SlateSettings(exploration=ExplorationSettings(places=(2, 4)))


def contenders(scores: list[float], categories: list[int] | None = None, barred: list[int] | None = None) -> Contenders:
    n = len(scores)
    shut = np.zeros(n, dtype=np.bool_)
    shut[barred or []] = True
    return Contenders(
        np.arange(100, 100 + n, dtype=np.int32),
        np.array(scores, dtype=np.float64),
        np.arange(n, dtype=np.int8) % 5,
        np.array(categories or [-1] * n, dtype=np.int32),
        shut,
    )


def exposures(n: int, seed: int = 1) -> Exposures:
    return Exposures(np.zeros(n), np.zeros(n), seed)


def items(found: list[Place]) -> list[int]:
    return [place.item - 100 for place in found]


def test_by_score_alone_the_best_come_first() -> None:
    found = compose(contenders([0.1, 0.9, 0.5]), 2, SlateSettings())
    assert [tuple(place) for place in found] == [(101, 0.9, 1, False, 1.0, (), 1), (102, 0.5, 2, False, 1.0, (), 2)]


def test_equal_scores_go_by_item_number_whatever_the_order() -> None:
    given_ = contenders([0.5, 0.5, 0.5])
    turned = given_._replace(items=given_.items[::-1].copy())
    assert items(compose(given_, 3, SlateSettings())) == items(compose(turned, 3, SlateSettings())) == [0, 1, 2]


def test_two_places_explore_though_all_but_one_of_the_rest_are_above_the_cap() -> None:
    shape = SlateSettings(category_cap=1, exploration=ExplorationSettings(places=(2, 4), arms=8))
    found = compose(contenders([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], [1, 2, 1, 1, 3, 1]), 4, shape, exposures(6))
    explored = [place for place in found if place.explored]
    assert items(explored)[0] == 4
    assert (explored[0].propensity, len(explored[0].arms)) == (1.0, 1)
    assert items(explored)[1] in {2, 3, 5}
    assert len(set(items(found))) == 4


@pytest.mark.parametrize("k", [0, -1])
def test_no_places_give_no_slate(k: int) -> None:
    assert compose(contenders([0.5]), k, EXPLORING, exposures(1)) == []


def test_no_candidates_give_no_slate() -> None:
    assert compose(contenders([]), 10, EXPLORING, exposures(0)) == []


def test_all_barred_gives_no_slate() -> None:
    assert compose(contenders([0.5, 0.4], barred=[0, 1]), 10, EXPLORING, exposures(2)) == []


def test_fewer_candidates_than_places_are_all_shown_and_nothing_explores() -> None:
    found = compose(contenders([0.1, 0.3, 0.2]), 10, EXPLORING, exposures(3))
    assert items(found) == [1, 2, 0]
    assert not any(place.explored for place in found)


def test_no_more_places_than_the_limit() -> None:
    assert len(compose(contenders([0.5] * 9), 9, SlateSettings(k=3, k_limit=4))) == 4


def test_a_category_waits_once_it_has_reached_its_cap() -> None:
    found = compose(contenders([0.9, 0.8, 0.7, 0.1], [1, 1, 1, 2]), 3, SlateSettings(category_cap=2))
    assert items(found) == [0, 1, 3]


def test_the_cap_gives_way_rather_than_leave_a_place_empty() -> None:
    found = compose(contenders([0.9, 0.8, 0.7, 0.1], [1, 1, 1, 2]), 4, SlateSettings(category_cap=1))
    assert items(found) == [0, 3, 1, 2]


def test_items_without_a_category_are_not_capped() -> None:
    found = compose(contenders([0.9, 0.8, 0.7], [-1, -1, -1]), 3, SlateSettings(category_cap=1, mmr_lambda=0.1))
    assert items(found) == [0, 1, 2]


def test_likeness_by_vectors_moves_a_double_down() -> None:
    twins = np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32)
    given_ = contenders([1.0, 0.9, 0.5])._replace(vectors=twins)
    assert items(compose(given_, 3, SlateSettings(mmr_lambda=0.5))) == [0, 2, 1]
    assert items(compose(given_, 3, SlateSettings(mmr_lambda=1.0))) == [0, 1, 2]


def test_without_vectors_items_of_one_category_are_alike() -> None:
    assert items(compose(contenders([1.0, 0.9, 0.5, 0.0], [1, 1, 2, 2]), 2, SlateSettings(mmr_lambda=0.5))) == [0, 2]


def test_a_score_that_is_no_number_enters_no_place() -> None:
    found = compose(contenders([float("nan"), 0.2, float("inf"), 0.1]), 4, SlateSettings())
    assert items(found) == [1, 3]


def test_scores_as_far_apart_as_can_be_are_still_in_order() -> None:
    assert items(compose(contenders([-1.7e308, 1.7e308, 0.0]), 3, SlateSettings(mmr_lambda=0.9))) == [1, 2, 0]


def test_places_that_explore_say_so_with_a_propensity_that_can_be_had_again() -> None:
    given_ = contenders(list(np.linspace(0.9, 0.1, 30)))
    found = compose(given_, 5, EXPLORING, exposures(30))
    assert [place.explored for place in found] == [False, True, False, True, False]
    assert items([place for place in found if not place.explored]) == [0, 1, 2]
    for place in found:
        if place.explored:
            assert 0.2 / 16 <= place.propensity < 1.0
            assert place.item in place.arms
    assert found[1].item not in found[3].arms
    assert len(found[1].arms) == 16
    assert compose(given_, 5, EXPLORING, exposures(30)) == found
    slates = {tuple(items(compose(given_, 5, EXPLORING, exposures(30, seed)))) for seed in range(20)}
    assert len(slates) > 10


def test_a_slate_too_short_for_a_place_does_not_explore_there() -> None:
    found = compose(contenders([0.5] * 30), 3, EXPLORING, exposures(30))
    assert [place.explored for place in found] == [False, True, False]


def arms_at_place_3(arms: int, shown: NDArray[np.float64], visits: NDArray[np.float64]) -> list[int]:
    """Of 40 candidates, best first; places 1 and 2 have items 0 and 1."""
    given_ = contenders(list(np.linspace(0.9, 0.1, 40)))
    one = SlateSettings(exploration=ExplorationSettings(places=(3,), arms=arms))
    found = compose(given_, 3, one, Exposures(shown, np.zeros(40), 1, visits))
    return sorted(arm - 100 for arm in found[2].arms)


def test_half_of_the_arms_are_the_best_of_the_rest_and_half_were_shown_least() -> None:
    shown = np.full(40, 50.0)
    shown[[38, 39]] = 0.0
    # The best three, the two never shown, and the next by score.
    assert arms_at_place_3(6, shown, np.zeros(0)) == [2, 3, 4, 5, 38, 39]


def test_what_nobody_has_come_upon_is_explored_before_what_is_only_not_shown_yet() -> None:
    shown, visits = np.zeros(40), np.full(40, 50.0)
    visits[[36, 39]] = 0.0
    assert arms_at_place_3(4, shown, visits) == [2, 3, 36, 39]
    # Shown often enough, it is no longer what least is known of.
    shown[36] = 60.0
    assert arms_at_place_3(4, shown, visits) == [2, 3, 4, 39]


def test_exploration_holds_to_the_cap_while_it_can() -> None:
    categories = [1, 1, 1, 1, 1, 2, 2, 2]
    capped = SlateSettings(category_cap=2, exploration=ExplorationSettings(places=(3,)))
    for seed in range(30):
        found = compose(contenders([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2], categories), 3, capped, exposures(8, seed))
        assert items(found)[2] in {5, 6, 7}


def test_the_logged_propensity_is_how_often_it_happens() -> None:
    # Two arms, always the same counts: over many seeds each is drawn as often as its mean propensity says.
    given_ = contenders([0.9, 0.5, 0.4])
    one = SlateSettings(exploration=ExplorationSettings(places=(2,)))
    known = Exposures(np.array([0.0, 20.0, 20.0]), np.array([0.0, 6.0, 2.0]), 0)
    drawn = [compose(given_, 2, one, known._replace(seed=seed))[1] for seed in range(3000)]
    inverse = np.array([(place.item == 101) / place.propensity for place in drawn])
    # Inverse propensities undo the draw: each arm counts once a slate.
    assert inverse.mean() == pytest.approx(1.0, abs=4 * inverse.std() / np.sqrt(len(inverse)))
    assert np.mean([place.item == 101 for place in drawn]) > 0.6


@pytest.mark.parametrize("seed", range(20))
def test_what_explores_is_what_drawing_arm_by_arm_in_python_gives(seed: int) -> None:
    rng = np.random.default_rng(seed)
    given_ = contenders(rng.random(60).tolist(), rng.integers(-1, 4, 60).tolist())
    own = ExplorationSettings(places=(2, 5), arms=12)
    shown = np.floor(rng.random(60) * 9)
    clicked = np.floor(shown / 3)
    found = compose(given_, 6, SlateSettings(exploration=own), Exposures(shown, clicked, seed))
    left = [arm - 100 for arm in found[1].arms]
    assert len(left) == 12
    shares = np.empty(12)
    shares_of(shown[left], clicked[left], own.prior_clicks, own.prior_misses, seed, own.draws, own.floor, shares)
    share_of = dict(zip(left, shares.tolist(), strict=True))
    for step, place in enumerate((found[1], found[4])):
        assert place.arms == tuple(arm + 100 for arm in left)
        arm, propensity = draw_of(np.array([share_of[one] for one in left]), unit_of(seed, step))
        assert (place.item, place.propensity, place.explored) == (left[arm] + 100, propensity, True)
        assert place.score == given_.scores[place.at]
        left.pop(arm)
    assert [place.item - 100 for place in found] == [place.at for place in found]


def test_vectors_for_some_candidates_only_are_refused() -> None:
    given_ = contenders([0.5, 0.4])._replace(vectors=np.ones((1, 2), dtype=np.float32))
    with pytest.raises(ValueError, match="1 vectors for 2 candidates"):
        compose(given_, 1, SlateSettings())


ROWS = st.lists(
    st.tuples(st.floats(allow_nan=True, allow_infinity=True), st.integers(-1, 3), st.booleans(), st.integers(0, 9)),
    max_size=30,
)


@settings(max_examples=150, deadline=None)
@given(
    rows=ROWS,
    k=st.integers(-1, 40),
    cap=st.integers(0, 3),
    mmr_lambda=st.sampled_from([0.1, 0.5, 1.0]),
    places=st.lists(st.integers(1, 12), max_size=2, unique=True),
    seed=st.integers(0, 2**64),
)
def test_whatever_comes_no_barred_item_no_item_twice_and_no_empty_place(
    rows: list[tuple[float, int, bool, int]], k: int, cap: int, mmr_lambda: float, places: list[int], seed: int
) -> None:
    given_ = contenders([row[0] for row in rows], [row[1] for row in rows])
    given_.barred[:] = [row[2] for row in rows]
    shown = np.array([row[3] for row in rows], dtype=np.float64)
    shape = SlateSettings(
        category_cap=cap, mmr_lambda=mmr_lambda, exploration=ExplorationSettings(places=tuple(places), arms=4, draws=4)
    )
    found = compose(given_, k, shape, Exposures(shown, np.zeros(len(rows)), seed))
    usable = set(given_.items[~given_.barred & np.isfinite(given_.scores)].tolist())
    assert len(found) == max(0, min(k, len(usable), shape.k_limit))
    assert len({place.item for place in found}) == len(found)
    for place in found:
        assert {place.item, *place.arms} <= usable
        assert 0.0 < place.propensity <= 1.0
        assert np.isfinite(place.score)
        assert place.explored or place.propensity == 1.0
