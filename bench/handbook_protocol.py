"""The Fraud Detection Handbook's protocol: a week to learn from, a week's delay, a week to be judged on.

On each judged day the customers are left out whose fraud is known by then: those of the training week, and those of
later days once the delay has passed. Source: Fraud Detection Handbook, chapter 3, "Baseline fraud detection system",
and chapter 5, "Validation strategies" (for the folds, each a week after the one before).
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.handbook_rows import EPOCH, Rows
from models.contract import Vector
from training.metrics import auc, average_precision, card_precision

WEEK_DAYS = 7
DELAY_DAYS = 7
CARDS_A_DAY = 100
NEVER = np.iinfo(np.int64).max
Places = NDArray[np.intp]


class Fold(NamedTuple):
    """One round of the protocol, by the first day of its training week."""

    train_from: date

    @property
    def test_from(self) -> date:
        """The first judged day."""
        return self.train_from + timedelta(days=WEEK_DAYS + DELAY_DAYS)

    @property
    def last(self) -> date:
        """The last judged day."""
        return self.test_from + timedelta(days=WEEK_DAYS - 1)

    def later(self, weeks: int) -> Fold:
        """So many weeks later; earlier where negative."""
        return Fold(self.train_from + timedelta(weeks=weeks))


class Quality(NamedTuple):
    """The three measures that the handbook publishes, each in [0, 1]."""

    auc: float
    average_precision: float
    card_precision: float


CHAPTER_3 = Fold(date(2018, 7, 25))
"""The baseline table's; the first of four prequential folds."""
PREQUENTIAL = tuple(CHAPTER_3.later(weeks) for weeks in range(4))


def day_number(day: date) -> int:
    """Days since 1970."""
    return (day - EPOCH).days


def training_rows(rows: Rows, fold: Fold, since: date | None = None) -> Places:
    """The training week; or from `since` on to its end: all that has matured when the judged week begins."""
    first = day_number(fold.train_from if since is None else since)
    return np.flatnonzero((rows.day >= first) & (rows.day < day_number(fold.train_from) + WEEK_DAYS))


def judged_rows(rows: Rows, fold: Fold) -> Places:
    """The judged week, each day without the customers whose fraud is known by then.

    Known is what happened from the first day of the training week to the day before the delay began: `DELAY_DAYS`
    before the day before the judged one.
    """
    begins, tested = day_number(fold.train_from), day_number(fold.test_from)
    week = np.flatnonzero((rows.day >= tested) & (rows.day < tested + WEEK_DAYS))
    # Rows are in the order of their times: written backwards, the first fraud of each customer stays.
    frauds = np.flatnonzero((rows.y != 0) & (rows.day >= begins))[::-1]
    first_fraud = dict(zip(rows.card[frauds].tolist(), rows.day[frauds].tolist(), strict=True))
    first = np.array([first_fraud.get(card, NEVER) for card in rows.card[week].tolist()], dtype=np.int64)
    judged: Places = week[first >= rows.day[week] - DELAY_DAYS]
    return judged


def quality(rows: Rows, judged: Places, score: Vector) -> Quality:
    """How good the scores of the judged rows are. Raises `ValueError` where they have only one class."""
    y = rows.y[judged]
    area, precision = auc(y, score), average_precision(y, score)
    cards = card_precision(rows.day[judged], rows.card[judged], score, y, CARDS_A_DAY)
    if area is None or precision is None or cards is None:
        raise ValueError(f"of {len(y):,} judged rows {int(y.sum())} are fraud: both classes are needed; take more rows")
    return Quality(area, precision, cards)


def mean_quality(several: list[Quality]) -> Quality:
    """The mean of each measure over folds."""
    means = np.mean(several, axis=0)
    return Quality(*(float(mean) for mean in means))


def missing_days(rows: Rows, fold: Fold) -> int:
    """How many days of the judged week the file lacks."""
    return max(0, min(WEEK_DAYS, day_number(fold.last) - int(rows.day.max())))
