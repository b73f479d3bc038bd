"""Beyond the row budget: merged rows, what they still know exactly, and how far off the rest can be."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from features.aggregates import count, max, mean, min, std, sum
from features.history import History
from features.merging import span_bound
from features.rows import merged_cells, merged_size, merged_times
from features.scan import Scan
from features.view import MEMBER_LIMIT, ROW_BUDGET, Feature, View
from stream.records import Transaction, micros
from tests.oracle import DAY, HOUR, MINUTE, SECOND, T0_US, differences, everything, payment, reachable, read

CARD = everything()
SCAN = Scan(CARD)
WIDE = View(
    "merchant",
    entity="merchant_id",
    source=Transaction,
    windows=("1s", "10s", "1m", "30d"),
    features=[count(), sum("amount"), mean("amount"), std("amount"), min("amount"), max("amount")],
)


def packed(view: View, record: Transaction) -> bytes:
    row = view.row(record)
    assert row is not None
    return row


def folded(view: View, records: Sequence[Transaction]) -> History:
    history = History(view)
    for record in records:
        history.fold(packed(view, record))
    return history


def busy(seed: int, size: int) -> list[Transaction]:
    """A busy card: bursts, ties, pauses and, now and then, an event that is hours late."""
    random = Random(seed)
    at_us, records = T0_US, []
    for number in range(size):
        at_us += random.choice([0, 1, SECOND, random.randint(0, 10 * SECOND)])
        late_us = random.randint(0, HOUR) if random.random() < 0.05 else 0
        records.append(
            payment(
                number,
                at_us - late_us,
                amount=random.choice([10 ** random.uniform(-3, 9), 9.99]),
                latitude=random.choice([None, random.uniform(-90, 90)]),
                merchant_id=f"m{random.randint(1, 40)}",
                device_id=random.choice([None, "d"]),
            )
        )
    return records


def spans(history: History) -> NDArray[np.int64]:
    """First and last time of every merged row."""
    return merged_times(merged_cells(history.view, history.merged))


def spanned(history: History, edge_us: int) -> bool:
    first, last = spans(history).T
    return bool(np.any((first <= edge_us) & (last > edge_us)))


def cut(history: History, feature: Feature, at_us: int) -> bool:
    end_us = at_us - feature.delay_us
    edges = {end_us} if feature.window_us == 0 else {end_us, end_us - feature.window_us}
    return any(spanned(history, edge_us) for edge_us in edges)


def events_held(history: History) -> float:
    table = merged_cells(history.view, history.merged)
    return float(table[:, 2].sum()) + len(history.rows) // history.view.row_size


def check_read(
    history: History,
    events: list[Transaction],
    at_us: int,
    pending: Sequence[Transaction] = (),
    current: Transaction | None = None,
) -> tuple[int, int]:
    """Flagged are the windows that a merged row spans; the others equal the oracle. How many there were of both."""
    rows = [packed(CARD, record) for record in pending]
    values, flagged = SCAN.read(history, at_us, rows, packed(CARD, current) if current else None)
    for feature in CARD.features:
        if feature.kind in ("decayed_count", "decayed_sum", "distinct"):
            # These are also inexact where a whole row inside the window blurs times, or a member was seen after it.
            assert feature.name in flagged or not cut(history, feature, at_us)
        else:
            assert (feature.name in flagged) == cut(history, feature, at_us), feature.name
    expected = read(CARD, [*events, *pending], at_us, current)
    wrong = differences(CARD.names, values.tolist(), expected, size=90 * len(events))
    assert {name: pair for name, pair in wrong.items() if name not in flagged} == {}
    for feature, value in zip(CARD.features, values.tolist(), strict=True):
        if feature.kind == "count" and feature.column < 0 and feature.name not in flagged:
            assert value == round(value)
    return len(flagged), len(CARD.features) - len(flagged)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([257, 290, 400, 900]))
def test_what_is_not_flagged_equals_the_oracle_and_flagged_is_what_a_merged_row_spans(seed: int, size: int) -> None:
    records = busy(seed, size)
    history = folded(CARD, records)
    history = History.decode(CARD, history.encode())
    events = reachable(CARD, records)
    assert events_held(history) == len(events)
    newest_us = history.newest_us
    random = Random(seed)
    for at_us in (newest_us, newest_us + MINUTE, newest_us - random.randint(0, HOUR)):
        check_read(history, events, at_us)
    inside = [int(time) for time in spans(history)[random.randint(0, len(spans(history)) - 1)]]
    pending = [payment(10_000 + i, random.randint(*inside), amount=7.0, merchant_id=f"p{i}") for i in range(3)]
    current = payment(20_000, random.randint(*inside), amount=8.0, latitude=1.0)
    check_read(history, events, newest_us, pending)
    check_read(history, events, micros(current.event_timestamp), pending, current)


def test_both_flagged_and_exact_windows_occur() -> None:
    records = busy(1, 3000)
    history = folded(CARD, records)
    flagged, exact = check_read(history, records, history.newest_us)
    assert flagged > 3
    assert exact > 5


def test_a_flagged_count_is_off_by_no_more_than_the_events_of_the_row_at_its_edge() -> None:
    records = busy(2, 2000)
    times = np.sort([micros(record.event_timestamp) for record in records])
    history = folded(CARD, records)
    first, last = spans(history).T
    values, _ = SCAN.read(history, history.newest_us)
    found = dict(zip(CARD.names, values.tolist(), strict=True))
    for window, width_us in (("1m", MINUTE), ("1h", HOUR)):
        edge_us = history.newest_us - width_us
        row = np.flatnonzero((first <= edge_us) & (last > edge_us))
        least, most = edge_us, edge_us
        if len(row):
            least, most = int(last[row[0]]), int(first[row[0]]) - 1
        assert (times > least).sum() <= found[f"card_count_{window}"] <= (times > most).sum()


@pytest.mark.parametrize("late_share", [0.0, 0.02])
def test_no_merged_row_spans_more_of_its_age_than_the_bound(late_share: float) -> None:
    """20,000 events at 1000/s, some a little late: at every moment the widest row stays below the stated bound."""
    random = np.random.default_rng(0)
    size = 20_000
    times_us = T0_US + np.cumsum(random.exponential(1000, size)).astype(np.int64)
    times_us -= (random.random(size) < late_share) * random.integers(0, 5 * SECOND, size)
    packing = WIDE.row_format.pack
    history = History(WIDE)
    worst, bytes_most, youngest_us = 0.0, 0, 1e18
    for i, at_us in enumerate(times_us.tolist()):
        history.fold(packing(at_us, float(i % 100)))
        if history.merged and i % 33 == 0:
            first, last = spans(history).T
            newest_us = history.newest_us
            ages = np.maximum(newest_us - last, 1)
            youngest_us = np.minimum(youngest_us, ages[-1])
            worst = np.maximum(worst, ((last - first) / ages).max())
            bytes_most = np.maximum(bytes_most, len(history.encode()))
    assert events_held(history) == size
    oldest_us = history.newest_us - int(spans(history)[0, 0])
    assert 0 < worst <= span_bound(oldest_us, int(youngest_us)) < 0.15
    assert bytes_most < 8 * (160 + 33) * (3 + 6) + 8 * 2 * 97 + 100
    values, _ = Scan(WIDE).read(history, history.newest_us)
    found = dict(zip(WIDE.names, values.tolist(), strict=True))
    exact = (times_us > history.newest_us - 10 * SECOND).sum()
    assert found["merchant_count_10s"] == pytest.approx(exact, rel=0.05)
    assert found["merchant_count_30d"] == size
    assert found["merchant_sum_amount_30d"] == np.sum(np.arange(size) % 100)
    assert found["merchant_std_amount_30d"] == pytest.approx(np.std(np.arange(size) % 100), rel=1e-12)
    assert found["merchant_max_amount_30d"] == 99


def test_the_bound_at_worst() -> None:
    assert span_bound(39 * DAY, 64_000) < 0.28
    assert span_bound(39 * DAY, 1) < 0.49


def test_a_state_stays_small_whatever_comes() -> None:
    records = [
        payment(i, T0_US + i * SECOND - (HOUR if i % 3 == 0 else 0), merchant_id=f"m{i}", latitude=1.0)
        for i in range(1500)
    ]
    history = History(CARD)
    most = 0
    for i, record in enumerate(records):
        history.fold(packed(CARD, record))
        rows = len(history.merged) // merged_size(CARD) + len(history.rows) // CARD.row_size
        assert rows <= ROW_BUDGET
        most = np.maximum(most, len(history.encode())) if i % 50 == 0 else most
    assert most < 193 * merged_size(CARD) + 256 * CARD.row_size + 16 * MEMBER_LIMIT + 8 * 256 + 100


def test_a_late_event_between_merged_rows_and_inside_one_is_counted() -> None:
    records = [payment(i, T0_US + i * MINUTE) for i in range(400)]
    history = folded(CARD, records)
    first, last = spans(history)[np.argmax(np.diff(spans(history)).ravel())].tolist()
    assert first < last
    before = len(spans(history))
    assert history.fold(packed(CARD, payment(1000, first + 1, amount=77.0)))
    assert len(spans(history)) == before
    assert history.fold(packed(CARD, payment(1001, int(spans(history)[0, 1]) + 1, amount=88.0)))
    assert len(spans(history)) == before + 1
    assert events_held(history) == 402
    assert np.all(np.diff(spans(history)[:, 1]) >= 0)


def test_merged_rows_expire_whole_once_they_are_beyond_every_window() -> None:
    history = folded(CARD, [payment(i, T0_US + i * SECOND, merchant_id=f"m{i}") for i in range(600)])
    assert len(history.merged) > 0
    assert len(history.members) > 0
    history.fold(packed(CARD, payment(601, T0_US + 3 * DAY)))
    assert (history.merged, history.members) == (b"", b"")
    assert events_held(history) == 1


def test_more_members_than_the_table_holds_flag_the_windows_that_reach_back_to_them() -> None:
    history = folded(CARD, [payment(i, T0_US + i * SECOND, merchant_id=f"m{i}") for i in range(2000)])
    values, flagged = SCAN.read(history, history.newest_us)
    assert "card_distinct_merchant_id_1h" in flagged
    assert "card_distinct_merchant_id_1m" not in flagged
    assert values[CARD.names.index("card_distinct_merchant_id_1m")] == 60
    assert values[CARD.names.index("card_distinct_merchant_id_1h")] < 2000


def test_a_member_seen_again_after_a_delayed_window_flags_it() -> None:
    history = folded(CARD, [payment(i, T0_US + i * SECOND // 2, merchant_id="m") for i in range(400)])
    _, flagged = SCAN.read(history, history.newest_us)
    assert "card_distinct_merchant_id_1h_after_1m" in flagged


def test_previous_and_since_last_inside_a_merged_row_are_flagged() -> None:
    history = folded(CARD, [payment(i, T0_US + i * MINUTE) for i in range(400)])
    _, last = next(span for span in spans(history).tolist()[1:] if span[0] < span[1])
    values, flagged = SCAN.read(history, last - 1)
    assert {"card_since_last", "card_previous_amount"} <= set(flagged)
    assert not isnan(values[CARD.names.index("card_previous_amount")])


def test_of_ties_the_later_arrival_stays_the_last_when_it_falls_on_the_end_of_a_merged_row() -> None:
    history = folded(CARD, [payment(i, T0_US + i * MINUTE) for i in range(400)])
    end_us = int(spans(history)[-2, 1])
    history.fold(packed(CARD, payment(1000, end_us, amount=77.0)))
    values, flagged = SCAN.read(history, end_us)
    assert values[CARD.names.index("card_last_amount_1h")] == 77
    assert "card_last_amount_10s" not in flagged


def with_a_pending_event_inside_a_merged_row() -> tuple[History, int, int, Transaction]:
    """A history, the first and last time of a merged row about an hour old, and an event within it, not yet folded."""
    history = folded(CARD, [payment(i, T0_US + i * 10 * SECOND) for i in range(900)])
    hour_ago_us = history.newest_us - HOUR
    first, last = next(span for span in spans(history).tolist() if span[0] > hour_ago_us and span[0] + 1 < span[1])
    return history, first, last, payment(1000, first + 1)


def test_a_pending_event_inside_a_merged_row_does_not_hide_that_the_row_spans_an_edge() -> None:
    history, first, _, late = with_a_pending_event_inside_a_merged_row()
    _, flagged = SCAN.read(history, first + HOUR, [packed(CARD, late)])
    assert "card_count_1h" in flagged


def test_a_pending_event_inside_a_merged_row_is_not_taken_for_the_first_of_the_window() -> None:
    history, first, _, late = with_a_pending_event_inside_a_merged_row()
    at_us = first + HOUR - 1
    values, flagged = SCAN.read(history, at_us, [packed(CARD, late)])
    assert "card_since_first_1h" not in flagged
    assert values[CARD.names.index("card_since_first_1h")] == (at_us - first) / SECOND
