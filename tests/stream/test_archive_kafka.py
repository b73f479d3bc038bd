"""The archiver on Kafka: each record of each topic once, wherever the archiver dies."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from threading import Event, Thread

import duckdb
import pytest

from stream.archive import ARCHIVED, Archive, entries
from stream.archiver import GROUP, Archiver, archive_forever
from stream.kafka_log import KafkaLog
from stream.kafka_node import KafkaNode
from stream.log import Entry, LogUnavailable, Partition, lag, message_of
from stream.records import Label, Record, Transaction
from tests.until import LIMIT_S, until

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
TOPICS = ("transactions", "labels")

PROGRAM = """
import sys
from datetime import timedelta
from pathlib import Path
from threading import Event
from stream import kafka_log
from stream.archive import Archive
from stream.archiver import archive_forever
from stream.kafka_log import KafkaLog

kafka_log.CONNECT_TIMEOUT_MS = 60_000  # a broker that a busy machine holds up is no reason to end before the kill
log = KafkaLog(sys.argv[1], 2, session_timeout_ms=1500, max_poll_interval_ms=3000)
archive_forever(
    Archive(Path(sys.argv[2])), log, Event(), retention=timedelta(days=400),
    flush_records=60, flush_s=0.2, poll_limit=40, poll_timeout_ms=50, tidy_every_s=2,
)
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, kafka: None) -> Iterator[KafkaNode]:
    """A node of these tests' own: archivers read every topic."""
    with KafkaNode(tmp_path_factory.mktemp("archived") / "kafka") as own:
        yield own


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That node's archive: each test goes on where the one before it ended."""
    return tmp_path_factory.mktemp("archive")


def open_log(node: KafkaNode) -> KafkaLog:
    return KafkaLog(node.bootstrap, 2)


def records(count: int, first: int = 0) -> list[Record]:
    """Payments over some days, in disorder, and a label for every tenth."""
    made: list[Record] = []
    for number in range(first, first + count):
        at = NOON + timedelta(hours=5 * (number % 9), seconds=number)
        card = f"c{number % 7}"
        made.append(Transaction(event_id=f"e{number}", card_id=card, merchant_id="m", amount=1.0, event_timestamp=at))
        if number % 10 == 0:
            made.append(Label(event_id=f"e{number}", card_id=card, label="fraud", labelled_at=at))
    return made


def send(log: KafkaLog, made: list[Record]) -> None:
    log.append([message_of(record) for record in made])


def on_the_log(log: KafkaLog) -> dict[Partition, list[Entry]]:
    every = (Partition(topic, number) for topic in TOPICS for number in range(2))
    return {part: found for part in every if (found := log.read(part, 0, 1 << 20))}


def archived(directory: Path, log: KafkaLog) -> dict[Partition, list[Entry]]:
    assert {name for name, _ in Archive(directory).sources()} <= {log.name}
    return {part: list(entries(files)) for (_, part), files in Archive(directory).sources().items()}


def by_duckdb(directory: Path) -> list[tuple[str, int, int]]:
    rows: list[tuple[str, int, int]] = []
    with duckdb.connect() as connection:
        for topic in TOPICS:
            source = f"read_parquet('{directory}/{topic}/**/*.parquet')"
            query = f"""SELECT '{topic}', partition, "offset" FROM {source} ORDER BY ALL"""
            rows += connection.execute(query).fetchall()
    return sorted(rows)


def check(directory: Path, log: KafkaLog) -> None:
    expected = on_the_log(log)
    assert archived(directory, log) == expected
    assert by_duckdb(directory) == sorted((*part, entry.offset) for part, own in expected.items() for entry in own)


def all_stored(log: KafkaLog) -> bool:
    try:
        return not any(waits for topic in TOPICS for waits in lag(log, GROUP, topic).values())
    except LogUnavailable:
        return False  # A node that has just begun has nobody yet who knows the groups.


@contextmanager
def archiving(directory: Path, node: KafkaNode) -> Iterator[None]:
    """An archiver in a thread, until the block ends."""
    stop = Event()
    with closing(open_log(node)) as log:
        options = {"retention": timedelta(days=400), "flush_s": 0.2, "poll_timeout_ms": 50}
        thread = Thread(target=archive_forever, args=(Archive(directory), log, stop), kwargs=options)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def test_an_archiver_killed_again_and_again_stores_each_record_once(directory: Path, node: KafkaNode) -> None:
    random, total = Random(7), 3000
    with closing(open_log(node)) as log:
        send(log, records(500))
        sent = Event()

        def sender() -> None:
            with closing(open_log(node)) as own:
                for first in range(500, total, 100):
                    send(own, records(100, first))
                    time.sleep(0.1)
            sent.set()

        thread = Thread(target=sender)
        thread.start()
        seen = len(list(directory.rglob("*-*.parquet")))
        for death in range(3):
            # Of its own: one that was killed late has stored all that was sent so far.
            send(log, records(100, total + 100 * death))
            command = [sys.executable, "-c", PROGRAM, node.bootstrap, str(directory)]
            with subprocess.Popen(command, cwd=Path(__file__).parents[2]) as killed:
                until(lambda count=seen: len(list(directory.rglob("*-*.parquet"))) > count)  # type: ignore[misc]
                time.sleep(random.random() * 0.5)
                killed.send_signal(signal.SIGKILL)
            seen = len(list(directory.rglob("*-*.parquet")))
        thread.join()
        assert sent.is_set()
        with archiving(directory, node):
            until(lambda: all_stored(log))
        check(directory, log)


def test_a_crash_between_files_and_commit_and_one_among_the_files_doubles_nothing(
    directory: Path, node: KafkaNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Crash(RuntimeError):
        """The archiver ends here."""

    with closing(open_log(node)) as log:
        send(log, records(300))
        replace = Path.replace
        left = [3]

        def dying(self: Path, target: Path) -> Path:
            left[0] -= 1
            if not left[0]:
                raise Crash
            return replace(self, target)

        for where in ("among the files", "before the commit"):
            with monkeypatch.context() as patch, Archive(directory) as archive:
                if where == "among the files":
                    patch.setattr(Path, "replace", dying)
                with closing(log.consumer(GROUP, ARCHIVED)) as consumer:
                    if where == "before the commit":
                        patch.setattr(consumer, "commit", lambda offsets: (_ for _ in ()).throw(Crash))
                    archiver = Archiver(archive, log, consumer, flush_records=100)
                    with pytest.raises(Crash):
                        end = time.monotonic() + LIMIT_S
                        while time.monotonic() < end:
                            archiver.step(50, 100)
        with archiving(directory, node):
            until(lambda: all_stored(log))
        check(directory, log)


def test_a_broker_that_goes_and_comes_back_is_archived_on(directory: Path, node: KafkaNode) -> None:
    with archiving(directory, node):
        with closing(open_log(node)) as log:
            send(log, records(200))
            until(lambda: all_stored(log))
        node.kill()
        time.sleep(1)
        node.start()
        with closing(open_log(node)) as log:
            send(log, records(200, 200))
            until(lambda: all_stored(log))
    with closing(open_log(node)) as log:
        check(directory, log)
