from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from training.metrics import DelayedMetrics, auc, average_precision, card_precision, days_of


def labels(*values: int) -> np.ndarray[tuple[int], np.dtype[np.int8]]:
    return np.array(values, dtype=np.int8)


@pytest.mark.parametrize("decimals", [1, 2, 12])
def test_they_equal_scikit_learn_s_with_ties_and_without(decimals: int) -> None:
    rng = np.random.default_rng(decimals)
    score = np.round(rng.random(2000), decimals)
    label = (rng.random(2000) < 0.02 + 0.1 * score).astype(np.int8)
    assert auc(label, score) == pytest.approx(roc_auc_score(label, score), abs=1e-12)
    assert average_precision(label, score) == pytest.approx(average_precision_score(label, score), abs=1e-12)


@pytest.mark.parametrize("label", [labels(), labels(0, 0), labels(1, 1)])
def test_one_class_alone_has_no_auc_and_no_average_precision(
    label: np.ndarray[tuple[int], np.dtype[np.int8]],
) -> None:
    score = np.linspace(0.0, 1.0, len(label))
    assert auc(label, score) is None
    assert average_precision(label, score) is None


def test_card_precision_counts_a_card_once_with_its_highest_score() -> None:
    card = np.array(["a", "a", "b"])
    found = card_precision(np.zeros(3, dtype=np.int64), card, np.array([0.9, 0.1, 0.5]), labels(0, 1, 0), k=1)
    assert found == 1.0


def test_a_card_that_was_caught_is_gone_on_later_days() -> None:
    day, card = np.array([0, 1, 1]), np.array([7, 7, 8])
    assert card_precision(day, card, np.array([0.9, 0.9, 0.5]), labels(1, 1, 1), k=1) == 1.0
    assert card_precision(day, card, np.array([0.9, 0.9, 0.5]), labels(1, 1, 0), k=1) == 0.5


def test_a_card_that_was_missed_stays() -> None:
    day, card = np.array([0, 0, 1]), np.array([1, 2, 1])
    assert card_precision(day, card, np.array([0.1, 0.9, 0.9]), labels(1, 0, 1), k=1) == 0.5


def test_days_with_fewer_cards_than_k_divide_by_k() -> None:
    assert card_precision(np.array([0]), np.array([1]), np.array([0.5]), labels(1), k=100) == 0.01


def test_without_events_there_is_no_card_precision() -> None:
    assert card_precision(np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0), labels()) is None


def test_running_metrics_are_none_until_both_classes_were_seen() -> None:
    metrics = DelayedMetrics()
    metrics.update("a", 0.9, True)
    assert metrics.auc() is None
    metrics.update("b", 0.1, False)
    assert (metrics.auc(), metrics.average_precision(), metrics.fraud_rate()) == (1.0, 1.0, 0.5)


def test_running_metrics_forget_the_oldest() -> None:
    metrics = DelayedMetrics(limit=2)
    for name, score, is_fraud in (("a", 0.1, True), ("b", 0.2, False), ("c", 0.9, True)):
        metrics.update(name, score, is_fraud)
    assert len(metrics) == 2
    assert metrics.auc() == 1.0


def test_a_second_label_corrects_the_first() -> None:
    metrics = DelayedMetrics(limit=2)
    for name, score, is_fraud in (("a", 0.1, True), ("b", 0.2, False), ("a", 0.1, False), ("b", 0.2, True)):
        metrics.update(name, score, is_fraud)
    assert metrics.auc() == 1.0


def test_a_day_ends_at_midnight_utc() -> None:
    assert days_of([86_399_999_999, 86_400_000_000]).tolist() == [0, 1]
