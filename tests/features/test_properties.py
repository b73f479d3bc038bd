"""The live engine equals the oracle: whatever arrives, in whatever order, in as many pieces as you like."""

from __future__ import annotations

from random import Random
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from features.feature_set import Derived, FeatureSet, ViewRead
from features.history import History
from features.scan import Scan
from features.view import View, member_hash
from stream.records import Transaction, micros
from tests.oracle import DAY, HOUR, MINUTE, SECOND, T0_US, differences, everything, payment, reachable, read

CARD = everything()
DEVICE = everything("device", "device_id")
SCAN = Scan(CARD)
SET = FeatureSet(
    "test",
    source=Transaction,
    views=(CARD, DEVICE),
    derived=(
        Derived("deviation", "(amount - card_mean_amount_1h) / card_std_amount_1h", ""),
        Derived("twice", "deviation * 2 + hour(event_timestamp)", ""),
    ),
)
GAPS_US = (0, 0, 1, SECOND, 10 * SECOND - 1, 10 * SECOND, MINUTE, MINUTE + 1, 20 * MINUTE, HOUR, 20 * HOUR, 2 * DAY)
AMOUNTS = st.one_of(
    st.sampled_from([0.0, 0.01, 4.99, 5.0, 9.99]),
    st.floats(1e-3, 1e9),
    st.integers(0, 9).map(lambda n: 1e9 + n / 1000),
    st.integers(-3, 9).map(lambda n: 10.0**n),
)
FIELDS = st.fixed_dictionaries(
    {
        "amount": AMOUNTS,
        "latitude": st.one_of(st.none(), st.floats(-90, 90, allow_subnormal=False), st.just(52.5)),
        "device_id": st.sampled_from([None, "d1", "d2"]),
        "merchant_id": st.sampled_from(["m1", "m2", "m3"]),
    }
)


class Arrivals(NamedTuple):
    """Payments as they arrive: late, repeated, out of order."""

    records: list[Transaction]

    @property
    def newest_us(self) -> int:
        return max((micros(record.event_timestamp) for record in self.records), default=T0_US)


@st.composite
def arrivals(draw: st.DrawFn, limit: int = 25) -> Arrivals:
    steps = draw(st.lists(st.tuples(st.sampled_from(GAPS_US), FIELDS, st.integers(0, 6)), max_size=limit))
    at_us, placed = T0_US, []
    for number, (gap_us, fields, hurry) in enumerate(steps):
        at_us += gap_us
        placed.append((number + hurry, payment(number, at_us, **fields)))
    records = [record for _, record in sorted(placed, key=lambda pair: pair[0])]
    copies = draw(st.lists(st.integers(0, len(records) - 1), max_size=4)) if records else []
    return Arrivals(records + [records[copy] for copy in copies])


def random_arrivals(seed: int, size: int) -> Arrivals:
    """As many as the budget holds; too many to draw one by one."""
    random = Random(seed)
    at_us, placed = T0_US, []
    spread = random.choice([(0, 1), (0, SECOND), (0, 20 * SECOND), (0, 10 * MINUTE)])
    for number in range(size):
        at_us += random.randint(*spread) if random.random() < 0.95 else random.choice(GAPS_US[:-2])
        fields: dict[str, Any] = {
            "amount": random.choice([10 ** random.uniform(-3, 9), 1e9 + random.random(), 9.99]),
            "latitude": random.choice([None, random.uniform(-90, 90), 52.5 + random.random() * 1e-9]),
            "device_id": random.choice([None, "d1", f"d{random.randint(1, 99)}"]),
            "merchant_id": f"m{random.randint(1, 30)}",
        }
        placed.append((number + random.randint(0, 5), payment(number, at_us, **fields)))
    return Arrivals([record for _, record in sorted(placed, key=lambda pair: pair[0])])


def packed(view: View, record: Transaction) -> bytes:
    row = view.row(record)
    assert row is not None
    return row


def folded(view: View, records: list[Transaction], through_bytes: list[bool]) -> tuple[History, list[Transaction]]:
    """What a worker makes of the arrivals, and the events that count: each once, none beyond the horizon."""
    history = History(view)
    kept: list[Transaction] = []
    for i, record in enumerate(records):
        identity = member_hash(record.identity)
        if not history.knows(identity):
            history.remember(identity)
            if history.fold(packed(view, record)):
                kept.append(record)
        if through_bytes[i % len(through_bytes)]:
            history = History.decode(view, history.encode())
    return history, reachable(view, kept)


def once(records: list[Transaction]) -> list[Transaction]:
    return list({record.identity: record for record in reversed(records)}.values())[::-1]


@settings(max_examples=150, deadline=None)
@given(
    arrivals(),
    st.lists(st.booleans(), min_size=1, max_size=5),
    st.sampled_from([0, 1, SECOND, 10 * SECOND, MINUTE, HOUR, DAY, 3 * DAY]),
    st.integers(0, DAY),
)
def test_a_folded_history_equals_the_oracle_at_any_time(
    arrived: Arrivals, through_bytes: list[bool], later_us: int, earlier_us: int
) -> None:
    history, events = folded(CARD, arrived.records, through_bytes)
    newest_us = max((micros(event.event_timestamp) for event in events), default=T0_US)
    for at_us in (newest_us, newest_us + later_us, newest_us - earlier_us, newest_us - DAY):
        values, approximate = SCAN.read(history, at_us)
        assert approximate == []
        assert differences(CARD.names, values.tolist(), read(CARD, events, at_us), size=90 * 25) == {}


@settings(max_examples=100, deadline=None)
@given(arrivals(limit=15), arrivals(limit=6), FIELDS, st.sampled_from(GAPS_US), st.randoms(use_true_random=False))
def test_pending_and_scored_events_over_stored_ones_equal_the_oracle(
    arrived: Arrivals, waiting: Arrivals, fields: dict[str, Any], gap_us: int, random: Random
) -> None:
    history, events = folded(CARD, arrived.records, [False])
    newest_us = max((micros(event.event_timestamp) for event in events), default=T0_US)
    pending = [
        payment(100 + i, newest_us + (i - 3) * SECOND, amount=record.amount, latitude=record.latitude)
        for i, record in enumerate(once(waiting.records))
    ]
    random.shuffle(pending)
    current = payment(999, newest_us + gap_us - 2 * SECOND, **fields)
    at_us = micros(current.event_timestamp)
    rows = [packed(CARD, record) for record in pending]
    values, approximate = SCAN.read(history, at_us, rows, packed(CARD, current))
    assert approximate == []
    expected = read(CARD, [*events, *pending], at_us, current)
    assert differences(CARD.names, values.tolist(), expected, size=90 * 25) == {}
    values, _ = SCAN.read(history, at_us, rows)
    assert differences(CARD.names, values.tolist(), read(CARD, [*events, *pending], at_us), size=90 * 25) == {}


@settings(max_examples=50, deadline=None)
@given(arrivals(limit=12), FIELDS, st.sampled_from(GAPS_US))
def test_a_vector_is_the_features_of_each_entity_in_order(
    arrived: Arrivals, fields: dict[str, Any], gap_us: int
) -> None:
    record = payment(999, arrived.newest_us + gap_us, **fields)
    reads: dict[str, ViewRead] = {}
    expected: list[float | None] = []
    for view in SET.views:
        own = [e for e in once(arrived.records) if getattr(e, view.entity) == getattr(record, view.entity)]
        if getattr(record, view.entity) is None:
            expected += [None] * len(view.names)
            continue
        history, events = folded(view, own, [True])
        reads[view.name] = ViewRead(history, [])
        expected += read(view, events, micros(record.event_timestamp), record)
    vector = SET.vector(record, reads)
    assert vector.approximate == []
    stored = len(expected)
    assert differences(SET.names[:stored], vector.values[:stored].tolist(), expected, size=90 * 25) == {}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([1, 2, 100, 255, 256]), st.booleans())
def test_the_answer_is_exact_up_to_the_row_budget(seed: int, size: int, through_bytes: bool) -> None:
    arrived = random_arrivals(seed, size)
    history, events = folded(CARD, arrived.records, [through_bytes])
    assert len(history.merged) == 0
    for back_us in (0, -30 * SECOND, Random(seed).randint(0, HOUR)):
        at_us = arrived.newest_us - back_us
        values, approximate = SCAN.read(history, at_us)
        assert approximate == []
        assert differences(CARD.names, values.tolist(), read(CARD, events, at_us), size=90 * 256) == {}


@settings(max_examples=60, deadline=None)
@given(arrivals(), st.randoms(use_true_random=False))
def test_the_order_of_arrival_changes_nothing_but_ties(arrived: Arrivals, random: Random) -> None:
    # Distinct times, so that no tie is left to the order.
    records = [
        payment(i, T0_US + i + (micros(record.event_timestamp) - T0_US) // DAY * HOUR, amount=record.amount)
        for i, record in enumerate(once(arrived.records))
    ]
    clean, _ = folded(CARD, records, [False])
    random.shuffle(records)
    shuffled, _ = folded(CARD, records, [True])
    assert shuffled.rows == clean.rows
