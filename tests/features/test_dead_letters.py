"""What is refused is reported, wherever the worker dies; what is folded is never reported."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import pytest

from features.fraud import FRAUD
from features.online_store import MemoryOnlineStore, OnlineStore, Replacement, StoredEntity
from features.pipeline import GROUP, work_once
from features.worker import Folder
from stream.log import LogFull, Message, Partition, lag
from stream.records import DeadLetter, decode, encode
from stream.redis_log import RedisLog
from tests.oracle import DAY, T0_US, payment

OLD = payment(1, T0_US)
# A card and a merchant that have gone on for longer than any window, then something from the past.
RECORDS = [payment(2, T0_US + 400 * DAY), OLD, payment(3, T0_US + 400 * DAY + 1)]


class Crash(RuntimeError):
    """The worker ends here."""


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
    with closing(RedisLog(redis_db, partitions=1, lease_ms=1000)) as opened:
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
    log.append([Message(record.topic, record.key, encode(record)) for record in RECORDS])
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
    log.append([Message(record.topic, record.key, encode(record)) for record in (OLD, *RECORDS[::2])])
    store = MemoryOnlineStore()
    folder = Folder(store, FRAUD.views, log.name)
    part = Partition("transactions", 0)
    for _ in range(2):
        assert folder.fold({part: log.read(part, 0, 10)}).dead == []
