"""Tiny worlds of late labels, in which knowing one too early would show."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from bench.late_rows import LateRows
from stream.records import Transaction, from_micros, micros
from training.frame import TrainingFrame
from training.metrics import DAY_US
from training.replay import objects

FIRST_US = micros(datetime(2026, 1, 5, tzinfo=UTC))
NAMES = ("side", "amount")
DELAY_DAYS = 7
CARDS = 30


def late_rows(
    side_is_fraud: NDArray[np.bool_],
    begins: int,
    *,
    cards_a_day: int = 8,
    delay_days: int = DELAY_DAYS,
    a_day: int = 40,
) -> LateRows:
    """Days of payments: on each, those on one side are fraud, half of them, and the side is given day by day.

    Scored from the day `begins` on, up to the last of them.
    """
    rng = np.random.default_rng(0)
    days = len(side_is_fraud)
    day = np.repeat(np.arange(days), a_day)
    times = np.sort(FIRST_US + day * DAY_US + rng.integers(DAY_US, size=len(day)))
    high = rng.random(len(day)) < 0.5
    y = (high == side_is_fraud[day]).astype(np.int8)
    card = rng.integers(CARDS, size=len(day))
    amount = np.round(rng.uniform(10.0, 200.0, len(day)), 2)
    records = [
        Transaction(
            event_id=f"e{row}",
            event_timestamp=from_micros(int(times[row])),
            card_id=f"c{card[row]}",
            merchant_id="m",
            amount=float(amount[row]),
        )
        for row in range(len(day))
    ]
    frame = TrainingFrame(
        X=np.column_stack([np.where(high, 1.0, -1.0), amount]),
        y=y,
        event_time_us=times,
        card=objects([one.card_id for one in records]),
        feature_names=NAMES,
        definition_hash="h",
    )
    begins_us, ends_us = FIRST_US + begins * DAY_US, FIRST_US + days * DAY_US
    return LateRows("tiny", frame, objects(records), times + delay_days * DAY_US, begins_us, ends_us, cards_a_day)


def turned_from(rows: LateRows, day: int) -> LateRows:
    """The same rows, but from a day on every label is the opposite."""
    later = rows.frame.event_time_us >= FIRST_US + day * DAY_US
    return replace(rows, frame=replace(rows.frame, y=np.where(later, 1 - rows.frame.y, rows.frame.y).astype(np.int8)))
