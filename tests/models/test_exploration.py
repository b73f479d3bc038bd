"""What explores says with what probability it did, and could do it again."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.exploration import LARGEST_SEED, ExplorationSettings, draw_of, exact_sum, seed_of, shares_of, unit_of

SETTINGS = ExplorationSettings(places=(1,), floor=0.2, draws=64)
SHOWN = np.array([0.0, 5.0, 100.0, 1000.0])
CLICKED = np.array([0.0, 1.0, 30.0, 20.0])


class Drawn(NamedTuple):
    arm: int
    propensity: float


def probabilities(
    shown: NDArray[np.float64], clicked: NDArray[np.float64], seed: int, own: ExplorationSettings
) -> NDArray[np.float64]:
    found = np.empty(len(shown))
    shares_of(shown, clicked, own.prior_clicks, own.prior_misses, seed & LARGEST_SEED, own.draws, own.floor, found)
    return found


def draw(among: list[float] | NDArray[np.float64], seed: int, step: int = 0) -> Drawn:
    return Drawn(*draw_of(np.array(among, dtype=np.float64), unit_of(seed, step)))


def shares(seed: int = 1, settings: ExplorationSettings = SETTINGS) -> NDArray[np.float64]:
    return probabilities(SHOWN, CLICKED, seed, settings)


def test_the_same_seed_gives_the_same_probabilities_and_another_one_others() -> None:
    assert shares(7).tolist() == shares(7).tolist()
    assert shares(7).tolist() != shares(8).tolist()


def test_a_seed_is_the_same_on_every_machine() -> None:
    assert seed_of("slate-1") == 0xD6D23B12A2D45C2B
    assert seed_of("slate-1") != seed_of("slate-2")


def test_probabilities_are_one_in_all_and_none_is_below_its_share_of_the_floor() -> None:
    for seed in range(50):
        found = shares(seed)
        assert found.sum() == pytest.approx(1.0, abs=1e-12)
        assert found.min() >= 0.2 / 4


def test_the_more_clicks_the_more_probable_and_the_less_shown_the_less_certain() -> None:
    mean = np.mean([shares(seed) for seed in range(200)], axis=0)
    # 30 of 100 wins mostly; 20 of 1,000 hardly; of the two with few impressions nobody knows yet.
    assert mean[2] > 0.5
    assert mean[3] < 0.06 < min(mean[0], mean[1])


def test_click_rates_are_drawn_from_the_beta_posterior() -> None:
    settings = ExplorationSettings(draws=1024, floor=0.01, prior_clicks=1.0, prior_misses=1.0)
    none, two = np.zeros(2), np.array([2.0, 0.0])
    # Beta(3, 1) beats Beta(1, 1) with probability 3/4: its mean, since the other is uniform.
    wins = [probabilities(two, two, seed, settings)[0] for seed in range(200)]
    expected = 0.99 * (3.0 / 4.0) + 0.01 / 2.0
    assert np.mean(wins) == pytest.approx(expected, abs=4 * np.std(wins) / np.sqrt(200))
    # Below a shape of 1 too: Beta(1/2, 1/2) against itself is even.
    small = ExplorationSettings(draws=1024, floor=0.01, prior_clicks=0.5, prior_misses=0.5)
    wins = [probabilities(none, none, seed, small)[0] for seed in range(200)]
    assert np.mean(wins) == pytest.approx(0.5, abs=4 * np.std(wins) / np.sqrt(200))


def test_an_arm_is_drawn_as_often_as_it_says() -> None:
    wanted = np.array([0.5, 0.3, 0.15, 0.05])
    for step in (0, 1):
        drawn = [draw(wanted, seed, step) for seed in range(8_000)]
        counts = np.bincount([one.arm for one in drawn], minlength=4) / len(drawn)
        assert counts == pytest.approx(wanted, abs=0.025)
        assert all(one.propensity == pytest.approx(wanted[one.arm]) for one in drawn)


def test_steps_of_one_slate_are_drawn_independently() -> None:
    pairs = [(draw([0.5, 0.5], seed, 0).arm, draw([0.5, 0.5], seed, 1).arm) for seed in range(5_000)]
    counts = np.bincount([2 * a + b for a, b in pairs], minlength=4) / len(pairs)
    assert counts == pytest.approx([0.25] * 4, abs=0.02)


def test_of_the_arms_that_are_left_the_probability_is_that_given_they_are_left() -> None:
    assert draw([0.0, 0.2, 0.2], 3).propensity == 0.5
    assert draw([0.0, 0.0, 0.1], 3) == (2, 1.0)


def test_without_any_arm_there_is_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="give at least one"):
        draw([0.0, 0.0], 1)


def test_counts_that_make_no_sense_still_give_probabilities() -> None:
    odd = np.array([np.nan, -5.0, 3.0, np.inf])
    found = probabilities(odd, np.array([1.0, np.nan, 9.0, 0.0]), 2**64 + 5, SETTINGS)
    assert found.sum() == pytest.approx(1.0)
    assert found.min() > 0.0


@given(st.lists(st.floats(-1e9, 1e9) | st.floats(-1e-9, 1e-9) | st.sampled_from([0.1, 0.2, 1e16, -1e16]), max_size=70))
def test_shares_are_summed_as_exactly_as_python_does_it(values: list[float]) -> None:
    assert exact_sum(np.array(values, dtype=np.float64)) == math.fsum(values)


@given(st.lists(st.floats(0.001, 1.0) | st.just(0.0), min_size=1, max_size=64), st.floats(0.0, 1.0, exclude_max=True))
def test_an_arm_is_drawn_as_plain_python_would(values: list[float], unit: float) -> None:
    total, passed, last = math.fsum(values), 0.0, -1
    for arm, share in enumerate(values):
        if share > 0.0:
            passed, last = passed + share, arm
            if unit * total < passed:
                break
    if last >= 0:
        assert draw_of(np.array(values), unit) == (last, values[last] / total)
