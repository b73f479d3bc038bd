from __future__ import annotations

import numpy as np
import pytest

from tests.training.contest import frame
from training.card_draws import CardDraws, CardRanks, RankedRows
from training.metrics import average_precision, calibration_error, card_precision, chance_calibration_error, days_of
from training.segments import metrics_by_segment, segments_of

ROWS = frame()
DAY = days_of(ROWS.event_time_us)
SCORE = np.round(1.0 / (1.0 + np.exp(4.0 - ROWS.X[:, 1])), 3)  # rounded: with ties


def test_with_each_card_once_the_figures_are_the_exact_ones() -> None:
    draws = CardDraws(ROWS.card, 1)
    once = np.ones(len(draws.cards), dtype=np.int64)
    for k in (1, 20, 2000):
        ranks = CardRanks(DAY, draws, SCORE, ROWS.y)
        assert ranks.precision(once, k) == pytest.approx(card_precision(DAY, ROWS.card, SCORE, ROWS.y, k))
    ranked = RankedRows(draws.index, SCORE, ROWS.y)
    assert ranked.average_precision(once) == pytest.approx(average_precision(ROWS.y, SCORE))


def test_a_card_that_is_there_twice_counts_as_two_cards() -> None:
    draws = CardDraws(ROWS.card, 1)
    counts = np.arange(len(draws.cards)) % 3
    copies = [np.flatnonzero(counts[draws.index] > copy) for copy in (0, 1)]
    rows = np.concatenate(copies)
    ranked = RankedRows(draws.index, SCORE, ROWS.y)
    assert ranked.average_precision(counts) == pytest.approx(average_precision(ROWS.y[rows], SCORE[rows]))


def test_the_same_draws_come_each_time_and_hold_as_many_cards() -> None:
    draws = CardDraws(ROWS.card, 3)
    first, again = list(draws), list(draws)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert {int(counts.sum()) for counts in first} == {len(draws.cards)}


def test_events_of_one_card_make_the_interval_wider_than_events_apart() -> None:
    rng = np.random.default_rng(0)
    card = np.repeat(np.arange(100), 20)
    value = np.repeat(rng.normal(size=100), 20)  # all of a card are alike
    one = np.ones(2000)
    together = CardDraws(card, 400).ratio(value, one)
    apart = CardDraws(np.arange(2000), 400).ratio(value, one)
    assert together.value == pytest.approx(apart.value)
    assert together.high - together.low > 3 * (apart.high - apart.low)
    assert together.low < 0.0 < together.high


def test_the_interval_of_a_mean_is_that_of_theory() -> None:
    value = np.random.default_rng(1).normal(size=900)
    found = CardDraws(np.arange(900), 1000).ratio(value, np.ones(900))
    assert found.high - found.low == pytest.approx(2 * 1.96 * value.std() / 30.0, rel=0.15)


def test_true_probabilities_are_off_by_no_more_than_chance() -> None:
    truth = 1.0 / (1.0 + np.exp(4.0 - ROWS.X @ np.array((0.0, 1.2, 1.6))))
    error = calibration_error(ROWS.y, truth)
    assert error is not None
    assert error == pytest.approx(chance_calibration_error(truth), abs=0.006)
    twice = calibration_error(ROWS.y, np.minimum(1.0, 2 * truth))
    assert twice is not None
    assert twice > 0.05 > 5 * chance_calibration_error(truth)


def test_every_part_of_the_rows_has_its_figures() -> None:
    assert ROWS.records is not None
    parts = segments_of(ROWS.records.tolist())
    assert {"amount: below 20", "amount: 20 to 100", "device: known", "device: unknown"} <= parts.keys()
    assert not any(name.startswith(("currency", "place")) for name in parts)  # all are alike
    found = metrics_by_segment(ROWS.card, ROWS.y, SCORE, parts)
    assert found["all"].rows == len(ROWS.y)
    assert found["device: known"].rows + found["device: unknown"].rows == len(ROWS.y)
    precision = found["all"].average_precision
    assert precision is not None
    assert precision.value == pytest.approx(average_precision(ROWS.y, SCORE))
    assert precision.low < precision.value < precision.high
