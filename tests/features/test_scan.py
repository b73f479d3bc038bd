"""One scan answers every window: small histories with obvious answers."""

from __future__ import annotations

from math import isnan, nan
from typing import Any

import pytest

from features.aggregates import (
    Aggregate,
    count,
    decayed_count,
    decayed_sum,
    distinct,
    last,
    max,
    mean,
    min,
    previous,
    share,
    since_first,
    since_last,
    std,
    sum,
)
from features.history import History
from features.scan import Scan
from features.view import View
from stream.records import Transaction
from tests.oracle import DAY, HOUR, MINUTE, SECOND, T0_US, differences, everything, payment, read


def packed(view: View, record: Transaction) -> bytes:
    row = view.row(record)
    assert row is not None
    return row


class Card:
    """A card's history and its reading, over one window of an hour."""

    def __init__(self, *aggregates: Aggregate) -> None:
        self.view = View("card", entity="card_id", source=Transaction, windows=("1h",), features=list(aggregates))
        self.history = History(self.view)
        self.scan = Scan(self.view)
        self.number = 0

    def paid(self, *ages_us: int, **fields: Any) -> Card:
        """Payments that were made so long before T0."""
        for age_us in ages_us:
            self.number += 1
            assert self.history.fold(packed(self.view, payment(self.number, T0_US - age_us, **fields)))
        return self

    def at(self, at_us: int = T0_US, **options: Any) -> list[float]:
        values, approximate = self.scan.read(self.history, at_us, **options)
        assert approximate == []
        return [float(value) for value in values]


def test_count_covers_only_the_last_hour() -> None:
    assert Card(count()).paid(2 * HOUR, 30 * MINUTE, MINUTE).at() == [2]


def test_a_window_begins_after_its_edge_and_ends_at_its_time() -> None:
    assert Card(count()).paid(HOUR).at() == [0]
    assert Card(count()).paid(HOUR - 1).at() == [1]
    assert Card(count()).paid(0).at() == [1]
    assert Card(count()).paid(-1).at() == [0]


def test_a_window_read_later_without_new_events_has_moved_on() -> None:
    card = Card(count(), since_last()).paid(0)
    assert card.at(T0_US + HOUR - 1) == [1, 3599.999999]
    assert card.at(T0_US + HOUR) == [0, 3600]


def test_a_delayed_window_leaves_out_what_is_too_young() -> None:
    card = Card(count(delay="7d")).paid(7 * DAY + HOUR, 7 * DAY + HOUR - 1, 7 * DAY, 7 * DAY - 1, 0)
    assert card.at() == [2]


def test_the_scored_event_is_in_its_windows() -> None:
    card = Card(count(), sum("amount"), last("amount")).paid(MINUTE, amount=1.0)
    current = packed(card.view, payment(9, T0_US, amount=2.0))
    assert card.at(current=current) == [2, 3, 2]
    assert card.at() == [1, 1, 1]


def test_since_last_and_previous_look_before_the_scored_event() -> None:
    card = Card(since_last(), previous("amount")).paid(3 * SECOND, amount=1.0)
    current = packed(card.view, payment(9, T0_US, amount=2.0))
    assert card.at(current=current) == [3, 1]


def test_of_events_at_one_time_the_later_arrival_is_the_last() -> None:
    card = Card(last("amount"), previous("amount")).paid(0, amount=1.0).paid(0, amount=2.0)
    assert card.at() == [2, 2]


def test_a_late_event_takes_its_place_by_time() -> None:
    card = Card(last("amount"), count(), since_first()).paid(SECOND, amount=1.0).paid(MINUTE, amount=2.0)
    assert card.at() == [1, 2, 60]


def test_events_after_the_scored_one_are_not_seen() -> None:
    card = Card(count(), last("amount"), since_last()).paid(MINUTE, amount=1.0).paid(-MINUTE, amount=2.0)
    assert card.at(current=packed(card.view, payment(9, T0_US, amount=3.0))) == [2, 3, 60]


def test_pending_rows_are_seen_in_any_order() -> None:
    card = Card(count(), last("amount"), sum("amount")).paid(30 * SECOND, amount=1.0)
    pending = [packed(card.view, payment(n, T0_US - n * SECOND, amount=float(n))) for n in (2, 40, 3)]
    assert card.at(pending=pending) == [4, 2, 46]


def test_nulls_are_left_out() -> None:
    card = Card(count(), sum("latitude"), mean("latitude"), std("latitude"), min("latitude"), max("latitude"))
    card.paid(3, latitude=10.0).paid(2).paid(1, latitude=20.0)
    assert card.at() == [3, 30, 15, 5, 10, 20]


def test_an_empty_history_counts_nothing_and_knows_nothing() -> None:
    aggregates = [count(), sum("amount"), distinct("merchant_id"), decayed_count("1h"), decayed_sum("amount", "1h")]
    assert Card(*aggregates).at() == [0, 0, 0, 0, 0]
    unknown = [mean("amount"), std("amount"), min("amount"), max("amount"), last("amount"), previous("amount")]
    unknown += [since_first(), since_last(), share("amount < 5", name="small")]
    assert all(isnan(value) for value in Card(*unknown).at())


def test_share_and_count_where_tell_satisfied_from_all() -> None:
    card = Card(share("amount < 5", name="small"), count(where="amount < 5", name="small_count"))
    assert card.paid(3, amount=1.0).paid(2, 1, amount=5.0).at() == [1 / 3, 1]


def test_distinct_ignores_nulls() -> None:
    card = Card(distinct("device_id")).paid(4).paid(3, device_id="a").paid(2, device_id="b").paid(1, device_id="a")
    assert card.at() == [2]


def test_an_event_weighs_half_after_its_half_life() -> None:
    card = Card(decayed_count("10m"), decayed_sum("amount", "10m")).paid(20 * MINUTE, 10 * MINUTE, 0, amount=8.0)
    assert card.at() == pytest.approx([1.75, 14])


def test_equal_amounts_have_a_deviation_of_exactly_zero() -> None:
    assert Card(std("amount")).paid(*range(200, 0, -1), amount=9.99).at() == [0]
    assert Card(std("latitude")).paid(2, 1, latitude=0.1).paid(0).at() == [0]


def test_std_keeps_its_digits_where_the_spread_is_small_beside_the_mean() -> None:
    card = Card(std("amount")).paid(3, amount=1e9).paid(2, amount=1e9 + 0.001).paid(1, amount=1e9 - 0.001)
    step = (1e9 + 0.001) - 1e9
    assert card.at() == pytest.approx([step * (2 / 3) ** 0.5], rel=1e-9)


def test_std_survives_an_outlier_as_the_last_value() -> None:
    card = Card(std("amount")).paid(*range(100, 0, -1), amount=0.001).paid(0, amount=1e9)
    assert card.at() == pytest.approx([1e9 * (100 / 101**2) ** 0.5], rel=1e-9)


def test_a_view_without_columns_can_be_read() -> None:
    assert Card(count()).paid(2, 1).at() == [2]
    assert Card(since_last()).paid(SECOND).at() == [1]


def test_every_aggregate_of_one_event_equals_the_oracle() -> None:
    view = everything()
    history = History(view)
    record = payment(1, T0_US, amount=3.5, latitude=-4.0, device_id="d")
    history.fold(packed(view, record))
    for after_us in (-1, 0, 9 * SECOND, 10 * SECOND, MINUTE, 70 * SECOND, HOUR, DAY):
        values, approximate = Scan(view).read(history, T0_US + after_us)
        assert approximate == []
        assert differences(view.names, values.tolist(), read(view, [record], T0_US + after_us)) == {}


def test_what_is_null_is_nan() -> None:
    assert str(Card(mean("amount")).at()) == str([nan])
