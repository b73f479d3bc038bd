"""Off-policy estimates, beside answers that are known."""

from __future__ import annotations

import numpy as np
import pytest

from bench.recommend_off_policy import TARGETS, Log, logged, measure, outcomes, table_of, world_of
from training.off_policy import Estimate, effective_rows, ips, snips


@pytest.fixture(scope="module")
def log() -> Log:
    return logged(world_of(3), 2500, seed=3)


def test_a_target_that_is_the_logging_policy_earns_what_was_logged() -> None:
    propensity, reward = np.array([0.2, 0.5, 1.0, 0.1]), np.array([1.0, 0.0, 1.0, 0.0])
    for estimate in (ips(propensity, reward, propensity), snips(propensity, reward, propensity)):
        assert estimate.value == pytest.approx(0.5)
        assert estimate.effective_rows == pytest.approx(4.0)


def test_two_arms_drawn_unevenly_are_weighed_back() -> None:
    # Drawn 9 of 10 times, the first arm always earns; the second never. A fair coin earns a half.
    propensity = np.array([0.9] * 9 + [0.1])
    reward = np.array([1.0] * 9 + [0.0])
    target = np.full(10, 0.5)
    assert reward.mean() == 0.9
    assert ips(propensity, reward, target).value == pytest.approx(0.5)
    assert snips(propensity, reward, target).value == pytest.approx(0.5)


def test_effective_rows_are_few_where_few_rows_carry_the_weight() -> None:
    assert effective_rows(np.array([100.0, 1.0, 1.0])) == pytest.approx(1.04, abs=0.01)
    assert effective_rows(np.zeros(3)) == 0.0


def test_the_standard_error_is_that_of_the_mean() -> None:
    ones = np.ones(100)
    reward = np.tile([0.0, 1.0], 50)
    assert ips(ones, reward, ones).standard_error == pytest.approx(0.0503, abs=1e-4)
    assert snips(ones, reward, ones).standard_error == pytest.approx(0.05, abs=1e-4)


def test_an_interval_of_a_rate_leans_towards_a_half_and_one_of_amounts_is_even() -> None:
    rate, amount = Estimate(0.1, 0.05, 36.0, True), Estimate(0.1, 0.05, 36.0, False)
    assert rate.high - 0.1 > 0.1 - rate.low > 0.0
    assert amount.high - 0.1 == pytest.approx(0.1 - amount.low)
    assert rate.covers(0.1)
    assert not rate.covers(0.6)


def test_a_target_that_was_never_drawn_has_no_normalised_value() -> None:
    none = np.zeros(3)
    assert np.isnan(snips(np.ones(3), np.ones(3), none).value)
    assert not snips(np.ones(3), np.ones(3), none).covers(0.5)
    assert np.isnan(ips(none[:0], none[:0], none[:0]).value)


@pytest.mark.parametrize(
    ("propensity", "reward", "target", "says"),
    [
        ([0.0], [1.0], [1.0], "propensity of row 0 is"),
        ([0.5, 1.5], [1.0, 1.0], [1.0, 1.0], "propensity of row 1 is"),
        ([float("nan")], [1.0], [1.0], "propensity of row 0 is"),
        ([0.5], [1.0], [-0.1], "target of row 0 is"),
        ([0.5], [float("inf")], [1.0], "reward of row 0 is not finite"),
        ([0.5, 0.5], [1.0], [1.0], "2 propensities, 1 rewards"),
    ],
)
def test_rows_that_cannot_be_are_named(
    propensity: list[float], reward: list[float], target: list[float], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        ips(np.array(propensity), np.array(reward), np.array(target))


def test_logs_of_our_exploration_give_the_true_value_of_other_policies_and_their_mean_does_not(log: Log) -> None:
    found = outcomes(log)
    for name in TARGETS:
        outcome = found[name]
        for estimate in (outcome.ips, outcome.snips):
            # Twice the half width: one seed in a thousand is outside, and this one is not drawn again.
            assert abs(estimate.value - outcome.truth) < 2 * (estimate.high - estimate.low) / 2, name
            assert abs(estimate.value - outcome.truth) < 0.25 * outcome.truth, name
    # Exploration shows better items than chance does, and worse ones than who knows the best.
    naive_error = {name: found[name].naive - found[name].truth for name in TARGETS}
    assert naive_error["random"] > 0.2 * found["random"].truth
    assert naive_error["oracle"] < -0.2 * found["oracle"].truth
    assert not found["random"].snips.covers(found["random"].naive)
    assert not found["oracle"].snips.covers(found["oracle"].naive)


def test_the_same_traffic_gives_the_same_log() -> None:
    one, other = (logged(world_of(1), 20, seed=1) for _ in range(2))
    assert one.propensity.tolist() == other.propensity.tolist()
    assert one.reward.tolist() == other.reward.tolist()


def test_a_wrong_propensity_would_be_seen(log: Log) -> None:
    # What the test above can tell: as if every arm had been equally likely.
    flat = log._replace(propensity=np.full(len(log.propensity), 1.0 / 16.0))
    outcome = outcomes(flat)["random"]
    assert not outcome.ips.covers(outcome.truth)


def test_the_bench_has_a_line_for_each_target() -> None:
    table = table_of(measure(runs=2, slates=20))
    assert table.row_count == len(TARGETS)
