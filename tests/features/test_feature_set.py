"""The fraud vector: what it holds, in which order, and under which name."""

from __future__ import annotations

import os
import subprocess
import sys
from math import isnan
from typing import Any

import pytest

from features.aggregates import count, mean, sum
from features.feature_set import Derived, EntityRef, FeatureSet, ViewRead
from features.fraud import FRAUD
from features.history import History
from features.view import View
from stream.records import Label, Transaction
from tests.oracle import DAY, HOUR, MINUTE, T0_US, payment


def small(**changes: Any) -> FeatureSet:
    options: dict[str, Any] = {"entity": "card_id", "source": Transaction, "windows": ("1d",), "features": [count()]}
    derived = changes.pop("derived", (Derived("twice", "amount * 2", ""),))
    return FeatureSet("s", source=Transaction, views=(View("card", **options | changes),), derived=derived)


def paid(*ages_us: int, **fields: Any) -> dict[str, ViewRead]:
    """The histories of card, merchant and device after payments so long before T0."""
    reads = {view.name: ViewRead(History(view), []) for view in FRAUD.views}
    for number, age_us in enumerate(ages_us):
        record = payment(number, T0_US - age_us, device_id="d", **fields)
        for view in FRAUD.views:
            row = view.row(record) if view.source is Transaction else None
            if row is not None:
                reads[view.name].history.fold(row)
    return reads


def scored(reads: dict[str, ViewRead], **fields: Any) -> dict[str, float]:
    vector = FRAUD.vector(payment(99, T0_US, device_id="d", **fields), reads)
    assert vector.values.shape == (len(FRAUD.names),)
    return dict(zip(FRAUD.names, vector.values.tolist(), strict=True))


def test_fraud_has_at_least_30_features_over_card_merchant_and_device() -> None:
    assert len(FRAUD.names) >= 30
    assert len(set(FRAUD.names)) == len(FRAUD.names)
    assert FRAUD.entities == ("card_id", "merchant_id", "device_id")
    assert FRAUD.refs(payment(1, T0_US)) == [EntityRef("card_id", "c"), EntityRef("merchant_id", "m")]


def test_velocity_counts_only_the_last_hour() -> None:
    features = scored(paid(2 * HOUR, 30 * MINUTE, MINUTE, amount=10.0), amount=40.0)
    assert features["card_count_1h"] == 3
    assert features["card_sum_amount_1h"] == 60
    assert features["merchant_count_1h"] == 3
    assert features["device_count_7d"] == 4
    assert features["card_since_last"] == 60


def test_derived_features_are_computed_from_the_request_and_the_state() -> None:
    features = scored(paid(HOUR, amount=10.0, latitude=0.0, longitude=0.0), amount=30.0, latitude=0.0, longitude=1.0)
    assert features["amount"] == 30
    assert features["hour"] == 0
    assert features["weekday"] == 3  # 2026-01-01 is a Thursday.
    assert features["amount_deviation_30d"] == pytest.approx(1)
    assert features["amount_ratio_merchant_30d"] == 1.5
    assert features["distance_km"] == pytest.approx(111.195, abs=0.001)
    assert features["speed_kmh"] == pytest.approx(111.195, abs=0.001)


def test_an_unknown_place_is_at_no_distance() -> None:
    nowhere = scored(paid(HOUR, latitude=1.0, longitude=1.0))
    assert isnan(nowhere["distance_km"])
    assert isnan(nowhere["speed_kmh"])
    assert isnan(scored(paid(HOUR), latitude=1.0, longitude=1.0)["distance_km"])


def test_equal_amounts_have_no_deviation() -> None:
    assert isnan(scored(paid(*range(HOUR, 2 * HOUR, MINUTE), amount=9.99), amount=9.99)["amount_deviation_30d"])


def test_merchant_risk_is_frauds_by_payments_of_the_time_when_labels_are_in() -> None:
    reads = paid(8 * DAY, 8 * DAY - HOUR, MINUTE)
    merchant_fraud = next(view for view in FRAUD.views if view.source is Label)
    happened, known = (payment(0, T0_US - ago).event_timestamp for ago in (8 * DAY, DAY))
    label = Label(event_id="e", label="fraud", labelled_at=known, event_timestamp=happened, merchant_id="m")
    row = merchant_fraud.row(label)
    assert row is not None
    reads["merchant_fraud"].history.fold(row)
    features = scored(reads)
    assert features["merchant_risk_7d"] == 0.5
    assert isnan(features["merchant_risk_1d"]) == (features["merchant_count_1d_after_7d"] == 0)


def test_a_view_that_was_not_read_gives_nulls() -> None:
    reads = paid(MINUTE)
    del reads["merchant"]
    features = scored(reads)
    assert isnan(features["merchant_count_1h"])
    assert features["card_count_1h"] == 2


def test_read_view_is_the_vector_without_the_scored_event() -> None:
    reads = paid(2 * MINUTE, MINUTE)
    values = FRAUD.read_view("card", reads["card"].history, T0_US).tolist()
    assert dict(zip(FRAUD.views[0].names, values, strict=True))["card_count_1h"] == 2
    with pytest.raises(KeyError, match="it has"):
        FRAUD.read_view("cart", reads["card"].history, T0_US)


def test_the_hash_is_the_same_in_every_process() -> None:
    code = "from features.fraud import FRAUD; print(FRAUD.definition_hash)"
    for seed in ("1", "2"):
        output = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert output.stdout.strip() == FRAUD.definition_hash
    assert small().definition_hash == small().definition_hash


@pytest.mark.parametrize(
    "changes",
    [
        {"features": [count(), sum("amount")]},
        {"features": [count(where="amount < 5", name="count")]},
        {"features": [count(delay="1h")]},
        {"features": [mean("amount")]},
        {"windows": ("2d",)},
        {"entity": "merchant_id"},
        {"source": Label},
        {"where": "amount < 5"},
        {"derived": ()},
        {"derived": (Derived("twice", "amount * 2.0", ""),)},
    ],
)
def test_the_hash_changes_with_each_feature(changes: dict[str, Any]) -> None:
    assert small(**changes).definition_hash != small().definition_hash


def test_the_hash_does_not_change_with_words_for_people() -> None:
    assert small(description="other words").definition_hash == small().definition_hash
    assert small(derived=(Derived("twice", "amount * 2", "words"),)).definition_hash == small().definition_hash


def test_a_derived_feature_reads_only_what_stands_before_it() -> None:
    with pytest.raises(ValueError, match="there is no 'later'"):
        small(derived=(Derived("early", "later + 1", ""), Derived("later", "amount", "")))
    with pytest.raises(ValueError, match="more than once"):
        small(derived=(Derived("card_count_1d", "amount", ""),))


def test_the_catalogue_describes_every_feature_in_order() -> None:
    entries = FRAUD.catalogue()
    assert tuple(entry.name for entry in entries) == FRAUD.names
    assert all(entry.description and entry.unit for entry in entries)
    by_name = {entry.name: entry for entry in entries}
    assert by_name["card_sum_amount_1h"].window == "1h"
    assert by_name["hour"].view == "(request)"
