"""What is refused is reported, wherever the worker dies; what is folded is never reported."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from typing import Any

import pytest

from features.aggregates import count
from features.fraud import CARD, FRAUD, MERCHANT
from features.online_store import MemoryOnlineStore, OnlineStore, Replacement, StoredEntity
from features.pipeline import GROUP, work_once
from features.view import View
from features.worker import Folder
from stream.log import Entry, LogFull, Partition, lag, message_of
from stream.records import DeadLetter, Transaction, decode, encode
from stream.redis_log import RedisLog
from tests.features.folding import (
    Crash,
    ListLog,
    Raced,
    Unreliable,
    feature,
    folder,
    history,
)
from tests.oracle import DAY, T0_US, payment

OLD = payment(1, T0_US)
# A card and a merchant that have gone on for longer than any window, then something from the past.
RECORDS = [payment(2, T0_US + 400 * DAY), OLD, payment(3, T0_US + 400 * DAY + 1)]


class Dying:
    """A store in whose n-th call of `replace` the worker dies, before or after it has written."""

    def __init__(self, store: OnlineStore, call: int, after: bool) -> None:
        self.store = store
        self.call = call
        self.after = after
        self.calls = 0

    def read(self, refs: Sequence[Any]) -> list[StoredEntity]:
        return self.store.read(refs)

    def read_states(self, refs: Sequence[Any]) -> list[StoredEntity]:
        return self.store.read_states(refs)

    def add_pending(self, refs: Sequence[Any], identity: str, record: bytes) -> None:
        self.store.add_pending(refs, identity, record)

    def replace(self, replacements: Sequence[Replacement]) -> list[bool]:
        self.calls += 1
        if self.calls == self.call and not self.after:
            raise Crash
        written = self.store.replace(replacements)
        if self.calls == self.call:
            raise Crash
        return written


@pytest.fixture
def log(redis_db: str) -> Iterator[RedisLog]:
    with closing(RedisLog(redis_db, partitions=1)) as opened:
        yield opened


def letters(log: RedisLog) -> list[str]:
    found: list[DeadLetter] = [
        decode(entry.value, DeadLetter) for entry in log.read(Partition(DeadLetter.topic, 0), 0, 100)
    ]
    assert all(letter.payload == encode(OLD) for letter in found)
    return [letter.event_id for letter in found]


def work(log: RedisLog, store: OnlineStore) -> None:
    """One worker, until nothing waits."""
    folder = Folder(store, FRAUD.views, log.name)
    with closing(log.consumer(GROUP, folder.topics)) as consumer:
        while any(waits for topic in folder.topics for waits in lag(log, GROUP, topic).values()):
            work_once(folder, log, consumer, 100, 20)


def send(log: RedisLog) -> str:
    log.append([message_of(record) for record in RECORDS])
    return f"transactions/0/{log.read(Partition('transactions', 0), 0, 10)[1].offset}"


def test_a_record_that_is_too_old_is_reported_once(log: RedisLog) -> None:
    place = send(log)
    work(log, MemoryOnlineStore())
    assert letters(log) == [place]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("call", [1, 2])
def test_a_worker_that_dies_at_a_write_has_reported_what_is_too_old(log: RedisLog, call: int, after: bool) -> None:
    place = send(log)
    store = MemoryOnlineStore()
    with pytest.raises(Crash):
        work(log, Dying(store, call, after))
    work(log, store)
    assert set(letters(log)) == {place}
    clean = MemoryOnlineStore()
    Folder(clean, FRAUD.views, log.name).fold(
        {Partition("transactions", 0): log.read(Partition("transactions", 0), 0, 9)}
    )
    refs = FRAUD.refs(OLD)
    assert [[*entity.states] for entity in store.read_states(refs)] == [[*e.states] for e in clean.read_states(refs)]


def test_a_worker_that_dies_before_its_commit_has_reported_what_is_too_old(
    log: RedisLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dying(offsets: object) -> None:
        raise Crash

    place = send(log)
    store = MemoryOnlineStore()
    folder = Folder(store, FRAUD.views, log.name)
    with closing(log.consumer(GROUP, folder.topics)) as consumer, monkeypatch.context() as patch:
        patch.setattr(consumer, "commit", dying)
        with pytest.raises(Crash):
            work_once(folder, log, consumer, 100, 100)
    work(log, store)
    assert letters(log) == [place]


def test_where_a_report_cannot_be_made_nothing_is_written_and_the_batch_comes_again(
    log: RedisLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(messages: object) -> None:
        raise LogFull("the dead letters are full")

    place = send(log)
    store = MemoryOnlineStore()
    folder = Folder(store, FRAUD.views, log.name)
    with closing(log.consumer(GROUP, folder.topics)) as consumer, monkeypatch.context() as patch:
        patch.setattr(log, "append", full)
        with pytest.raises(LogFull):
            work_once(folder, log, consumer, 100, 100)
    assert all(not entity.states for entity in store.read_states(FRAUD.refs(OLD)))
    work(log, store)
    assert letters(log) == [place]


def test_a_record_that_was_folded_and_has_aged_since_is_not_reported_when_it_comes_again(log: RedisLog) -> None:
    log.append([message_of(record) for record in (OLD, *RECORDS[::2])])
    store = MemoryOnlineStore()
    folder = Folder(store, FRAUD.views, log.name)
    part = Partition("transactions", 0)
    for _ in range(2):
        assert folder.fold({part: log.read(part, 0, 10)}).dead == []


def test_a_malformed_record_is_dead_lettered_and_the_partition_goes_on() -> None:
    store = MemoryOnlineStore()
    log = ListLog([b"{", b'{"type": "transaction", "event_id": ""}'])
    partition = next(iter(log.all()))
    good = payment(1, T0_US)
    log.entries[partition].append(Entry(99, "c", encode(good)))
    count = folder(store).fold(log.all())
    assert count.folded == 1
    assert feature(store, "card_count_1h", "c", T0_US) == 1
    first, second = count.dead
    assert (first.from_topic, first.partition, first.offset) == ("transactions", partition.number, 0)
    assert first.payload == b"{"
    assert "send one JSON object" in first.reason
    assert "event_id" in second.reason


def test_an_event_too_old_for_every_view_is_dead_lettered() -> None:
    store = MemoryOnlineStore()
    log = ListLog([payment(1, T0_US, device_id="d"), payment(2, T0_US - 60 * DAY, device_id="d")])
    (letter,) = folder(store).fold(log.all()).dead
    assert letter.reason.startswith("older than the longest window")
    assert feature(store, "card_count_30d", "c", T0_US) == 1


def test_an_event_too_old_for_some_views_counts_in_the_others() -> None:
    # 20 days are too long ago for the device and the newest card, but not for the merchant.
    records = [payment(1, T0_US, device_id="d"), payment(2, T0_US - 35 * DAY, device_id="d", card_id="c")]
    store = MemoryOnlineStore()
    assert folder(store).fold(ListLog(records).all()).dead == []
    assert len(history(store, MERCHANT, "m").rows) == 2 * MERCHANT.row_size
    assert len(history(store, CARD, "c").rows) == CARD.row_size


@pytest.mark.parametrize("writes", range(4))
def test_a_crash_at_any_write_loses_no_dead_letter(writes: int) -> None:
    store = Unreliable()
    log = ListLog([payment(1, T0_US, device_id="d"), payment(2, T0_US - 60 * DAY, device_id="d"), b"{"])
    reported: list[DeadLetter] = []
    store.writes_left = writes
    try:
        folder(store).fold(log.all(), reported.extend)
    except Crash:
        assert writes < 3
    first = {letter.event_id for letter in reported}
    store.writes_left = 1 << 30
    folder(store).fold(log.all(), reported.extend)
    assert len(first) == 2
    assert {letter.event_id for letter in reported} == first


def test_no_state_is_written_when_a_dead_letter_cannot_be_reported() -> None:
    def refuse(letters: list[DeadLetter]) -> None:
        raise Crash

    store = MemoryOnlineStore()
    log = ListLog([payment(1, T0_US), payment(2, T0_US - 60 * DAY)])
    with pytest.raises(Crash):
        folder(store).fold(log.all(), refuse)
    assert store.read(FRAUD.refs(payment(1, T0_US))) == [StoredEntity(), StoredEntity()]


@pytest.mark.parametrize("writes", range(4))
def test_an_event_that_was_folded_is_no_dead_letter_when_it_comes_again_later(writes: int) -> None:
    # It is older than all windows by then, and a crash may have left it in some states only.
    store = Unreliable()
    log = ListLog([payment(1, T0_US, device_id="d"), payment(2, T0_US + 60 * DAY, device_id="d")])
    store.writes_left = writes
    with suppress(Crash):
        folder(store).fold(log.all())
    store.writes_left = 1 << 30
    assert folder(store).fold(log.all()).dead == []


def test_an_event_that_counts_in_some_views_is_no_dead_letter_when_it_comes_again_after_a_crash() -> None:
    store = Unreliable()
    records = [payment(1, T0_US, device_id="d"), payment(2, T0_US - 35 * DAY, device_id="d", card_id="c")]
    store.writes_left = 2
    with pytest.raises(Crash):
        folder(store).fold(ListLog(records).all())
    store.writes_left = 1 << 30
    assert folder(store).fold(ListLog(records).all()).dead == []


def test_an_event_that_becomes_too_old_while_others_write_is_dead_lettered_once() -> None:
    views = [
        View(entity, entity=f"{entity}_id", source=Transaction, windows=("1h",), features=[count()])
        for entity in ("card", "merchant", "device")
    ]
    store = Raced()

    def rival() -> None:
        later = ListLog([payment(9, T0_US + 60 * DAY, device_id="d")])
        Folder(store, views, "other log").fold(later.all())

    store.rivals = [rival]
    reported: list[DeadLetter] = []
    counted = Folder(store, views, "log").fold(ListLog([payment(1, T0_US, device_id="d")]).all(), reported.extend)
    assert counted.conflicts == 3
    assert len(reported) == 1
    assert counted.dead == reported


def test_a_record_without_the_primary_entity_is_dead_lettered() -> None:
    store = MemoryOnlineStore()
    views = [
        View(entity, entity=f"{entity}_id", source=Transaction, windows=("1h",), features=[count()])
        for entity in ("device", "card")
    ]
    counted = Folder(store, views, "log").fold(ListLog([payment(1, T0_US), payment(2, T0_US, device_id="d")]).all())
    assert counted.folded == 1
    assert "it has no device_id" in counted.dead[0].reason
