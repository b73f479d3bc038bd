"""What is usual for an entity, by hand, on histories of its own."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from features.feature_set import ViewRead
from features.history import History
from scoring.use_case import FRAUD
from scoring.usual import UsualValues, entities_of
from stream.records import Transaction
from tests.scoring.conftest import NAMES, T0, payment

USUAL = UsualValues(FRAUD.features)
LEGIT = {"amount": 20.0, "card_count_1h": 1.0, "distance_km": 5.7}


def usual_of(now: Transaction, *before: Transaction) -> dict[str, tuple[Any, bool]]:
    """By feature, what is usual and whether it is the entity's own, after these events and at this one."""
    reads = {view.name: ViewRead(History(view), []) for view in FRAUD.features.views}
    for record in before:
        for view in FRAUD.features.views:
            if isinstance(record, view.source) and (row := view.row(record)) is not None:
                reads[view.name].history.fold(row)
    found = USUAL.of(FRAUD.features.vector(now, reads).values, LEGIT)
    return dict(zip(NAMES, zip(found.values.tolist(), found.own.tolist(), strict=True), strict=True))


def days_ago(days: float, amount: float = 20.0) -> Transaction:
    return payment(f"{days} days ago", event_timestamp=T0 - timedelta(days=days), amount=amount)


def test_the_amount_is_compared_with_the_cards_earlier_ones() -> None:
    usual = usual_of(payment(amount=900.0), days_ago(1, 10.0), days_ago(2, 20.0), days_ago(3, 60.0))
    assert usual["amount"] == (pytest.approx(30.0), True)


def test_a_card_without_a_history_is_compared_with_legit_traffic() -> None:
    for before in ((), (days_ago(1), days_ago(2))):
        usual = usual_of(payment(amount=900.0), *before)
        assert usual["amount"] == (20.0, False)
        assert usual["card_count_1h"] == (1.0, False)
    assert all(math.isnan(value) and not own for name, (value, own) in usual.items() if name not in LEGIT)


def test_counts_are_compared_with_the_rate_of_the_rest_of_the_history() -> None:
    usual = usual_of(payment(), *(days_ago(day) for day in range(1, 21)), days_ago(0.01))
    # Itself, and of the 20 events in the 19 days before today's, a day's worth; the one a day ago is out of the window.
    assert usual["card_count_1d"] == (pytest.approx(1.0 + 20 / 19), True)
    assert usual["card_sum_amount_1d"] == (pytest.approx((1.0 + 20 / 19) * 20.0), True)
    assert usual["card_since_last"] == (pytest.approx((20 - 0.01) * 86_400 / 20), True)


def test_a_short_history_of_a_merchant_is_not_taken_for_a_quiet_month() -> None:
    before = [payment(f"e{n}", card_id=f"c{n}", event_timestamp=T0 - timedelta(hours=2 * n)) for n in range(1, 13)]
    value, own = usual_of(payment(), *before)["merchant_count_1h"]
    assert own
    assert value == pytest.approx(1.0 + 12 / 167)  # within a week, all that is known; not 12 / 719


def test_means_leave_the_present_window_out() -> None:
    usual = usual_of(
        payment(amount=500.0), days_ago(0.5, 400.0), days_ago(2, 10.0), days_ago(3, 20.0), days_ago(4, 30.0)
    )
    assert usual["card_mean_amount_1d"] == (pytest.approx(20.0), True)
    assert usual["merchant_mean_amount_1d"] == (pytest.approx(20.0), True)


def test_what_a_history_says_nothing_of_stays_the_reference() -> None:
    usual = usual_of(payment(), *(days_ago(day) for day in range(1, 9)))
    assert usual["distance_km"] == (5.7, False)
    assert not usual["card_max_amount_1d"][1]
    assert not usual["card_count_30d"][1]


def test_a_vector_of_nothing_but_nulls_has_the_reference() -> None:
    found = USUAL.of(np.full(len(NAMES), math.nan), LEGIT)
    assert not found.own.any()
    assert np.nansum(found.values) == pytest.approx(sum(LEGIT.values()))


def test_whose_history_is_said_for_every_feature() -> None:
    whose = dict(zip(NAMES, entities_of(FRAUD.features), strict=True))
    names = ("card_count_1h", "merchant_fraud_count_7d", "device_count_1h", "amount")
    assert [whose[name] for name in names] == ["card", "merchant", "device", "card"]
