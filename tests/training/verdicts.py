"""A small world with an old kind of fraud and, since last week, a new one that only analysts have labelled so far."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from stream.records import from_micros, micros
from tests.training.conftest import START
from training.feedback_rows import FeedbackRows, JudgedRows
from training.frame import TrainingFrame
from training.metrics import DAY_US
from training.replay import objects

NAMES = ("old_sign", "new_sign", "amount", "hour")
OLD, NEW = 0, 1
FRAUD_RATE = 0.02
NOW_US = micros(START) + 40 * DAY_US
LATER_US = NOW_US + 2 * DAY_US


def frame(X: NDArray[np.float64], y: NDArray[np.bool_], from_day: float, to_day: float, seed: int = 0) -> TrainingFrame:
    """These rows at random times, of a card each for three rows."""
    rng = np.random.default_rng(seed)
    times = micros(START) + np.sort(rng.uniform(from_day * DAY_US, to_day * DAY_US, len(y))).astype(np.int64)
    return TrainingFrame(
        X=X,
        y=y.astype(np.int8),
        event_time_us=times,
        card=objects([f"c{row // 3}-{seed}" for row in range(len(y))]),
        feature_names=NAMES,
        definition_hash="h",
    )


def payments(count: int, seed: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=(count, len(NAMES)))


@cache
def population(count: int = 3_000, seed: int = 1) -> TrainingFrame:
    """All traffic of days 10 to 30: frauds have the old sign, mostly, and the new one means nothing."""
    X = payments(count, seed)
    y = np.random.default_rng(seed + 50).random(count) < FRAUD_RATE
    X[y, OLD] += 2.5
    return frame(X, y, 10, 30, seed)


@cache
def seen(count: int = 400, seed: int = 2, wrong: bool = False) -> TrainingFrame:
    """What analysts saw in days 33 to 40: half is fraud, and all of that has the new sign."""
    X = payments(count, seed)
    y = np.arange(count) % 2 == 0
    X[y, NEW] += 3.0
    return frame(X, y != wrong, 33, 40, seed)


def judged(rows: TrainingFrame, told_us: NDArray[np.int64], prefix: str) -> JudgedRows:
    return JudgedRows(rows, objects([f"{prefix}{row}" for row in range(len(rows.y))]), told_us)


def rows(
    until_us: int = NOW_US, seed: int = 2, *, count: int = 400, wrong: bool = False, covered: float = 1.0
) -> FeedbackRows:
    """The verdicts evenly over the week before `until_us`."""
    told_us = np.linspace(until_us - 7 * DAY_US, until_us, count).astype(np.int64)
    every, verdicts = population(), seen(count, seed, wrong=wrong)
    verdicts = TrainingFrame(
        verdicts.X, verdicts.y, verdicts.event_time_us, verdicts.card, NAMES, "h", label_cutoff_us=int(told_us.max())
    )
    return FeedbackRows(
        judged(verdicts, told_us, "v"), judged(every, every.event_time_us + 7 * DAY_US, "p"), covered=covered
    )


def later_rows(wrong: bool = False) -> FeedbackRows:
    """Other verdicts, two days later."""
    return rows(LATER_US, seed=3, wrong=wrong)


MADE_AT = from_micros(NOW_US)
