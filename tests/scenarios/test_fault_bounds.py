"""The table "When things go wrong" of docs/operations.md: what fills up, what is hot, and clocks that differ."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread

import duckdb
import msgspec
import pytest

from features.feature_set import EntityRef
from features.fraud import FRAUD
from features.worker import Folder
from stream.embedded_redis import EmbeddedRedis
from stream.log import Partition, message_of
from stream.records import Transaction, encode
from stream.redis_log import RedisLog
from stream.relay import relay
from tests.scenarios.forwarder import Forwarder
from tests.scenarios.served import PARTITIONS, PATIENT_MS, SCORE, Served, logged
from tests.scoring.conftest import feature, payment
from tests.until import until

EVENTS = 10_000
PENDING_LIMIT = 1000  # as Served has it
STATE_BYTES = 64 * 1024


@pytest.fixture
def link(redis_db: str, redis_server: EmbeddedRedis) -> Iterator[Forwarder]:
    assert redis_server.port is not None
    with Forwarder(redis_server.port) as forwarder:
        yield forwarder


def statuses(served: Served, first: int, count: int) -> list[int]:
    return [served.api.post(SCORE, encode(payment(f"e{n}", card_id=f"c{n}"))).status for n in range(first, count)]


def test_with_the_sink_gone_the_outbox_grows_to_its_bound_and_then_refuses_and_nothing_answered_is_lost(
    redis_db: str, other_redis_db: str, link: Forwarder, tmp_path: Path
) -> None:
    """The relay's sink is behind a forwarder that is shut; Kafka itself is in `tests/stream/test_relay.py`."""
    link.shut()
    stop = Event()
    with (
        closing(RedisLog(redis_db, PARTITIONS, retention_ms=0)) as source,
        closing(RedisLog(link.url.removesuffix("/0") + "/1", PARTITIONS)) as sink,
        Served(redis_db, tmp_path / "spool", PATIENT_MS, outbox=20) as served,
    ):
        carrying = Thread(
            target=relay,
            args=(source, sink, ["transactions", "decisions"], stop),
            kwargs={"poll_timeout_ms": 50, "pause_limit_s": 0.1, "trim_every_s": 0.1},
        )
        carrying.start()
        try:
            answered = {number for number, status in enumerate(statuses(served, 0, 100)) if status == 200}
            assert 20 <= len(answered) <= 2 * 20
            refused = served.api.post(SCORE, encode(payment("e99", card_id="c99")))
            assert (refused.status, refused.retry_after_s) == (503, 1)
            assert msgspec.json.decode(refused.body)["error"] == "outbox full"
            assert max(source.end(Partition("transactions", number)) for number in range(PARTITIONS)) > 0

            link.open()
            expected = {f"e{number}" for number in answered}
            until(lambda: set(logged(other_redis_db)) == expected, "what was answered, at the sink")
            until(lambda: served.api.post(SCORE, encode(payment("again", card_id="c99"))).status == 200, "an answer")
            until(lambda: set(logged(other_redis_db)) == {*expected, "again"}, "the last one")
            assert set(logged(other_redis_db, "transactions")) >= expected
        finally:
            stop.set()
            carrying.join()


def test_a_hot_card_stays_bounded_and_quick(redis_db: str, tmp_path: Path) -> None:
    """Ten thousand events of one card, at first without any worker, then folded."""
    with Served(redis_db, tmp_path / "spool", PATIENT_MS, outbox=2 * EVENTS) as served:
        ledger = served.scorer.ledger
        now = datetime.now(UTC)
        for first in range(0, EVENTS, 500):
            commands = []
            for number in range(first, first + 500):
                at = now - timedelta(seconds=EVENTS - number)
                record = payment(f"hot{number}", card_id="hot", merchant_id=f"m{number % 50}", event_timestamp=at)
                commands.append(ledger.command(record, FRAUD.pending(record)))
            assert not [reply for reply in ledger.connection.call(commands) if isinstance(reply, Exception)]
        key = ledger.store.key(EntityRef("card_id", "hot"))
        assert ledger.connection.one("HLEN", key) <= PENDING_LIMIT
        full = served.score("while full", card_id="hot", event_timestamp=now)
        assert full.degraded == ["pending full"]

        with closing(RedisLog(redis_db, PARTITIONS)) as log:
            folder = Folder(ledger.store, FRAUD.views, log.name)
            parts = [Partition("transactions", number) for number in range(PARTITIONS)]
            for part in parts:
                offset = 0
                while entries := log.read(part, offset, 2000):
                    folder.fold({part: entries})
                    offset = entries[-1].offset + 1
        (entity,) = ledger.store.read([EntityRef("card_id", "hot")])
        assert entity.pending == {}
        assert max(len(state) for state in entity.states.values()) < STATE_BYTES

        folded = served.score("folded", card_id="hot", event_timestamp=now)
        assert folded.degraded == []
        assert folded.approximate
        assert feature(folded.vector, "card_count_30d") == EVENTS + 2

        def median_s(card: str) -> float:
            times = []
            for number in range(60):
                started_s = time.perf_counter()
                served.score(f"{card} timed {number}", card_id=card, event_timestamp=now)
                times.append(time.perf_counter() - started_s)
            return statistics.median(times)

        assert min(median_s("hot") / median_s("cold") for _ in range(3)) < 5


def test_a_clock_that_is_behind_refuses_what_lies_in_its_future_and_one_that_is_ahead_places_events_by_their_time(
    redis_db: str, tmp_path: Path
) -> None:
    with Served(redis_db, tmp_path / "spool", PATIENT_MS) as served:

        def sent(event_id: str, ahead: timedelta) -> tuple[int, bytes]:
            """As a sender sends it whose clock is so much ahead of the scorer's."""
            answer = served.api.post(SCORE, encode(payment(event_id, event_timestamp=datetime.now(UTC) + ahead)))
            return answer.status, answer.body

        status, body = sent("an hour early", timedelta(hours=1))
        assert (status, msgspec.json.decode(body)["field"]) == (400, "event_timestamp")
        assert "clock" in msgspec.json.decode(body)["remedy"]
        assert sent("a little early", timedelta(seconds=30))[0] == 200
        # The scorer's clock is ahead: what it gets looks late, and counts in the windows of its own time.
        assert sent("two hours late", timedelta(hours=-2))[0] == 200
        now = served.score("now", event_timestamp=datetime.now(UTC) + timedelta(seconds=31))
        assert feature(now.vector, "card_count_1h") == 2.0
        assert feature(now.vector, "card_count_1d") == 3.0
        before = served.score("before", event_timestamp=datetime.now(UTC) - timedelta(hours=1, minutes=59))
        assert feature(before.vector, "card_count_1h") == 2.0


def test_an_archiver_waits_for_room_on_its_disk_and_then_stores_everything_once(
    redis_db: str, tmp_path: Path, link: Forwarder
) -> None:
    at = datetime(2026, 1, 31, tzinfo=UTC)
    records = [
        Transaction(event_id=f"e{n}", event_timestamp=at, card_id=f"c{n}", merchant_id="m", amount=float(n))
        for n in range(500)
    ]
    with closing(RedisLog(redis_db, PARTITIONS)) as log:
        log.append([message_of(record) for record in records])
    command = [sys.executable, "-m", "tests.scenarios.full_disk_child", redis_db, str(tmp_path / "archive"), "3000"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            said = child.stdout.readline()
            assert "trying again in" in said, said
            child.stdin.write("room\n")
            child.stdin.flush()
            until_line(child.stdout.readline, "files")
        finally:
            child.kill()
    files = f"{tmp_path}/archive/transactions/**/*.parquet"
    with duckdb.connect() as database:
        found = database.execute(f"SELECT count(*), count(DISTINCT event_id) FROM read_parquet('{files}')").fetchall()
    assert found == [(500, 500)]


def until_line(read: Callable[[], str], ending: str) -> None:
    for _ in range(1000):
        line = read()
        assert line, "the process has ended"
        if line.strip().endswith(ending):
            return
    raise AssertionError(f"no line ends with {ending!r}")
