"""Batch-computed states: which rows the Parquet files have, and that each is the state of its moment."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from features.fraud import CARD, FRAUD, MERCHANT_FRAUD
from features.history import History
from stream.played import Played
from stream.records import Label, Transaction, from_micros, micros
from tests.oracle import DAY, HOUR, T0_US, differences, payment, read
from training.state_files import Every
from training.states import arrivals, write_states

PAYMENTS = [
    payment(number, T0_US + at_us, card_id=card, amount=amount)
    for number, (card, at_us, amount) in enumerate(
        [("a", 0, 3.0), ("b", HOUR, 5.0), ("a", 2 * HOUR, 7.0), ("a", DAY, 11.0), ("a", DAY, 13.0), ("b", 2 * DAY, 1.0)]
    )
]


def rows(folder: Path, name: str, entity: str) -> list[tuple[str, bytes, int]]:
    table = pq.read_table(folder / f"{name}_state.parquet")
    assert table.column_names == [entity, f"{name}_state", "event_timestamp"]
    assert str(table.schema.field("event_timestamp").type) == "timestamp[us, tz=UTC]"
    return [(row[entity], row[f"{name}_state"], micros(row["event_timestamp"])) for row in table.to_pylist()]


def card_rows(folder: Path, records: Iterable[Any], every: Every) -> list[tuple[str, bytes, int]]:
    write_states(FRAUD, records, folder, every=every)
    return rows(folder, "card", "card_id")


def times(found: list[tuple[str, bytes, int]]) -> list[tuple[str, int]]:
    return sorted((card, at_us - T0_US) for card, _, at_us in found)


def test_the_end_has_one_row_for_each_entity(tmp_path: Path) -> None:
    assert times(card_rows(tmp_path, PAYMENTS, "end")) == [("a", DAY), ("b", 2 * DAY)]


def test_every_day_has_the_last_state_of_each_day_with_events(tmp_path: Path) -> None:
    assert times(card_rows(tmp_path, PAYMENTS, "day")) == [("a", 2 * HOUR), ("a", DAY), ("b", HOUR), ("b", 2 * DAY)]


def test_every_event_has_one_row_and_those_of_one_moment_share_it(tmp_path: Path) -> None:
    found = times(card_rows(tmp_path, PAYMENTS, "event"))
    assert found == [("a", 0), ("a", 2 * HOUR), ("a", DAY), ("b", HOUR), ("b", 2 * DAY)]


@pytest.mark.parametrize("every", ["end", "day", "event"])
def test_a_row_holds_what_had_happened_by_its_time(tmp_path: Path, every: Every) -> None:
    for card, state, at_us in card_rows(tmp_path, PAYMENTS, every):
        past = [one for one in PAYMENTS if one.card_id == card and micros(one.event_timestamp) <= at_us]
        later_us = at_us + 3 * HOUR
        found = FRAUD.read_view("card", History.decode(CARD, state), later_us)
        assert not differences(CARD.names, found.tolist(), read(CARD, past, later_us))


def test_a_late_record_changes_the_newest_state_and_adds_no_row(tmp_path: Path) -> None:
    late = payment(99, T0_US + HOUR, card_id="a", amount=100.0)
    found = card_rows(tmp_path, [*PAYMENTS[:3], late], "event")
    assert times(found) == [("a", 0), ("a", 2 * HOUR), ("b", HOUR)]
    newest = next(state for card, state, at_us in found if (card, at_us) == ("a", T0_US + 2 * HOUR))
    past = [PAYMENTS[0], late, PAYMENTS[2]]
    at_us = T0_US + 3 * HOUR
    found_values = FRAUD.read_view("card", History.decode(CARD, newest), at_us)
    assert not differences(CARD.names, found_values.tolist(), read(CARD, past, at_us))


def test_a_copy_of_a_record_changes_nothing(tmp_path: Path) -> None:
    once = card_rows(tmp_path / "once", PAYMENTS, "event")
    twice = card_rows(tmp_path / "twice", [one for one in PAYMENTS for _ in range(2)], "event")
    assert once == twice


def test_labels_come_when_they_become_known(tmp_path: Path) -> None:
    def played(one: Transaction, days: int) -> Played:
        return Played(one, fraud=True, label_delay=timedelta(days=days))

    stream = [played(PAYMENTS[0], 1), played(PAYMENTS[1], 30), played(PAYMENTS[5], 1)]
    known = list(arrivals(stream))
    assert [(type(record), micros(record.event_timestamp) - T0_US) for record in known] == [
        (Transaction, 0),
        (Transaction, HOUR),
        (Label, 0),
        (Transaction, 2 * DAY),
    ]
    assert len(list(arrivals(stream, until=from_micros(T0_US + 3 * DAY)))) == 4
    assert len(list(arrivals(stream, until=from_micros(T0_US + 3 * DAY + 1)))) == 5
    write_states(FRAUD, known, tmp_path, every="event")
    ((merchant, state, at_us),) = rows(tmp_path, "merchant_fraud", "merchant_id")
    assert (merchant, at_us) == ("m", T0_US + DAY)
    values = FRAUD.read_view("merchant_fraud", History.decode(MERCHANT_FRAUD, state), at_us)
    assert np.array_equal(values, np.ones(len(MERCHANT_FRAUD.features)))


def test_a_stream_that_breaks_leaves_the_old_files(tmp_path: Path) -> None:
    before = card_rows(tmp_path, PAYMENTS, "end")

    def broken() -> Iterable[Transaction]:
        yield PAYMENTS[0]
        raise ValueError("no such column")

    with pytest.raises(ValueError, match="no such column"):
        write_states(FRAUD, broken(), tmp_path)
    assert rows(tmp_path, "card", "card_id") == before
    assert {path.suffix for path in tmp_path.iterdir()} == {".parquet"}
