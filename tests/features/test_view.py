"""Declarations: the names they give, and what they say of a mistake."""

from __future__ import annotations

from typing import Any

import pytest

from features.aggregates import Aggregate, count, decayed_count, distinct, last, max, mean, previous, share, since_last
from features.aggregates import sum as total
from features.duration import duration_us
from features.expression import InvalidExpression
from features.view import View, member_hash
from stream.records import Label, Transaction
from tests.oracle import DAY, HOUR, MINUTE, T0_US, payment


def view(*features: Aggregate, **options: Any) -> View:
    settings: dict[str, Any] = {"entity": "card_id", "source": Transaction, "windows": ("10m", "1d")} | options
    return View("card", features=list(features), **settings)


@pytest.mark.parametrize(
    ("aggregate", "names"),
    [
        (count(), ("card_count_10m", "card_count_1d")),
        (count(windows=("7d",), delay="1h"), ("card_count_7d_after_1h",)),
        (total("amount", windows=("1h",)), ("card_sum_amount_1h",)),
        (count(where="amount < 5", name="small", windows=("1h",)), ("card_small_1h",)),
        (share("amount < 5", name="small_share", windows=("1h",)), ("card_small_share_1h",)),
        (decayed_count("6h", windows=("7d",)), ("card_decayed_count_half_6h_7d",)),
        (since_last(), ("card_since_last",)),
        (previous("latitude"), ("card_previous_latitude",)),
        (last("amount", name="latest", windows=("1d",)), ("card_latest_1d",)),
        (distinct("device_id", windows=("1d",)), ("card_distinct_device_id_1d",)),
    ],
)
def test_names_say_what_over_which_window(aggregate: Aggregate, names: tuple[str, ...]) -> None:
    assert view(aggregate).names == names


def test_the_horizon_is_the_longest_look_back_and_a_day() -> None:
    assert view(count()).horizon_us == 2 * DAY
    assert view(count(delay="7d")).horizon_us == 9 * DAY
    assert view(count(windows=("30d",))).horizon_us == 31 * DAY
    assert view(since_last(), windows=("1d", "10m")).horizon_us == 2 * DAY


def test_equal_columns_are_kept_once() -> None:
    assert len(view(total("amount"), mean("amount"), max("amount")).columns) == 1


@pytest.mark.parametrize(
    ("features", "options", "message"),
    [
        ([mean("amont")], {}, r"'amont' is no number field of Transaction; use \[.*'amount'"),
        ([mean("currency")], {}, r"'currency' is no number field of Transaction; use"),
        ([distinct("amount")], {}, r"'amount' is no text field of Transaction; use \[.*'merchant_id'"),
        ([count()], {"entity": "cart_id"}, r"no id field 'cart_id'; it has \[.*'card_id'"),
        ([count()], {"entity": "amount"}, r"no id field 'amount'"),
        ([count(), count()], {}, "declares 'card_count_10m' twice; give one a name"),
        ([count(where="amount < 5")], {}, "needs a name"),
        ([count(where="amont < 5", name="small")], {}, "did you mean 'amount'"),
        ([count()], {"where": "amont < 5"}, "did you mean 'amount'"),
        ([count()], {"where": "amount"}, "a boolean is needed"),
        ([count(windows=("1w",))], {}, "'1w' is not a duration; write a whole number and"),
        ([count(windows=("0s",))], {}, "which holds nothing"),
        ([decayed_count("0m")], {}, "which holds nothing"),
    ],
)
def test_a_wrong_declaration_names_the_remedy(features: list[Aggregate], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        view(*features, **options)


def test_a_record_without_the_entity_does_not_touch_the_view() -> None:
    by_device = view(count(), entity="device_id")
    assert by_device.row(payment(1, T0_US)) is None
    assert by_device.row(payment(1, T0_US, device_id="d")) is not None


def test_a_label_without_the_time_of_its_event_does_not_touch_the_view() -> None:
    by_merchant = View("m", entity="merchant_id", source=Label, windows=("1d",), features=[count()])
    label = Label(event_id="e", label="fraud", labelled_at=payment(1, T0_US).event_timestamp, merchant_id="m")
    assert by_merchant.row(label) is None


def test_where_keeps_records_out() -> None:
    cheap = view(count(), where="amount < 5 and currency == 'EUR'")
    assert cheap.row(payment(1, T0_US, amount=5.0)) is None
    assert cheap.row(payment(1, T0_US, amount=4.0, currency="USD")) is None
    assert cheap.row(payment(1, T0_US, amount=4.0)) is not None


def test_the_layout_changes_with_what_the_rows_hold_and_only_then() -> None:
    base = view(total("amount"))
    assert base.layout == view(mean("amount", windows=("7d",))).layout
    others = [view(), view(total("latitude")), view(total("amount"), distinct("device_id"))]
    others += [view(total("amount"), where="amount < 5"), view(total("amount"), source=Label)]
    assert base.layout not in {other.layout for other in others}
    assert len({other.layout for other in others}) == len(others)


def test_a_missing_member_is_zero_and_a_present_one_is_not() -> None:
    assert member_hash(None) == 0
    assert member_hash("") != 0
    assert member_hash("a") == member_hash("a") != member_hash("b")


@pytest.mark.parametrize(("text", "expected_us"), [("10m", 10 * MINUTE), ("1h", HOUR), ("7d", 7 * DAY), ("5ms", 5000)])
def test_durations(text: str, expected_us: int) -> None:
    assert duration_us(text) == expected_us


@pytest.mark.parametrize("text", ["", "1", "h", "1.5h", "-1h", "1 h", "1w", "9999999d", "1h1m", "١h"])
def test_what_is_no_duration_is_quoted(text: str) -> None:
    with pytest.raises(ValueError, match=f"'{text}' is not a duration"):
        duration_us(text)


def test_an_expression_error_is_a_value_error() -> None:
    assert issubclass(InvalidExpression, ValueError)
