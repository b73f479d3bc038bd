"""The bootstrap by card: how far a figure would move had other cards been there.

Whole cards are drawn, not events: the events of one card share its holder and its fraud episode, and taken one by one
they would make an interval far too narrow. Days would be too few to draw from (a week has seven), and the figures by
segment need the same draws. The trap: what strikes all cards on one day, such as an attack on a merchant, is in every
draw; the intervals know nothing of it.

Source: B. Efron, R. Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 8, on clustered data.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.manifest import Interval
from training.metrics import Labels, Scores

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]
TAIL = 0.025
"""On each side of an interval."""

KEPT_LIMIT = 10_000_000
"""Counts that are kept in memory; where there are more, they are drawn anew each time."""

PREFIX = 4
"""Times `k` cards are looked at first: nearly always enough to find `k`, in place of all cards of a day."""


class CardDraws:
    """So many samples of a frame's cards, drawn with replacement; the same each time, so that two models are paired.

    `index` says which card each row is of, in the order of `cards`.
    """

    def __init__(self, card: NDArray[Any], draws: int, seed: int = 0) -> None:
        self.cards, index = np.unique(card, return_inverse=True)
        self.index: NDArray[np.intp] = index
        self.draws = draws
        self._seed = seed
        self._kept: list[Counts] = []

    def __iter__(self) -> Iterator[Counts]:
        """How often each card is in each sample, shape (n_cards,)."""
        if self.draws * len(self.cards) > KEPT_LIMIT:
            return self._drawn()
        if not self._kept:
            self._kept = list(self._drawn())
        return iter(self._kept)

    def _drawn(self) -> Iterator[Counts]:
        rng, n_cards = np.random.default_rng(self._seed), len(self.cards)
        for _ in range(self.draws):
            yield np.bincount(rng.integers(n_cards, size=n_cards), minlength=n_cards)

    def by_card(self, values: Floats) -> Floats:
        """The sum of the rows' values for each card, shape (n_cards,)."""
        sums: Floats = np.bincount(self.index, weights=values, minlength=len(self.cards)).astype(np.float64)
        return sums

    def ratio(self, over: Floats, under: Floats) -> Interval:
        """The sum of one column over that of another, both of shape (n_rows,), such as costs over events."""
        pair = np.stack([self.by_card(over), self.by_card(under)])
        sums = np.array([pair @ counts for counts in self])
        known = sums[:, 1] > 0.0  # a small part of the rows can be absent from a draw
        return interval(float(over.sum() / under.sum()), sums[known, 0] / sums[known, 1])


def interval(value: float, drawn: Floats) -> Interval:
    """A figure with the middle 95% of what the draws gave."""
    low, high = np.quantile(drawn, (TAIL, 1.0 - TAIL)) if len(drawn) else (value, value)
    return Interval(value, float(low), float(high))


class CardRanks:
    """The cards of each day by their highest score: `training.metrics.card_precision`, for one draw after the other."""

    def __init__(self, day: NDArray[np.int64], draws: CardDraws, score: Scores, label: Labels) -> None:
        n_cards = len(draws.cards)
        self._n_cards = n_cards
        self._days: list[tuple[NDArray[np.intp], NDArray[np.bool_]]] = []
        for today in np.unique(day):
            rows = np.flatnonzero(day == today)
            highest = np.full(n_cards, -np.inf)
            np.maximum.at(highest, draws.index[rows], score[rows])
            compromised = np.zeros(n_cards, dtype=bool)
            compromised[draws.index[rows[label[rows] != 0]]] = True
            present = np.flatnonzero(highest > -np.inf)
            order = present[np.argsort(-highest[present], kind="stable")]
            self._days.append((order, compromised[order]))

    def precision(self, counts: Counts, k: int) -> float:
        """Card precision at `k` where each card is there so many times."""
        caught = np.zeros(self._n_cards, dtype=bool)
        share = 0.0
        for cards, compromised in self._days:
            hits, found = self._checked(cards[: PREFIX * k], compromised, caught, counts, k)
            if found < k and len(cards) > PREFIX * k:
                hits, found = self._checked(cards, compromised, caught, counts, k)
            share += float(hits.sum()) / k
            caught[cards[: len(hits)][hits > 0]] = True
        return share / len(self._days)

    def _checked(
        self, cards: NDArray[np.intp], compromised: NDArray[np.bool_], caught: NDArray[np.bool_], counts: Counts, k: int
    ) -> tuple[Counts, int]:
        """How many of the first `k` are compromised, card by card; and how many there were at all."""
        there = counts[cards] * ~caught[cards]
        reached = np.cumsum(there)
        checked = np.maximum(np.minimum(there, k - reached + there), 0)
        return checked * compromised[: len(cards)], int(reached[-1])


class RankedRows:
    """Rows by falling score: `training.metrics.average_precision` and `auc`, for one draw after the other."""

    def __init__(self, index: NDArray[np.intp], score: Scores, label: Labels) -> None:
        order = np.argsort(-score, kind="stable")
        falling = score[order]
        self._index = index[order]
        self._is_fraud = label[order] != 0
        self._last = np.append(np.flatnonzero(np.diff(falling)), len(falling) - 1)

    def average_precision(self, counts: Counts) -> float | None:
        """The average precision where each card is there so many times; None where a class is missing."""
        there = counts[self._index]
        caught = np.cumsum(there * self._is_fraud)[self._last]
        seen = np.cumsum(there)[self._last]
        if caught[-1] == 0 or caught[-1] == seen[-1]:
            return None
        return float(np.sum(caught / np.maximum(seen, 1) * np.diff(caught, prepend=0)) / caught[-1])

    def auc(self, counts: Counts) -> float | None:
        """The area under the ROC curve where each card is there so many times; None where a class is missing."""
        there = counts[self._index]
        caught = np.cumsum(there * self._is_fraud)[self._last]
        alarms = np.cumsum(there)[self._last] - caught
        if caught[-1] == 0 or alarms[-1] == 0:
            return None
        middle = (caught + np.concatenate([[0], caught[:-1]])) / 2.0
        return float(np.sum(np.diff(alarms, prepend=0) * middle) / (caught[-1] * alarms[-1]))
