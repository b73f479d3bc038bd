"""How good what an arm said was: overall, week by week, and against the same batch member alone."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Literal, NamedTuple

import numpy as np

from bench.figures import Figure, Figures
from bench.late_rows import WEEK_DAYS, LateRows
from models.contract import Vector
from models.manifest import Interval
from scoring.use_case import FRAUD
from training.card_draws import CardDraws, CardRanks, Counts, RankedRows, interval
from training.metrics import DAY_US, days_of
from training.policy_cost import PolicyCost

DRAWS = 200
PER_EVENTS = 1000.0
AUC, AP, CP, COST = "AUC", "average precision", "card precision", "cost"
WEEKLY_AP = "average precision, mean of the weeks"
"""How rows of one week are ranked among each other; that of all weeks at once also wants scores that mean the same in
each, as a policy does."""


class Drawn(NamedTuple):
    """A figure of all weeks, of each week, and as it would be had other cards been there, shape (n_draws,)."""

    value: float
    by_week: list[float]
    draws: Vector


class Judge:
    """Judges any number of arms by the same rows and the same draws of cards, so that differences are paired.

    The card precision of all weeks is the mean of theirs: a card that was caught is looked at again the next week,
    since the handbook's cards are never replaced.
    """

    def __init__(self, rows: LateRows) -> None:
        judged = rows.judged
        self._y = rows.frame.y[judged]
        self._records = rows.records[judged].tolist()
        self._day = days_of(rows.frame.event_time_us[judged])
        self._week = (rows.frame.event_time_us[judged] - rows.begins_us) // (WEEK_DAYS * DAY_US)
        self._weeks = np.unique(self._week).tolist()
        self._k = max(rows.cards_a_day, 1)
        self._draws = CardDraws(rows.frame.card[judged].astype(str), DRAWS)
        self._costs = PolicyCost(FRAUD.policy, FRAUD.source)

    def all_of(self, score: Vector) -> dict[str, Drawn]:
        """Every figure of one arm, by its name."""
        return {
            AUC: self._ranked(score, RankedRows.auc),
            AP: self._ranked(score, RankedRows.average_precision),
            WEEKLY_AP: self._mean_of_weeks(score),
            CP: self._card_precision(score),
            COST: self._cost(score),
        }

    def _ranked(self, score: Vector, measure: Callable[[RankedRows, Counts], float | None]) -> Drawn:
        each = np.ones(len(self._draws.cards), dtype=np.int64)
        ranked = RankedRows(self._draws.index, score, self._y)
        by_week = []
        for week in self._weeks:
            rows = self._week == week
            by_week.append(measure(RankedRows(self._draws.index[rows], score[rows], self._y[rows]), each))
        drawn = [measure(ranked, counts) for counts in self._draws]
        return Drawn(_known(measure(ranked, each)), [_known(one) for one in by_week], np.array([*map(_known, drawn)]))

    def _mean_of_weeks(self, score: Vector) -> Drawn:
        each = np.ones(len(self._draws.cards), dtype=np.int64)
        ranked = []
        for week in self._weeks:
            rows = self._week == week
            ranked.append(RankedRows(self._draws.index[rows], score[rows], self._y[rows]))
        by_week = [_known(one.average_precision(each)) for one in ranked]
        drawn = [np.nanmean([_known(one.average_precision(counts)) for one in ranked]) for counts in self._draws]
        return Drawn(float(np.nanmean(by_week)), by_week, np.array(drawn))

    def _card_precision(self, score: Vector) -> Drawn:
        each = np.ones(len(self._draws.cards), dtype=np.int64)
        ranks = []
        for week in self._weeks:
            rows = self._week == week
            # The same cards in the same order as all draws have them; those that are not there score nothing.
            part = copy(self._draws)
            part.index = self._draws.index[rows]
            ranks.append(CardRanks(self._day[rows], part, score[rows], self._y[rows]))
        by_week = [one.precision(each, self._k) for one in ranks]
        drawn = [float(np.mean([one.precision(counts, self._k) for one in ranks])) for counts in self._draws]
        return Drawn(float(np.mean(by_week)), by_week, np.array(drawn))

    def _cost(self, score: Vector) -> Drawn:
        cost = self._costs.of(self._records, np.nan_to_num(score), self._y) * PER_EVENTS
        pair = np.stack([self._draws.by_card(cost), self._draws.by_card(np.ones(len(cost)))])
        sums = np.array([pair @ counts for counts in self._draws])
        by_week = [float(cost[self._week == week].mean()) for week in self._weeks]
        return Drawn(float(cost.mean()), by_week, sums[:, 0] / sums[:, 1])


UNITS = {AUC: "share", AP: "share", WEEKLY_AP: "share", CP: "share of cards", COST: "per 1,000 events"}


def figures_of(world: str, arm: str, ours: dict[str, Drawn], k: int) -> Figures:
    """Each figure of an arm, its weeks in the note."""
    found: Figures = {}
    for name, drawn in ours.items():
        weeks = ", ".join(f"{value:.3f}" if name != COST else f"{value:,.0f}" for value in drawn.by_week)
        note = f"by week {weeks}" if name != CP else f"at {k} a day; by week {weeks}"
        found[f"{world}: {arm}, {name}"] = Figure(drawn.value, UNITS[name], None, _better(name), note)
    return found


def gains_of(world: str, arm: str, ours: dict[str, Drawn], theirs: dict[str, Drawn], base: str) -> Figures:
    """What an arm has more than another, with intervals; of cost, what it has less is the gain of it."""
    found: Figures = {}
    for name, drawn in ours.items():
        gain = interval(drawn.value - theirs[name].value, drawn.draws - theirs[name].draws)
        better = sum(
            (one - other) * (-1 if name == COST else 1) > 0.0
            for one, other in zip(drawn.by_week, theirs[name].by_week, strict=True)
        )
        note = f"{said(gain)} by card; better in {better} of {len(drawn.by_week)} weeks"
        label = f"{world}: {arm} against {base}, {name}"
        found[label] = Figure(gain.value, UNITS[name], None, _better(name), note)
    return found


def said(one: Interval) -> str:
    """An interval in words, such as "95% +0.001 to +0.012"."""
    return f"95% {one.low:+.4g} to {one.high:+.4g}"


def _better(name: str) -> Literal["lower", "higher"]:
    return "lower" if name == COST else "higher"


def _known(value: float | None) -> float:
    return np.nan if value is None else value
