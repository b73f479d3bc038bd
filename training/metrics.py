"""How good scores were, once the labels are known: exact, not binned, since at 0.5% fraud a bin hides the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
Labels = NDArray[np.int8]

DAY_US = 86_400_000_000


def auc(label: Labels, score: Scores) -> float | None:
    """Area under the ROC curve: how often a fraud scores above a legit event, ties counting half.

    In [0, 1]; None until both classes are there. Source: the Mann-Whitney statistic by ranks; T. Fawcett, "An
    introduction to ROC analysis", 2006.

    >>> auc(np.array([0, 1, 1], dtype=np.int8), np.array([0.1, 0.1, 0.9]))
    0.75
    """
    n_fraud = int(np.count_nonzero(label))
    n_legit = len(label) - n_fraud
    if n_fraud == 0 or n_legit == 0:
        return None
    _, place, count = np.unique(score, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    rank = (last - (count - 1) / 2.0)[place]  # from 1; events with one score share the middle of their ranks
    return float((rank[label != 0].sum() - n_fraud * (n_fraud + 1) / 2.0) / (n_fraud * n_legit))


def average_precision(label: Labels, score: Scores) -> float | None:
    """Sum over thresholds of precision times the recall gained, without interpolation.

    In [0, 1]; None until both classes are there. Events with one score pass a threshold together. Source:
    scikit-learn's `average_precision_score`, which it equals.

    >>> average_precision(np.array([1, 0, 1, 0], dtype=np.int8), np.array([0.9, 0.8, 0.7, 0.1]))
    0.8333333333333333
    """
    n_fraud = int(np.count_nonzero(label))
    if n_fraud == 0 or n_fraud == len(label):
        return None
    order = np.argsort(-score, kind="stable")
    falling = score[order]
    last = np.append(np.flatnonzero(np.diff(falling)), len(falling) - 1)
    caught = np.cumsum(label[order] != 0)[last]
    precision = caught / (last + 1.0)
    return float(np.sum(precision * np.diff(caught, prepend=0)) / n_fraud)


def card_precision(
    day: NDArray[np.int64], card: NDArray[Any], score: Scores, label: Labels, k: int = 100
) -> float | None:
    """Of the `k` cards that analysts can check in a day, the share that is compromised; the mean over days.

    A card counts with its highest score of the day and is compromised if any of its events that day is fraud. A card
    that was caught is blocked: it is gone on later days. A day with fewer than `k` cards still divides by `k`.
    None without events. Source: Fraud Detection Handbook, chapter 4, "Card Precision top-k".
    """
    shares = list(card_precision_by_day(day, card, score, label, k).values())
    return float(np.mean(shares)) if shares else None


def card_precision_by_day(
    day: NDArray[np.int64], card: NDArray[Any], score: Scores, label: Labels, k: int = 100
) -> dict[int, float]:
    """The shares of which `card_precision` is the mean, by day."""
    cards, card_index = np.unique(card, return_inverse=True)
    caught = np.zeros(len(cards), dtype=bool)
    shares: dict[int, float] = {}
    for today in np.unique(day).tolist():
        rows = np.flatnonzero((day == today) & ~caught[card_index])
        highest = np.full(len(cards), -np.inf)
        np.maximum.at(highest, card_index[rows], score[rows])
        compromised = np.zeros(len(cards), dtype=bool)
        compromised[card_index[rows[label[rows] != 0]]] = True
        present = np.flatnonzero(highest > -np.inf)
        top = present[np.argsort(-highest[present], kind="stable")[:k]]
        shares[today] = float(np.count_nonzero(compromised[top])) / k
        caught[top[compromised[top]]] = True
    return shares


def calibration_error(label: Labels, score: Scores, bins: int = 10) -> float | None:
    """Expected calibration error: over bins of equal mass, the mean distance of the mean score from the fraud rate.

    In [0, 1], in the unit of a probability; None without events. Bins of equal width would put nearly all events of
    a rare class into one. Source: M. Naeini, G. Cooper, M. Hauskrecht, "Obtaining well calibrated probabilities using
    Bayesian binning", 2015.

    >>> calibration_error(np.array([0, 0, 1, 1], dtype=np.int8), np.array([0.1, 0.1, 0.5, 0.5]), bins=2)
    0.3
    """
    if not len(label):
        return None
    order = np.argsort(score, kind="stable")
    return _binned_error(score[order], (label[order] != 0).astype(np.float64), bins)


def chance_calibration_error(score: Scores, bins: int = 10, draws: int = 100, seed: int = 0) -> float:
    """The calibration error that scores would show were each exactly the probability of its event.

    Few frauds scatter about any score: what `calibration_error` has beyond this is the model's own. Source: J. Bröcker,
    L. Smith, "Increasing the reliability of reliability diagrams", 2007.
    """
    rng, rising = np.random.default_rng(seed), np.sort(score)
    drawn = [_binned_error(rising, (rng.random(len(rising)) < rising).astype(np.float64), bins) for _ in range(draws)]
    return float(np.mean(drawn))


def _binned_error(rising: Scores, is_fraud: Scores, bins: int) -> float:
    """Over bins of equal mass, rows by rising score."""
    edges = np.linspace(0, len(rising), min(bins, len(rising)), endpoint=False).astype(np.int64)
    return float(np.abs(np.add.reduceat(rising - is_fraud, edges)).sum() / len(rising))


class DelayedMetrics:
    """AUC and average precision of logged scores whose labels came later, over the latest `limit` labelled events.

    An event counts once: another label for it takes the place of the first. Reading sorts, so read as often as people
    look, not once per label.
    """

    def __init__(self, limit: int = 100_000) -> None:
        self._limit = limit
        self._latest: dict[str, tuple[float, bool]] = {}

    def __len__(self) -> int:
        return len(self._latest)

    def update(self, event_id: str, score: float, is_fraud: bool) -> None:
        """Add one labelled score, or correct that of an event that is still among the latest."""
        if event_id not in self._latest and len(self._latest) >= self._limit:
            del self._latest[next(iter(self._latest))]
        self._latest[event_id] = (score, is_fraud)

    def forget(self, event_id: str) -> None:
        """Take an event out, if it is there."""
        self._latest.pop(event_id, None)

    def auc(self) -> float | None:
        """Exact area under the ROC curve; None until both classes were seen."""
        return auc(*self._columns())

    def average_precision(self) -> float | None:
        """Exact average precision; None until both classes were seen."""
        return average_precision(*self._columns())

    def fraud_rate(self) -> float | None:
        """The share of fraud among the labelled; None before the first label."""
        label, _ = self._columns()
        return float(np.mean(label)) if len(label) else None

    def _columns(self) -> tuple[Labels, Scores]:
        pairs = self._latest.values()
        label = np.fromiter((is_fraud for _, is_fraud in pairs), np.int8, len(pairs))
        return label, np.fromiter((score for score, _ in pairs), np.float64, len(pairs))


def days_of(event_time_us: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    """The day, counted from 1970 in UTC, of each time in microseconds."""
    return np.asarray(event_time_us, dtype=np.int64) // DAY_US
