"""A rebuild gives the features of one clean pass, and loses nothing that comes meanwhile."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from random import Random
from threading import Event, Thread
from time import sleep
from typing import Any

import pytest

from features.feature_set import EntityRef
from features.fraud import FRAUD
from features.history import History
from features.online_store import MemoryOnlineStore, OnlineStore, RedisOnlineStore, Replacement, StoredEntity
from features.pipeline import GROUP, work_forever, work_once
from features.rebuild import Rebuild, delete_all, store_beside
from features.scan import Scan
from features.store_plan import StorePlan, ViewFields
from features.worker import Folder
from stream.archive import Archive
from stream.archiver import GROUP as ARCHIVER
from stream.archiver import Archiver
from stream.connection import RedisConnection
from stream.log import Entry, Partition, lag, message_of
from stream.records import Label, Record, encode, from_micros
from stream.redis_log import RedisLog
from tests.oracle import MINUTE, T0_US, payment
from tests.until import LIMIT_S

PLAN = StorePlan(
    project="test",
    definition_hash="by hand",
    key_prefixes={name: f"{name}:".encode().hex() for name in FRAUD.entities},
    views={
        view.name: ViewFields(view.entity, f"{view.name}:state".encode().hex(), f"_ts:{view.name}")
        for view in FRAUD.views
    },
)
SCANS = {view.name: Scan(view) for view in FRAUD.views}
EVENTS = 2000
NOW_US = T0_US + 3 * EVENTS * MINUTE


@pytest.fixture
def log(redis_db: str) -> Iterator[RedisLog]:
    with closing(RedisLog(redis_db, partitions=2)) as opened:
        yield opened


@pytest.fixture
def live(redis_db: str) -> Iterator[RedisOnlineStore]:
    with RedisConnection(redis_db) as connection:
        yield RedisOnlineStore(connection, PLAN, 10_000_000)


def traffic(count: int = EVENTS, first: int = 0) -> list[Record]:
    """Payments at 150 cards, 60 merchants and 40 devices, some labels, disorder and duplicates."""
    random = Random(first)
    records: list[Any] = []
    for number in range(first, first + count):
        fields: dict[str, Any] = {"card_id": f"c{random.randrange(150)}", "merchant_id": f"m{random.randrange(60)}"}
        device = random.choice([None, f"d{random.randrange(40)}"])
        at_us = T0_US + 3 * number * MINUTE
        records.append(payment(number, at_us, device_id=device, amount=float(random.randrange(1, 500)), **fields))
        if number % 20 == 0:
            at = from_micros(at_us + MINUTE)
            records.append(Label(event_id=f"e{number}", label="fraud", labelled_at=at, event_timestamp=at, **fields))
    for _ in range(count // 10):
        one, other = random.randrange(len(records) - 5), random.randrange(5)
        records[one], records[one + other] = records[one + other], records[one]
        records.insert(random.randrange(one, min(len(records), one + 200)), records[one])
    return records


def send(log: RedisLog, records: Sequence[Record]) -> None:
    log.append([message_of(record) for record in records])


def work(log: RedisLog, store: OnlineStore) -> None:
    """One worker, until nothing waits."""
    folder = Folder(store, FRAUD.views, log.name)
    with closing(log.consumer(GROUP, folder.topics)) as consumer:
        while any(waits for topic in folder.topics for waits in lag(log, GROUP, topic).values()):
            work_once(folder, log, consumer, 300, 20)


def archive_all(log: RedisLog, directory: Path) -> None:
    with Archive(directory) as archive, closing(log.consumer(ARCHIVER, ["transactions", "labels"])) as consumer:
        archiver = Archiver(archive, log, consumer, flush_records=500)
        while any(waits for topic in ("transactions", "labels") for waits in lag(log, ARCHIVER, topic).values()):
            if not archiver.step(300, 20).stored:
                archiver.flush()


def clean(log: RedisLog) -> MemoryOnlineStore:
    """One pass of one worker over everything."""
    store = MemoryOnlineStore()
    folder = Folder(store, FRAUD.views, log.name)
    for topic in folder.topics:
        for number in range(2):
            part = Partition(topic, number)
            folder.fold({part: log.read(part, 0, 1 << 20)})
    return store


def refs_of(records: Sequence[Any]) -> list[EntityRef]:
    return list(
        dict.fromkeys(
            EntityRef(view.entity, value)
            for record in records
            for view in FRAUD.views
            if (value := getattr(record, view.entity, None)) is not None
        )
    )


def features(store: OnlineStore, refs: Sequence[EntityRef]) -> dict[tuple[str, str], list[float]]:
    found = {}
    for ref, entity in zip(refs, store.read_states(refs), strict=True):
        for view in FRAUD.views:
            if view.entity == ref.entity:
                history = History.decode(view, entity.states.get(view.name))
                values = SCANS[view.name].read(history, NOW_US)[0].tolist()
                found[view.name, ref.value] = [-1.0 if math.isnan(value) else round(value, 6) for value in values]
    return found


def damage(store: RedisOnlineStore, refs: Sequence[EntityRef]) -> None:
    """Every third entity deleted, every third corrupt."""
    store.connection.call([("DEL", store.key(ref)) for ref in refs[::3]])
    for ref, entity in zip(refs[1::3], store.read_states(refs[1::3]), strict=True):
        broken = {name: state[:-1] + bytes([state[-1] ^ 1]) for name, state in entity.states.items()}
        assert store.replace([Replacement(ref, entity.states, broken, T0_US)]) == [True]


def rebuild(live: RedisOnlineStore, log: RedisLog, archive: Archive | None = None, force: bool = False) -> Rebuild:
    beside = store_beside(live, "run")
    one = Rebuild(live, beside, FRAUD.views, log, archive, force=force)
    one.run(Event(), patience_s=LIMIT_S)
    delete_all(beside, one.refs)
    return one


@pytest.mark.parametrize("source", ["log", "archive", "archive and log"])
def test_damaged_histories_are_as_after_one_clean_pass(
    log: RedisLog, live: RedisOnlineStore, tmp_path: Path, source: str
) -> None:
    records = traffic()
    send(log, records[:1500])
    if source != "log":
        archive_all(log, tmp_path)
    send(log, records[1500:])
    if source == "archive":
        archive_all(log, tmp_path)
    work(log, live)
    refs = refs_of(records)
    expected = features(clean(log), refs)
    assert features(live, refs) == expected
    damage(live, refs)
    live.add_pending(refs[:2], "waiting", b"w")
    if source == "archive":
        with RedisConnection(log.url) as connection:
            connection.call([("XTRIM", f"log:{topic}:{n}", "MAXLEN", 0) for topic in log_topics() for n in range(2)])
    one = rebuild(live, log, None if source == "log" else Archive(tmp_path))
    assert features(live, refs) == expected
    count = one.count
    assert (count.behind, count.longer_live) == (0, 0)
    assert count.entities == len(refs)
    assert count.restored + count.replaced + count.same == len(refs)
    assert count.restored > 0
    assert count.replaced > 0
    assert count.same > 0
    assert [list(entity.pending) for entity in live.read(refs[:2])] == [["waiting"], ["waiting"]]
    # Nothing is left of the second store.
    assert live.connection.one("KEYS", "*next*") == []


def log_topics() -> tuple[str, ...]:
    return ("transactions", "labels")


def test_a_rebuild_during_live_traffic_loses_nothing(log: RedisLog, live: RedisOnlineStore, redis_db: str) -> None:
    before, during = traffic(600), traffic(600, first=600)
    send(log, before)
    work(log, live)
    refs = refs_of(before)
    damage(live, refs)
    stop, sent = Event(), Event()

    def live_worker() -> None:
        with RedisConnection(redis_db) as connection, closing(RedisLog(redis_db, partitions=2)) as own:
            store = RedisOnlineStore(connection, PLAN, 10_000_000)
            work_forever(Folder(store, FRAUD.views, own.name), own, stop, batch_limit=50, poll_timeout_ms=20)

    def sender() -> None:
        with closing(RedisLog(redis_db, partitions=2)) as own:
            for start in range(0, len(during), 7):
                send(own, during[start : start + 7])
                stop.wait(0.005)
        sent.set()

    threads = [Thread(target=live_worker), Thread(target=sender)]
    for thread in threads:
        thread.start()
    try:
        one = rebuild(live, log)
        assert sent.wait(LIMIT_S)
    finally:
        threads[1].join()
        stop.set()
        threads[0].join()
    work(log, live)
    every = refs_of([*before, *during])
    assert one.count.behind == 0
    assert one.count.restored > 0
    assert features(live, every) == features(clean(log), every)


def test_a_live_state_that_reaches_further_back_stays_unless_forced(log: RedisLog, live: RedisOnlineStore) -> None:
    old = Folder(live, FRAUD.views, "another log")
    old.fold({Partition("transactions", 0): [Entry(7, "c", encode(payment(1, T0_US)))]})
    send(log, [payment(2, T0_US + MINUTE)])
    work(log, live)
    refs = [EntityRef("card_id", "c"), EntityRef("merchant_id", "m")]
    both = features(live, refs)
    assert rebuild(live, log).count.longer_live == 2
    assert features(live, refs) == both
    assert rebuild(live, log, force=True).count.replaced == 2
    assert features(live, refs) != both


def test_what_workers_have_not_committed_is_not_rebuilt(log: RedisLog, live: RedisOnlineStore) -> None:
    send(log, [payment(1, T0_US)])
    work(log, live)
    send(log, [payment(2, T0_US + MINUTE)])
    one = rebuild(live, log)
    assert (one.count.records, one.count.same) == (1, 2)


def test_a_worker_that_died_before_its_commit_leaves_its_entities_behind(log: RedisLog, live: RedisOnlineStore) -> None:
    send(log, [payment(1, T0_US)])
    work(log, live)
    send(log, [payment(2, T0_US + MINUTE)])
    folder = Folder(live, FRAUD.views, log.name)
    with closing(log.consumer(GROUP, folder.topics)) as consumer:
        folder.fold(consumer.poll(100, 100))
    one = Rebuild(live, MemoryOnlineStore(), FRAUD.views, log)
    assert one.run(Event(), patience_s=0.1).behind == 2
    work(log, live)
    assert rebuild(live, log).count.same == 2


def test_who_was_held_up_past_its_patience_before_it_tried_still_tries(
    log: RedisLog, live: RedisOnlineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(log, [payment(1, T0_US)])
    work(log, live)
    live.connection.one("DEL", live.key(EntityRef("card_id", "c")))
    one = Rebuild(live, MemoryOnlineStore(), FRAUD.views, log)
    catch_up = one.catch_up

    def held_up() -> None:
        catch_up()
        sleep(0.02)

    monkeypatch.setattr(one, "catch_up", held_up)
    count = one.run(Event(), patience_s=0.01)
    assert (count.behind, count.restored, count.same) == (0, 1, 1)


def test_with_redis_lost_the_archive_restores_every_history(
    log: RedisLog, live: RedisOnlineStore, tmp_path: Path
) -> None:
    records = traffic(400)
    send(log, records)
    archive_all(log, tmp_path)
    work(log, live)
    refs = refs_of(records)
    expected = features(live, refs)
    live.connection.one("FLUSHALL")
    assert rebuild(live, log, Archive(tmp_path)).count.restored == len(refs)
    assert features(live, refs) == expected


def test_a_rebuild_that_is_stopped_leaves_the_live_histories(log: RedisLog, live: RedisOnlineStore) -> None:
    send(log, [payment(1, T0_US)])
    work(log, live)
    refs = [EntityRef("card_id", "c"), EntityRef("merchant_id", "m")]
    before = live.read_states(refs)
    stop = Event()
    one = Rebuild(live, MemoryOnlineStore(), FRAUD.views, log)
    one.run(stop, on_progress=lambda stage, count: stop.set())
    assert one.count.behind == 2
    assert live.read_states(refs) == before


def test_what_is_archived_while_a_rebuild_begins_is_not_missed(
    log: RedisLog, live: RedisOnlineStore, tmp_path: Path
) -> None:
    class Racing(Archive):
        """An archiver stores and commits the rest just after the files were listed."""

        def sources(self, topics: Sequence[str] = ()) -> Any:
            found = super().sources(topics)
            archive_all(log, tmp_path)
            return found

    records = traffic(200)
    send(log, records[:100])
    archive_all(log, tmp_path)
    send(log, records[100:])
    work(log, live)
    refs = refs_of(records)
    expected = features(live, refs)
    live.connection.call([("DEL", live.key(ref)) for ref in refs])
    assert rebuild(live, log, Racing(tmp_path)).count.restored == len(refs)
    assert features(live, refs) == expected


class Interrupted:
    """A store in which something happens once, between a worker's read and what it writes."""

    def __init__(self, store: OnlineStore, meanwhile: Callable[[], object]) -> None:
        self.store = store
        self.meanwhile: Callable[[], object] | None = meanwhile

    def read(self, refs: Sequence[EntityRef]) -> list[StoredEntity]:
        return self.store.read(refs)

    def read_states(self, refs: Sequence[EntityRef]) -> list[StoredEntity]:
        found = self.store.read_states(refs)
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()
        return found

    def add_pending(self, refs: Sequence[EntityRef], identity: str, record: bytes) -> None:
        self.store.add_pending(refs, identity, record)

    def replace(self, replacements: Sequence[Replacement]) -> list[bool]:
        return self.store.replace(replacements)


@pytest.mark.parametrize("harm", ["corrupt", "deleted"])
def test_a_switch_between_a_workers_read_and_its_write_stays(log: RedisLog, live: RedisOnlineStore, harm: str) -> None:
    send(log, [payment(1, T0_US)])
    work(log, live)
    card = EntityRef("card_id", "c")
    if harm == "corrupt":
        [entity] = live.read_states([card])
        broken = {name: state[:-1] + bytes([state[-1] ^ 1]) for name, state in entity.states.items()}
        assert live.replace([Replacement(card, entity.states, broken, T0_US)]) == [True]
    else:
        live.connection.one("DEL", live.key(card))
    send(log, [payment(2, T0_US + MINUTE)])
    work(log, Interrupted(live, lambda: rebuild(live, log)))
    refs = [card, EntityRef("merchant_id", "m")]
    assert features(live, refs) == features(clean(log), refs)


def test_a_copy_in_a_workers_hands_while_its_card_is_restored_counts_once(
    log: RedisLog, live: RedisOnlineStore
) -> None:
    send(log, [payment(1, T0_US)])
    work(log, live)
    card, merchant = EntityRef("card_id", "c"), EntityRef("merchant_id", "m")
    live.connection.one("DEL", live.key(card))
    send(log, [payment(1, T0_US), payment(2, T0_US + MINUTE)])
    work(log, Interrupted(live, lambda: rebuild(live, log)))
    assert features(live, [card, merchant]) == features(clean(log), [card, merchant])
