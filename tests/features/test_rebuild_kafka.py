"""`headrace replay` over Kafka gives what one live pass gives, from the log, from the archive, and from both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Event, Thread

import pytest
from click.testing import CliRunner
from kafka import KafkaAdminClient, TopicPartition

from features.fraud import FRAUD
from features.online_store import MemoryOnlineStore, RedisOnlineStore
from features.pipeline import GROUP, work_forever
from features.worker import Folder
from headrace.cli import main
from headrace.cold import run_archiver
from headrace.settings import Settings
from stream.archiver import GROUP as ARCHIVER
from stream.connection import RedisConnection
from stream.kafka_log import KafkaLog
from stream.kafka_node import KafkaNode
from stream.log import LogUnavailable, Message, Partition, lag
from stream.records import Record, encode
from tests.features.test_rebuild import PLAN, damage, features, refs_of, traffic

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

TOPICS = ("transactions", "labels")


@pytest.fixture
def node(tmp_path: Path, kafka_node: KafkaNode) -> Iterator[KafkaNode]:
    """A node of one's own: workers read every topic. (The session's says whether there can be one.)"""
    with KafkaNode(tmp_path / "kafka") as own:
        yield own


@pytest.fixture
def log(node: KafkaNode) -> Iterator[KafkaLog]:
    with closing(KafkaLog(node.bootstrap, 2)) as opened:
        yield opened


@pytest.fixture
def settings(redis_db: str, tmp_path: Path, node: KafkaNode) -> Settings:
    PLAN.save(tmp_path / "plan.json")
    return Settings({"home": str(tmp_path), "redis": redis_db, "kafka": node.bootstrap, "partitions": 2}, {})


@pytest.fixture
def live(redis_db: str) -> Iterator[RedisOnlineStore]:
    with RedisConnection(redis_db) as connection:
        yield RedisOnlineStore(connection, PLAN, 10_000_000)


def send(log: KafkaLog, records: list[Record]) -> None:
    log.append([Message(record.topic, record.key, encode(record)) for record in records])


def wait_for(log: KafkaLog, group: str) -> None:
    for _ in range(600):
        try:
            if not any(waits for topic in TOPICS for waits in lag(log, group, topic).values()):
                return
        except LogUnavailable:
            pass  # A node that has just begun has nobody yet who knows the groups.
        Event().wait(0.1)
    pytest.fail(f"the group {group} did not come to the end")


def work(log: KafkaLog, live: RedisOnlineStore) -> None:
    """One worker, until nothing waits."""
    stop = Event()

    def live_worker() -> None:
        with closing(KafkaLog(log.bootstrap, 2)) as own, RedisConnection(live.connection.url) as connection:
            store = RedisOnlineStore(connection, PLAN, 10_000_000)
            work_forever(Folder(store, FRAUD.views, own.name), own, stop, batch_limit=300, poll_timeout_ms=50)

    thread = Thread(target=live_worker)
    thread.start()
    try:
        wait_for(log, GROUP)
    finally:
        stop.set()
        thread.join()


def archive(settings: Settings, log: KafkaLog) -> None:
    """One archiver that stores what it has read when it is stopped."""
    stop = Event()
    thread = Thread(target=run_archiver, args=(settings, stop))
    thread.start()
    Event().wait(4)
    stop.set()
    thread.join()
    wait_for(log, ARCHIVER)


def fold_all(log: KafkaLog, store: MemoryOnlineStore) -> None:
    """What the log has, in one pass over each partition."""
    folder = Folder(store, FRAUD.views, log.name)
    for part in [Partition(topic, number) for topic in TOPICS for number in range(2)]:
        if found := log.read(part, 0, 1 << 20):
            folder.fold({part: found})


def forget(log: KafkaLog) -> None:
    """What the broker's retention does: delete every record."""
    ends = {TopicPartition(topic, n): log.end(Partition(topic, n)) for topic in TOPICS for n in range(2)}
    admin = KafkaAdminClient(bootstrap_servers=log.bootstrap)
    admin.delete_records({place: end for place, end in ends.items() if end})
    admin.close()
    assert log.read(Partition("transactions", 0), 0, 1) == []


@pytest.mark.parametrize("source", ["log", "archive", "archive and log"])
def test_damaged_histories_are_as_they_were(
    log: KafkaLog, live: RedisOnlineStore, settings: Settings, source: str
) -> None:
    records = traffic()
    send(log, records[:1500])
    if source == "archive and log":
        archive(settings, log)
    send(log, records[1500:])
    if source == "archive":
        archive(settings, log)
    work(log, live)
    refs = refs_of(records)
    clean = MemoryOnlineStore()
    fold_all(log, clean)
    expected = features(clean, refs)
    assert features(live, refs) == expected
    damage(live, refs)
    assert len(live.connection.one("KEYS", "*")) < len(refs)
    if source == "archive":
        forget(log)
    words = ["replay", "--from", source.split(maxsplit=1)[0], "--home", str(settings.home), "--partitions", "2"]
    result = CliRunner().invoke(main, [*words, "--redis", settings.redis, "--kafka", settings.kafka])
    assert result.exit_code == 0, result.output
    assert features(live, refs) == expected
    assert live.connection.one("KEYS", "*next*") == []
    # And live goes on where it was.
    more = traffic(100, first=5000)
    send(log, more)
    work(log, live)
    fold_all(log, clean)
    every = refs_of([*records, *more])
    assert features(live, every) == features(clean, every)
