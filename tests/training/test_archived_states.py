"""States of an archive are the workers' states, and at each event's time they are what its scorer found."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from features.feature_set import EntityRef, ViewRead
from features.fraud import CARD, FRAUD, MERCHANT
from features.history import History
from features.online_store import MemoryOnlineStore
from features.worker import Folder
from scoring.deciding import view_reads
from stream.archive import Archive, day_of
from stream.archive_note import read_note, write_note
from stream.log import Entry, Partition, partition_of
from stream.records import Label, Record, Transaction, encode, from_micros, micros
from stream.redis_keys import SEQUENCE_BITS
from tests.oracle import DAY, HOUR, MINUTE, SECOND, T0_US, differences, payment, read
from training.archived_states import ArchivedStates, Asked, write_archived_states

ARRIVED_MS = 1_800_000_000_000
PARTITIONS = 3
Rows = dict[tuple[str, str], list[tuple[int, bytes]]]
Came = list[tuple[Partition, Entry, Any]]


class Crash(RuntimeError):
    """The process ends here."""


def traffic(count: int = 400) -> list[Record]:
    """Payments and labels as they arrive: some late, some at one moment, some twice."""
    random = Random(4)
    records: list[Any] = []
    for number in range(count):
        fields: dict[str, Any] = {"card_id": f"c{random.randrange(9)}", "merchant_id": f"m{random.randrange(4)}"}
        at_us = T0_US + number // 2 * 3 * HOUR  # two at each moment
        if random.random() < 0.1:
            at_us -= random.randrange(1, 40) * HOUR
        device = random.choice([None, "d0", "d1"])
        latitude = random.choice([None, random.uniform(-90, 90)])
        amount = float(random.randrange(1, 90))
        records.append(payment(number, at_us, device_id=device, latitude=latitude, amount=amount, **fields))
        if number % 5 == 0:
            # Some labels come later than they say.
            at = from_micros(at_us + random.choice([MINUTE, -HOUR]))
            records.append(Label(event_id=f"e{number}", label="fraud", labelled_at=at, event_timestamp=at, **fields))
        if number % 20 == 7:
            records.append(records[-3])
    return records


def as_they_came(records: Sequence[Any]) -> Came:
    """One arrives every ten seconds, in the partition of its key."""
    return [
        (
            Partition(record.topic, partition_of(record.key, PARTITIONS)),
            Entry((ARRIVED_MS + 10_000 * number) << SEQUENCE_BITS, record.key, encode(record)),
            record,
        )
        for number, record in enumerate(records)
    ]


def store_in(directory: Path, came: Came, name: str = "redis") -> Archive:
    batch: dict[Partition, list[Entry]] = {}
    for partition, entry, _ in came:
        batch.setdefault(partition, []).append(entry)
    with Archive(directory) as archive:
        archive.write(name, batch)
    return archive


def worked(came: Came, name: str = "redis", store: MemoryOnlineStore | None = None) -> MemoryOnlineStore:
    """The store of a worker to which the entries come one by one."""
    store = store or MemoryOnlineStore()
    folder = Folder(store, FRAUD.views, name)
    for partition, entry, _ in came:
        folder.fold({partition: [entry]})
    return store


def rows_in(folder: Path) -> Rows:
    found: Rows = {}
    for view in FRAUD.views:
        for row in pq.read_table(folder / f"{view.state_view}.parquet").to_pylist():
            held = found.setdefault((view.name, row[view.entity]), [])
            held.append((micros(row["event_timestamp"]), row[view.state_view]))
    return found


def refs_of(records: Sequence[Any]) -> list[EntityRef]:
    return sorted({ref for record in records for ref in FRAUD.refs(record)})


def contents(states: dict[tuple[str, str], bytes]) -> dict[tuple[str, str], tuple[object, ...]]:
    views = {view.name: view for view in FRAUD.views}
    found: dict[tuple[str, str], tuple[object, ...]] = {}
    for (name, value), state in states.items():
        history = History.decode(views[name], state)
        found[name, value] = (dict(history.sources), history.rows, history.merged, history.members, history.ids)
    return found


def states_in(store: MemoryOnlineStore, refs: list[EntityRef]) -> dict[tuple[str, str], bytes]:
    return {
        (name, ref.value): state
        for ref, entity in zip(refs, store.read_states(refs), strict=True)
        for name, state in entity.states.items()
    }


def last_states(folder: Path) -> dict[tuple[str, str], bytes]:
    return {key: max(rows)[1] for key, rows in rows_in(folder).items()}


def events_wanted(record: Any) -> bool:
    return isinstance(record, Transaction)


def test_the_end_states_are_those_of_a_worker_with_offsets_and_identities(tmp_path: Path) -> None:
    came = as_they_came(traffic())
    archive = store_in(tmp_path / "archive", came)
    found = write_archived_states(FRAUD, archive, tmp_path / "states")
    expected = states_in(worked(came), refs_of([record for _, _, record in came]))
    assert contents(last_states(tmp_path / "states")) == contents(expected)
    assert (found.records, found.repeated, found.refused) == (len(came), 20, 0)
    newest = {partition: entry.offset for partition, entry, _ in came}
    assert found.ends == {("redis", partition): offset for partition, offset in newest.items()}


@pytest.mark.parametrize("start", [0, 150, 400])
def test_a_worker_that_reads_again_from_before_the_end_goes_on(tmp_path: Path, start: int) -> None:
    came = as_they_came(traffic())
    archived, live = came[:400], came[start:]
    write_archived_states(FRAUD, store_in(tmp_path / "archive", archived), tmp_path / "states")
    store = MemoryOnlineStore()
    refs = refs_of([record for _, _, record in came])
    load(store, refs, last_states(tmp_path / "states"))
    worked(live, store=store)
    assert contents(states_in(store, refs)) == contents(states_in(worked(came), refs))


def load(store: MemoryOnlineStore, refs: list[EntityRef], states: dict[tuple[str, str], bytes]) -> None:
    from features.online_store import Replacement

    for ref in refs:
        own = {
            view.name: states[view.name, ref.value]
            for view in FRAUD.views
            if view.entity == ref.entity and (view.name, ref.value) in states
        }
        assert store.replace([Replacement(ref, {}, own, 0)]) == [True]


def scored(came: Came) -> dict[str, np.ndarray[Any, Any]]:
    """The vector with which each transaction was scored when it came, by event; of copies, the first."""
    store = MemoryOnlineStore()
    folder = Folder(store, FRAUD.views, "redis")
    vectors: dict[str, np.ndarray[Any, Any]] = {}
    for partition, entry, record in came:
        if isinstance(record, Transaction) and record.event_id not in vectors:
            refs = FRAUD.refs(record)
            vectors[record.event_id] = FRAUD.vector(record, view_reads(FRAUD, refs, store.read(refs), record)).values
        folder.fold({partition: [entry]})
    return vectors


def joined(rows: Rows, asked: Asked) -> np.ndarray[Any, Any]:
    """The vector that a point-in-time join gives: of each entity, the newest state at or before the asked time."""
    parts = []
    for view in FRAUD.views:
        value = getattr(asked.record, view.entity)
        if value is None:
            parts.append(np.full(len(view.features), np.nan))
            continue
        own = [(at_us, state) for at_us, state in rows.get((view.name, value), []) if at_us <= asked.join_us]
        assert len({at_us for at_us, _ in own}) == len(own), "two states of one entity at one time"
        history = History.decode(view, max(own)[1] if own else None)
        parts.append(FRAUD.read_at(view.name, history, asked.at_us))
    return FRAUD.with_derived(asked.record, np.concatenate(parts))


def test_at_each_event_a_join_finds_what_its_scorer_found(tmp_path: Path) -> None:
    came = as_they_came(traffic())
    archive = store_in(tmp_path / "archive", came)
    found = write_archived_states(FRAUD, archive, tmp_path, every="event", wanted=events_wanted)
    rows, served = rows_in(tmp_path), scored(came)
    assert [one.record.event_id for one in found.asked] == [*served]
    ties = sum(one.join_us > one.at_us for one in found.asked)
    assert ties > 20
    for asked in found.asked:
        assert np.array_equal(joined(rows, asked), served[asked.record.event_id], equal_nan=True), asked


def test_a_busy_merchants_states_are_found_before_anything_is_merged_for_the_event(tmp_path: Path) -> None:
    came = as_they_came([payment(n, T0_US + n * MINUTE, card_id=f"c{n % 7}") for n in range(600)])
    found = write_archived_states(
        FRAUD, store_in(tmp_path / "archive", came), tmp_path, every="event", wanted=events_wanted
    )
    rows, served = rows_in(tmp_path), scored(came)
    assert History.decode(MERCHANT, max(rows["merchant", "m"])[1]).merged
    for asked in found.asked:
        assert np.array_equal(joined(rows, asked), served[asked.record.event_id], equal_nan=True), asked


def test_a_sample_has_rows_for_its_events_only(tmp_path: Path) -> None:
    came = as_they_came(traffic())
    archive = store_in(tmp_path / "archive", came)
    every = write_archived_states(FRAUD, archive, tmp_path / "all", every="event")
    some = write_archived_states(
        FRAUD,
        archive,
        tmp_path / "some",
        every="event",
        wanted=lambda one: events_wanted(one) and one.event_id == "e100",
    )
    (asked,) = some.asked
    assert (every.asked, every.rows["card"] > 350, some.rows["card"]) == ([], True, 1)
    served = scored(came)
    assert np.array_equal(joined(rows_in(tmp_path / "some"), asked), served["e100"], equal_nan=True)


def test_event_states_can_be_loaded_too(tmp_path: Path) -> None:
    came = as_they_came(traffic())
    write_archived_states(FRAUD, store_in(tmp_path / "archive", came[:300]), tmp_path, every="event")
    store, refs = MemoryOnlineStore(), refs_of([record for _, _, record in came])
    load(store, refs, last_states(tmp_path))
    worked(came[200:], store=store)
    assert same_features(store, worked(came), refs)


def same_features(one: MemoryOnlineStore, other: MemoryOnlineStore, refs: list[EntityRef]) -> bool:
    at_us = T0_US + 30 * DAY
    found, expected = (
        [
            FRAUD.read_view(view.name, history_of(store, ref, view), at_us)
            for ref in refs
            for view in FRAUD.views
            if view.entity == ref.entity
        ]
        for store in (one, other)
    )
    return np.allclose(np.concatenate(found), np.concatenate(expected), rtol=1e-12, equal_nan=True)


def history_of(store: MemoryOnlineStore, ref: EntityRef, view: Any) -> History:
    return History.decode(view, store.read_states([ref])[0].states.get(view.name))


def test_days_have_the_last_state_of_each_day(tmp_path: Path) -> None:
    times = [0, HOUR, DAY, DAY + HOUR, 3 * DAY]
    came = as_they_came([payment(n, T0_US + at_us) for n, at_us in enumerate(times)])
    write_archived_states(FRAUD, store_in(tmp_path / "archive", came), tmp_path, every="day")
    assert [at_us - T0_US for at_us, _ in sorted(rows_in(tmp_path)["card", "c"])] == [HOUR, DAY + HOUR, 3 * DAY]


def test_a_span_is_a_stretch_of_each_partition(tmp_path: Path) -> None:
    came = as_they_came(
        [payment(n, T0_US + at_us) for n, at_us in enumerate([0, DAY, 2 * DAY, 3 * DAY, 2 * DAY + HOUR])]
    )
    archive = store_in(tmp_path / "archive", came)
    day = day_of(payment(0, T0_US))
    found = write_archived_states(FRAUD, archive, tmp_path, start=day + timedelta(days=1), end=day + timedelta(days=3))
    # What follows the first of the end is for the worker, whatever its time: the offsets say where it goes on.
    ((_, state),) = rows_in(tmp_path)["card", "c"]
    history = History.decode(CARD, state)
    assert (found.records, len(history.rows) // CARD.row_size) == (2, 2)
    assert [*history.sources.values()] == [came[2][1].offset]


def test_what_lies_beyond_a_torn_flush_is_left_to_the_log(tmp_path: Path) -> None:
    came = as_they_came([payment(n, T0_US + n * DAY, card_id="c") for n in range(6)])
    archive = store_in(tmp_path / "archive", came[:3])
    with archive:
        archive.write("redis", {came[0][0]: [entry for _, entry, _ in came[3:]]})
    note = read_note(archive.directory)
    assert [*note.values()] == [came[5][1].offset]
    # As a crash between two days' files leaves it: the later day is there, the earlier one and the note are not.
    write_note(archive.directory, dict.fromkeys(note, came[2][1].offset))
    next(archive.directory.glob(f"*/date={day_of(came[3][2])}/*.parquet")).unlink()
    found = write_archived_states(FRAUD, archive, tmp_path)
    assert (found.records, *found.ends.values()) == (3, came[2][1].offset)


def test_the_first_flush_may_be_torn_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    came = as_they_came([payment(n, T0_US + n * DAY, card_id="c") for n in range(2)])
    renames = 0
    replace = Path.replace

    def crash_at_the_second(path: Path, target: Path) -> Path:
        nonlocal renames
        renames += path.name.endswith(".parquet.new")
        if renames == 2:
            raise Crash
        return replace(path, target)

    with monkeypatch.context() as crashing, pytest.raises(Crash):
        crashing.setattr(Path, "replace", crash_at_the_second)
        store_in(tmp_path / "archive", came)
    assert len([*(tmp_path / "archive").rglob("*.parquet")]) == 1
    assert write_archived_states(FRAUD, Archive(tmp_path / "archive"), tmp_path).records == 0


def test_of_a_kafka_log_each_partition_keeps_its_order_and_nothing_counts_twice(tmp_path: Path) -> None:
    came = [
        (partition, Entry(number, entry.key, entry.value), record)
        for number, (partition, entry, record) in enumerate(as_they_came(traffic()))
    ]
    write_archived_states(FRAUD, store_in(tmp_path / "archive", came, "a Kafka cluster"), tmp_path)
    store, refs = MemoryOnlineStore(), refs_of([record for _, _, record in came])
    load(store, refs, last_states(tmp_path))
    worked(came[100:], "a Kafka cluster", store)
    assert same_features(store, worked(came, "a Kafka cluster"), refs)


def test_two_logs_of_one_archive_follow_each_other(tmp_path: Path) -> None:
    came = as_they_came(traffic())
    # The newest 50 records of the first log are at the beginning of the second one as well.
    first, second = came[:250], came[200:]
    archive = store_in(tmp_path / "archive", first)
    store_in(tmp_path / "archive", second, "another")
    found = write_archived_states(FRAUD, archive, tmp_path)
    store, refs = MemoryOnlineStore(), refs_of([record for _, _, record in came])
    load(store, refs, last_states(tmp_path))
    assert found.repeated >= 50
    assert same_features(store, worked(came), refs)


def test_refused_records_are_counted(tmp_path: Path) -> None:
    came = as_they_came([payment(0, T0_US), payment(1, T0_US - 100 * DAY, merchant_id="m"), payment(2, T0_US + SECOND)])
    found = write_archived_states(FRAUD, store_in(tmp_path / "archive", came), tmp_path)
    assert isinstance(found, ArchivedStates)
    assert (found.folded, found.refused) == (2, 1)


def test_at_the_time_of_an_event_a_view_reads_as_the_event_was_scored() -> None:
    past = [payment(1, T0_US - HOUR, amount=3.0), payment(2, T0_US, amount=5.0), payment(3, T0_US + HOUR, amount=7.0)]
    history = History(CARD)
    for one in past:
        row = CARD.row(one)
        assert row is not None
        history.fold(row)
    found = FRAUD.read_at("card", history, T0_US).tolist()
    assert not differences(CARD.names, found, read(CARD, past[:1], T0_US, past[1]))
    reads = {"card": ViewRead(history, [])}
    assert len(FRAUD.vector(past[1], reads).values) == len(FRAUD.names)
    whole = FRAUD.read_all_at({"card": history}, T0_US)
    assert np.array_equal(whole[: len(CARD.names)], found, equal_nan=True)
    assert np.isnan(whole[len(CARD.names) :]).all()
    later = FRAUD.read_at("card", history, T0_US + MINUTE)
    assert np.array_equal(later, FRAUD.read_view("card", history, T0_US + MINUTE), equal_nan=True)
