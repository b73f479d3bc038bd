"""A relay loses nothing: not when it is killed, not while either end is gone."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from threading import Event
from uuid import uuid4

import pytest

from stream.embedded_redis import EmbeddedRedis
from stream.kafka_log import KafkaLog
from stream.kafka_node import KafkaNode
from stream.log import Log, LogFull, LogUnavailable, Message, Partition
from stream.redis_log import RedisLog
from stream.relay import RelayCounts, relay
from tests.until import LIMIT_S, until

LEASE_MS = 600_000
Running = tuple["Future[RelayCounts]", Event]

PROGRAM = """
import os, signal, sys
from threading import Event
from stream.redis_log import RedisLog
from stream.relay import relay

class Dying(RedisLog):
    # Appends, and is killed before anybody says so.
    left = 40

    def append(self, messages):
        super().append(messages)
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)


source, sink = RedisLog(sys.argv[1], partitions=2, lease_ms=500), Dying(sys.argv[2], partitions=2)
relay(source, sink, ["transactions"], Event(), batch_limit=5)
"""


@pytest.fixture
def start() -> Iterator[Callable[[Log, Log, str], Running]]:
    """Run relays in threads; they end with the test."""
    with ThreadPoolExecutor() as threads, ExitStack() as ends:

        def starting(source: Log, sink: Log, topic: str) -> Running:
            stop = Event()
            ends.callback(stop.set)
            outcome = threads.submit(relay, source, sink, [topic], stop, poll_timeout_ms=50, pause_limit_s=0.5)
            return outcome, stop

        yield starting


def messages(count: int, start: int = 0, topic: str = "transactions") -> list[Message]:
    return [Message(topic, f"card-{number % 10}", b"%d" % number) for number in range(start, start + count)]


def arrived(log: Log, topic: str = "transactions") -> list[list[int]]:
    """The numbers in each partition, in order."""
    every = [Partition(topic, number) for number in range(log.partitions(topic))]
    return [[int(entry.value) for entry in log.read(part, 0, 100_000)] for part in every]


def distinct(log: Log, topic: str = "transactions") -> int:
    """How many numbers have arrived; -1 as long as the log does not answer, as while its server starts."""
    try:
        return len({number for numbers in arrived(log, topic) for number in numbers})
    except LogUnavailable:
        return -1


def test_everything_arrives_once_and_in_order(
    redis_db: str, other_redis_db: str, start: Callable[[Log, Log, str], Running]
) -> None:
    # A relay that is held up past its lease begins anew, and counts that as a failure.
    with closing(RedisLog(redis_db, 2, lease_ms=LEASE_MS)) as source, closing(RedisLog(other_redis_db, 2)) as sink:
        source.append(messages(3000))
        outcome, stop = start(source, sink, "transactions")
        until(lambda: distinct(sink) == 3000)
        stop.set()
        assert outcome.result() == RelayCounts(moved=3000, failures=0, trimmed=0)
        assert arrived(sink) == arrived(source)


def test_a_relay_killed_midway_loses_nothing(
    redis_db: str, other_redis_db: str, start: Callable[[Log, Log, str], Running]
) -> None:
    total = 3000
    with (
        closing(RedisLog(redis_db, 2, lease_ms=500)) as source,
        closing(RedisLog(other_redis_db, 2)) as sink,
    ):
        source.append(messages(total))
        with subprocess.Popen([sys.executable, "-c", PROGRAM, redis_db, other_redis_db]) as killed:
            assert killed.wait(LIMIT_S) == -signal.SIGKILL
        assert 0 < distinct(sink) < total
        start(source, sink, "transactions")
        until(lambda: distinct(sink) == total)
        for sent, received in zip(arrived(source), arrived(sink), strict=True):
            assert list(dict.fromkeys(received)) == sent


def has_failed(caplog: pytest.LogCaptureFixture) -> bool:
    """Whether a relay has said that it tries again."""
    return "trying again in" in caplog.text


def test_a_sink_that_goes_and_comes_back_gets_everything(
    redis_db: str, tmp_path: Path, start: Callable[[Log, Log, str], Running], caplog: pytest.LogCaptureFixture
) -> None:
    with (
        EmbeddedRedis(tmp_path, appendfsync="always") as server,
        closing(RedisLog(redis_db, 2)) as source,
        closing(RedisLog(server.url, 2)) as sink,
        closing(RedisLog(server.url, 2)) as view,
    ):
        source.append(messages(100))
        outcome, stop = start(source, sink, "transactions")
        until(lambda: distinct(view) == 100)
        server.kill()
        source.append(messages(100, start=100))
        until(lambda: has_failed(caplog))
        assert not outcome.done()
        view.close()
        server.start()
        until(lambda: distinct(view) == 200)
        stop.set()
        assert outcome.result().failures > 0


def test_a_source_that_goes_and_comes_back_is_read_on(
    redis_db: str, tmp_path: Path, start: Callable[[Log, Log, str], Running]
) -> None:
    with (
        EmbeddedRedis(tmp_path, appendfsync="always") as server,
        closing(RedisLog(redis_db, 2)) as sink,
        closing(RedisLog(server.url, 2, lease_ms=500)) as source,
        closing(RedisLog(server.url, 2)) as scorer,
    ):
        scorer.append(messages(100))
        start(source, sink, "transactions")
        until(lambda: distinct(sink) == 100)
        server.kill()
        server.start()
        scorer.close()
        scorer.append(messages(100, start=100))
        until(lambda: distinct(sink) == 200)


def test_a_full_sink_holds_the_relay_back(
    redis_db: str,
    other_redis_db: str,
    start: Callable[[Log, Log, str], Running],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with (
        closing(RedisLog(redis_db, 1)) as source,
        closing(RedisLog(other_redis_db, 1, outbox_limit=10)) as sink,
    ):
        source.append(messages(10))
        outcome, stop = start(source, sink, "transactions")
        until(lambda: distinct(sink) == 10)
        source.append(messages(10, start=10))
        until(lambda: has_failed(caplog))
        stop.set()
        assert outcome.result().failures > 0
        assert distinct(sink) == 10
        with pytest.raises(LogFull):
            sink.append(messages(1))


def test_the_relay_trims_the_outbox_as_it_goes(redis_db: str, other_redis_db: str) -> None:
    with (
        closing(RedisLog(redis_db, 1, retention_ms=0)) as source,
        closing(RedisLog(other_redis_db, 1)) as sink,
        ThreadPoolExecutor() as threads,
    ):
        source.append(messages(1000))
        stop = Event()
        outcome = threads.submit(relay, source, sink, ["transactions"], stop, poll_timeout_ms=50, trim_every_s=0.1)
        until(lambda: len(source.read(Partition("transactions", 0), 0, 1000)) <= 100)
        stop.set()
        assert outcome.result().trimmed >= 900
        assert distinct(sink) == 1000


@pytest.mark.kafka
def test_kafka_gone_and_back_gets_everything(
    redis_db: str,
    kafka_node: KafkaNode,
    start: Callable[[Log, Log, str], Running],
    caplog: pytest.LogCaptureFixture,
) -> None:
    topic = f"transactions-{uuid4().hex[:8]}"
    with (
        closing(RedisLog(redis_db, 2)) as source,
        closing(KafkaLog(kafka_node.bootstrap, 2, timeout_ms=2000)) as sink,
    ):
        source.append(messages(500, topic=topic))
        outcome, stop = start(source, sink, topic)
        until(lambda: distinct(sink, topic) == 500)
        kafka_node.kill()
        source.append(messages(500, start=500, topic=topic))
        until(lambda: has_failed(caplog))
        assert not outcome.done()
        kafka_node.start()
        with closing(KafkaLog(kafka_node.bootstrap, 2, timeout_ms=30_000)) as view:
            until(lambda: distinct(view, topic) == 1000)
            stop.set()
            assert outcome.result().failures > 0
            for sent, received in zip(arrived(source, topic), arrived(view, topic), strict=True):
                assert list(dict.fromkeys(received)) == sent
