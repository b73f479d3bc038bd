"""The fold is exactly once in effect, whatever is repeated, lost, raced or broken on the way."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.aggregates import count
from features.feature_set import EntityRef
from features.fraud import CARD, FRAUD, MERCHANT, MERCHANT_FRAUD
from features.online_store import MemoryOnlineStore, OnlineStore, Replacement, StoredEntity
from features.view import View
from features.worker import FoldCount, Folder, TooManyConflicts
from stream.log import Entry, Partition
from stream.records import Label, Transaction, from_micros, micros
from tests.features.folding import (
    SCANS,
    Batch,
    Crash,
    ListLog,
    Raced,
    Unreliable,
    feature,
    folder,
    history,
    label,
)
from tests.oracle import DAY, HOUR, MINUTE, SECOND, T0_US, differences, payment, reachable, read

NOW_US = T0_US + 30 * DAY


def commit(committed: dict[Partition, int], batch: Batch) -> None:
    committed |= {partition: entries[-1].offset + 1 for partition, entries in batch.items()}


def snapshot(store: OnlineStore, records: Iterable[Any]) -> dict[tuple[str, str], tuple[bytes, ...]]:
    """Everything that a reader can see of the entities of these records, byte for byte."""
    found: dict[tuple[str, str], tuple[bytes, ...]] = {}
    for record in records:
        for view in FRAUD.views:
            value = getattr(record, view.entity, None)
            if value is not None and (view.name, value) not in found:
                held = history(store, view, value)
                values = [SCANS[view.name].read(held, NOW_US - ago_us)[0].tobytes() for ago_us in (0, DAY)]
                found[view.name, value] = (*values, held.rows, held.merged, held.members)
    return found


@st.composite
def traffic(draw: st.DrawFn) -> list[Any]:
    """Transactions and labels at distinct times: late, duplicated, some without a device."""
    size = draw(st.integers(1, 20))
    order = draw(st.permutations(range(size)))
    records: list[Any] = []
    for number in order:
        fields: dict[str, Any] = {
            "card_id": draw(st.sampled_from("abc")),
            "merchant_id": draw(st.sampled_from("mn")),
            "device_id": draw(st.sampled_from([None, "d"])),
            # Squares of spreads below 1e-160 vanish: the deviation of such amounts is 0.
            "amount": draw(st.just(0.0) | st.floats(1e-3, 1e6)),
        }
        at_us = T0_US + number * draw(st.sampled_from([SECOND, 7 * HOUR])) + number
        if draw(st.integers(0, 4)) == 0:
            records.append(label(number, draw(st.sampled_from(["fraud", "legit"])), merchant_id=fields["merchant_id"]))
        else:
            records.append(payment(number, at_us, **fields))
    copies = draw(st.lists(st.tuples(st.integers(0, size - 1), st.integers(0, 9)), max_size=6))
    for which, after in copies:
        records.insert(min(len(records), which + after), records[which])
    return records


def test_each_transaction_counts_once_for_its_card_merchant_and_device() -> None:
    store = MemoryOnlineStore()
    count = folder(store).fold(ListLog([payment(1, T0_US, device_id="d"), payment(2, T0_US + 1)]).all())
    assert (count.records, count.folded, count.repeated, count.dead) == (2, 2, 0, [])
    assert feature(store, "card_count_1h", "c", T0_US + 1) == 2
    assert feature(store, "merchant_count_1h", "m", T0_US + 1) == 2
    assert feature(store, "device_count_1h", "d", T0_US + 1) == 1


def test_a_duplicate_inside_a_batch_and_one_across_batches_change_nothing() -> None:
    store = MemoryOnlineStore()
    log = ListLog([payment(1, T0_US), payment(1, T0_US)])
    count = folder(store).fold(log.all())
    assert (count.folded, count.repeated) == (1, 1)
    committed: dict[Partition, int] = {}
    commit(committed, log.all())
    log.append(payment(1, T0_US))
    count = folder(store).fold(log.poll(committed, 9))
    assert (count.folded, count.repeated) == (0, 1)
    assert feature(store, "card_count_1h", "c", T0_US) == 1
    assert feature(store, "merchant_count_1h", "m", T0_US) == 1


def test_a_replay_from_an_earlier_offset_changes_nothing_even_beyond_the_remembered_ids() -> None:
    store = MemoryOnlineStore()
    log = ListLog([payment(n, T0_US + n) for n in range(600)])
    folder(store).fold(log.all())
    before = snapshot(store, [payment(0, T0_US)])
    count = folder(store).fold(log.all())
    assert (count.folded, count.repeated) == (0, 600)
    assert snapshot(store, [payment(0, T0_US)]) == before


def test_out_of_order_and_in_order_give_the_same_features() -> None:
    records = [payment(n, T0_US + n * MINUTE, amount=float(n)) for n in range(100)]
    clean, mixed = MemoryOnlineStore(), MemoryOnlineStore()
    folder(clean).fold(ListLog(records).all())
    folder(mixed).fold(ListLog(Random(0).sample(records, 100)).all())
    assert snapshot(mixed, records) == snapshot(clean, records)


def test_two_record_types_may_have_the_same_primary_entity() -> None:
    views = [
        View(source.topic, entity="card_id", source=source, windows=("1h",), time=time, features=[count()])
        for source, time in ((Transaction, "event_timestamp"), (Label, "labelled_at"))
    ]
    store = MemoryOnlineStore()
    log = ListLog([payment(1, T0_US), label(1), payment(1, T0_US), label(1)])
    counted = Folder(store, views, "log").fold(log.all())
    assert (counted.folded, counted.repeated) == (2, 2)
    assert [len(history(store, view, "c").rows) for view in views] == [view.row_size for view in views]


def test_the_first_view_of_a_topic_must_see_all_records() -> None:
    views = [
        View(name, entity="card_id", source=Transaction, windows=("1h",), features=[count()], where=where)
        for name, where in (("big", "amount > 5"), ("card", None))
    ]
    with pytest.raises(ValueError, match="must see all of them"):
        Folder(MemoryOnlineStore(), views, "log")
    assert Folder(MemoryOnlineStore(), views[::-1], "log").topics == ("transactions",)


def test_frauds_are_counted_for_their_merchant_and_other_verdicts_are_not() -> None:
    store = MemoryOnlineStore()
    labels = [
        label(1),
        label(1),
        label(2),
        label(3, "legit"),
        label(4, merchant_id=None),
        label(5, event_timestamp=None),
    ]
    counted = folder(store).fold(ListLog([payment(1, T0_US), *labels]).all())
    assert counted.dead == []
    # The one without the event's time counts too: what matters is when the fraud became known.
    assert feature(store, "merchant_fraud_count_30d", "m", T0_US + MINUTE) == 3
    assert feature(store, "merchant_count_1d", "m", T0_US) == 1
    assert len(history(store, MERCHANT_FRAUD, "m").rows) == 3 * MERCHANT_FRAUD.row_size


def test_folded_and_duplicate_records_are_no_longer_pending() -> None:
    store = MemoryOnlineStore()
    refs = FRAUD.refs(payment(1, T0_US))
    log = ListLog([payment(1, T0_US)])
    for _ in range(2):
        store.add_pending(refs, "e1", b"1")
        store.add_pending(refs, "e2", b"2")
        folder(store).fold(log.all())
        assert [list(entity.pending) for entity in store.read(refs)] == [["e2"], ["e2"]]
        log.append(payment(1, T0_US))


def test_after_a_conflict_the_fold_goes_over_what_the_other_wrote() -> None:
    store = Raced()
    rival = ListLog([payment(2, T0_US + 1, card_id="c2")])
    mine = ListLog([payment(1, T0_US)])
    for partition in mine.entries:
        mine.entries[partition] = [Entry(e.offset + 500, e.key, e.value) for e in mine.entries[partition]]
    store.rivals = [lambda: Folder(store, FRAUD.views, "other log").fold(rival.all())]
    counted = folder(store).fold(mine.all())
    assert counted.conflicts == 1
    assert feature(store, "merchant_count_1h", "m", T0_US + 1) == 2
    assert feature(store, "card_count_1h", "c", T0_US + 1) == 1
    assert feature(store, "card_count_1h", "c2", T0_US + 1) == 1


def test_who_always_loses_gives_up_with_a_word() -> None:
    class Lost(MemoryOnlineStore):
        def replace(self, replacements: Sequence[Replacement]) -> list[bool]:
            return [False] * len(replacements)

    with pytest.raises(TooManyConflicts, match="were written by others"):
        folder(Lost()).fold(ListLog([payment(1, T0_US)]).all())


def test_a_corrupt_state_does_not_stop_the_partition() -> None:
    store = MemoryOnlineStore()
    ref = EntityRef("card_id", "c")
    folder(store).fold(ListLog([payment(1, T0_US)]).all())
    (entity,) = store.read([ref])
    broken = entity.states["card"][:-1] + bytes([entity.states["card"][-1] ^ 1])
    store.replace([Replacement(ref, entity.states, {"card": broken}, T0_US)])
    log = ListLog([payment(1, T0_US), payment(2, T0_US + 1)])
    folder(store).fold(log.all())
    assert feature(store, "card_count_1h", "c", T0_US + 1) == 2
    assert feature(store, "merchant_count_1h", "m", T0_US + 1) == 2


@settings(max_examples=60, deadline=None)
@given(traffic())
def test_one_pass_equals_the_oracle(records: list[Any]) -> None:
    store = MemoryOnlineStore()
    folder(store).fold(ListLog(records).all())
    once = list({record.identity: record for record in records}.values())
    for view in (CARD, MERCHANT, MERCHANT_FRAUD):
        for value in "abcmn":
            events = [e for e in once if isinstance(e, view.source) and getattr(e, view.entity) == value]
            events = [e for e in events if view.row(e) is not None]
            values, approximate = SCANS[view.name].read(history(store, view, value), NOW_US)
            assert approximate == []
            expected = read(view, reachable(view, events), NOW_US)
            assert differences(view.names, values.tolist(), expected) == {}


def pass_with(store: Unreliable, log: ListLog, sizes: list[int], committed: dict[Partition, int]) -> FoldCount:
    """One worker's life: poll, fold, commit, until there is nothing left or it dies."""
    total = FoldCount()
    worker = folder(store)
    for turn in range(10_000):
        batch = log.poll(committed, sizes[turn % len(sizes)])
        if not batch:
            return total
        counted = worker.fold(batch)
        total.folded += counted.folded
        commit(committed, batch)
    raise AssertionError("no end")


SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=4)


@settings(max_examples=150, deadline=None)
@given(traffic(), SIZES, SIZES, st.lists(st.integers(0, 30), max_size=3), st.booleans())
def test_a_crash_after_any_write_leaves_the_same_features_as_one_clean_pass(
    records: list[Any], sizes: list[int], sizes_after: list[int], crashes: list[int], forget: bool
) -> None:
    log = ListLog(records)
    clean, store = Unreliable(), Unreliable()
    pass_with(clean, log, [1 << 30], {})
    committed: dict[Partition, int] = {}
    for turn, writes in enumerate(crashes):
        store.writes_left = writes
        try:
            pass_with(store, log, [sizes, sizes_after][turn % 2], committed)
        except Crash:
            if forget:
                committed.clear()
    store.writes_left = 1 << 30
    pass_with(store, log, sizes_after, committed)
    assert snapshot(store, records) == snapshot(clean, records)


@settings(max_examples=100, deadline=None)
@given(traffic(), SIZES, SIZES, st.lists(st.booleans(), max_size=30))
def test_a_zombie_beside_the_worker_does_no_harm(
    records: list[Any], sizes: list[int], zombie_sizes: list[int], turns: list[bool]
) -> None:
    log = ListLog(records)
    clean = MemoryOnlineStore()
    folder(clean).fold(log.all())
    store = Raced()
    positions: list[dict[Partition, int]] = [{}, {}]

    def step(who: int) -> bool:
        batch = log.poll(positions[who], (sizes, zombie_sizes)[who][0])
        if batch:
            folder(store).fold(batch)
            commit(positions[who], batch)
        return bool(batch)

    for within in turns:
        # The zombie acts between the worker's read and its write, or between two of its batches.
        if within:
            store.rivals = [lambda: step(1)]
        else:
            step(1)
        step(0)
    store.rivals = []
    while step(0):
        pass
    assert snapshot(store, records) == snapshot(clean, records)


def test_reading_gives_copies() -> None:
    store = MemoryOnlineStore()
    ref = EntityRef("card_id", "c")
    store.add_pending([ref], "e1", b"1")
    store.read([ref])[0].pending.clear()
    assert store.read([ref]) == [StoredEntity({}, {"e1": b"1"})]
    assert micros(from_micros(NOW_US)) == NOW_US
