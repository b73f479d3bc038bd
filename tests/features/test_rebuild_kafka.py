"""`headrace replay` over Kafka gives what one live pass gives, from the log, from the archive, and from both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
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
from headrace.cold import open_archive
from headrace.settings import Settings
from stream.archiver import GROUP as ARCHIVER
from stream.archiver import archive_forever
from stream.connection import RedisConnection
from stream.kafka_log import KafkaLog
from stream.kafka_node import KafkaNode
from stream.log import LogUnavailable, Partition, lag, message_of
from stream.records import Record
from tests.features.test_rebuild import PLAN, damage, features, refs_of, traffic
from tests.until import until

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

TOPICS = ("transactions", "labels")


@pytest.fixture
def node(tmp_path: Path, kafka: None) -> Iterator[KafkaNode]:
    """A node of one's own: workers read every topic."""
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
    log.append([message_of(record) for record in records])


def wait_for(log: KafkaLog, group: str) -> None:
    def is_at_the_end() -> bool:
        try:
            return not any(waits for topic in TOPICS for waits in lag(log, group, topic).values())
        except LogUnavailable:
            return False  # A node that has just begun has nobody yet who knows the groups.

    until(is_at_the_end, f"the end of the log for the group {group}", every_s=0.1)


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
    """One archiver, until it has stored all."""
    stop = Event()

    def archiver() -> None:
        with closing(KafkaLog(log.bootstrap, 2)) as own:
            kept = timedelta(days=4000)
            archive_forever(open_archive(settings), own, stop, retention=kept, flush_s=0.2, poll_timeout_ms=50)

    thread = Thread(target=archiver)
    thread.start()
    try:
        wait_for(log, ARCHIVER)
    finally:
        stop.set()
        thread.join()


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


def test_damaged_histories_are_as_they_were(log: KafkaLog, live: RedisOnlineStore, settings: Settings) -> None:
    """From the log, from the archive and the log after it, from the archive alone: one after the other, on one node."""
    records, clean = traffic(1000), MemoryOnlineStore()
    send(log, records[:700])
    archive(settings, log)
    send(log, records[700:])
    for number, source in enumerate(["log", "archive and log", "archive"]):
        # Live goes on where it was.
        work(log, live)
        fold_all(log, clean)
        refs = refs_of(records)
        expected = features(clean, refs)
        assert features(live, refs) == expected, source
        damage(live, refs)
        assert len(live.connection.one("KEYS", "*")) < len(refs)
        if source == "archive":
            archive(settings, log)
            forget(log)
        replay(settings, source.split(maxsplit=1)[0])
        assert features(live, refs) == expected, source
        assert live.connection.one("KEYS", "*next*") == []
        more = traffic(100, first=5000 + 1000 * number)
        send(log, more)
        records += more
    work(log, live)
    fold_all(log, clean)
    refs = refs_of(records)
    assert features(live, refs) == features(clean, refs)


def replay(settings: Settings, source: str) -> None:
    words = ["replay", "--from", source, "--home", str(settings.home), "--partitions", "2"]
    result = CliRunner().invoke(main, [*words, "--redis", settings.redis, "--kafka", settings.kafka])
    assert result.exit_code == 0, result.output
