"""Processes that start before their servers wait for them, and end when they are told to."""

from __future__ import annotations

import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from threading import Event

import pytest
from click.testing import CliRunner

from features.fraud import FRAUD
from headrace.assembly import open_log, open_online_store, open_outbox
from headrace.cli import main
from headrace.settings import Settings
from headrace.stack import Stack
from headrace.waiting import open_log_when_up
from stream.child import Child
from stream.embedded_redis import EmbeddedRedis
from stream.kafka_node import KafkaNode
from stream.log import lag, message_of
from stream.records import Label, Record, from_micros
from stream.redis_log import RedisLog
from tests.oracle import MINUTE, T0_US, payment
from tests.ports import reserved_port
from tests.scoring.conftest import PLAN
from tests.until import until

NAMES = ("worker", "relay", "learn", "archive")
PAYMENT = payment(1, T0_US, device_id="d")
LABELLED_AT = from_micros(T0_US + MINUTE)
LABEL = Label(event_id="e1", label="fraud", labelled_at=LABELLED_AT, event_timestamp=LABELLED_AT, card_id="c")


@pytest.fixture
def children() -> Iterator[ExitStack]:
    with ExitStack() as ends:
        yield ends


LONG_PAUSE = """
import sys
from headrace.cli import main
from stream import patience
patience.FIRST_PAUSE_S = 1000.0
sys.argv = ["headrace", "relay"]
main()
"""


def settings_of(home: Path, redis: str, kafka: str = "") -> Settings:
    PLAN.save(home / "plan.json")
    return Settings({"home": str(home), "redis": redis, "kafka": kafka, "partitions": 2}, {})


def start(ends: ExitStack, settings: Settings, *words: str) -> Child:
    child = Stack(settings).start("-".join(words), *words)
    ends.callback(child.kill)
    return child


def send(settings: Settings, *records: Record) -> None:
    with closing(open_outbox(settings)) as outbox:
        outbox.append([message_of(record) for record in records])


def folded(settings: Settings) -> bool:
    store = open_online_store(settings)
    with closing(store.connection):
        return all(entity.states for entity in store.read_states(FRAUD.refs(PAYMENT)))


def read_all(settings: Settings, group: str, topic: str) -> bool:
    with closing(open_log(settings)) as log:
        return not any(lag(log, group, topic).values())


def waiting(child: Child, address: str) -> bool:
    assert child.running, child.log_tail()
    text = child.log_tail()
    says_when = "trying again in" in text or "the learner waits" in text
    return f"{address} did not answer" in text and says_when


@pytest.mark.kafka
@pytest.mark.slow
def test_processes_started_before_kafka_work_once_it_is_up(
    redis_db: str, tmp_path: Path, children: ExitStack, kafka: None
) -> None:
    node = KafkaNode(tmp_path / "kafka", port=children.enter_context(reserved_port()))
    children.callback(node.stop)
    settings = settings_of(tmp_path, redis_db, node.bootstrap)
    started = {name: start(children, settings, name) for name in NAMES}
    until(lambda: all(waiting(child, f"Kafka at {node.bootstrap}") for child in started.values()))
    node.start()
    send(settings, PAYMENT, LABEL)
    until(lambda: folded(settings))
    until(lambda: read_all(settings, "learner", Label.topic))
    # The archiver stores what it has when it is stopped.
    for while_s in (2, 4, 8, 16, 32):
        time.sleep(while_s)
        started["archive"].stop(60)
        if list((tmp_path / "archive").rglob("*.parquet")):
            break
        started["archive"] = start(children, settings, "archive")
    for child in started.values():
        child.stop(60)
    assert list((tmp_path / "archive").rglob("*.parquet"))
    assert all(child.wait(0) for child in started.values())


@pytest.mark.slow
def test_processes_started_before_redis_work_once_it_is_up(tmp_path: Path, children: ExitStack) -> None:
    server = EmbeddedRedis(tmp_path / "redis", port=children.enter_context(reserved_port()))
    children.callback(server.stop)
    settings = settings_of(tmp_path, server.url)
    started = {name: start(children, settings, name) for name in NAMES if name != "relay"}
    until(lambda: all(waiting(child, f"Redis at 127.0.0.1:{server.port}") for child in started.values()))
    server.start()
    send(settings, PAYMENT, LABEL)
    until(lambda: folded(settings))
    until(lambda: read_all(settings, "learner", Label.topic))
    until(lambda: read_all(settings, "worker", Label.topic))
    assert all(child.running for child in started.values())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_that_waits_ends_at_once_when_it_is_told_to(
    redis_db: str, tmp_path: Path, children: ExitStack, number: signal.Signals
) -> None:
    address = f"127.0.0.1:{children.enter_context(reserved_port())}"
    settings = settings_of(tmp_path, redis_db, address)
    child = Child([sys.executable, "-c", LONG_PAUSE], tmp_path / "relay.log", environment=settings.environment())
    children.callback(child.kill)
    until(lambda: waiting(child, address))
    child._popen.send_signal(number)
    assert child.wait(60)
    assert child._popen.returncode == 0


def test_a_broker_that_takes_connections_but_never_answers_is_given_up_within_seconds(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stop = Event()
        settings = settings_of(tmp_path, "redis://127.0.0.1:1/0", f"127.0.0.1:{listener.getsockname()[1]}")
        began = time.monotonic()
        with pytest.MonkeyPatch.context() as patch:
            # The first that it says is that the broker did not answer.
            patch.setattr("headrace.waiting._log.handle", lambda record: stop.set())
            patch.setattr("stream.kafka_log.CONNECT_TIMEOUT_MS", 1000)
            assert open_log_when_up(settings, stop) is None
        assert time.monotonic() - began < 50  # any other call would have a minute


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:none", "127.0.0.1:99999", ":9092", "one:9092,two"])
@pytest.mark.parametrize("name", NAMES)
def test_an_address_that_is_none_fails_at_once(redis_db: str, tmp_path: Path, name: str, address: str) -> None:
    settings_of(tmp_path, redis_db)
    words = [name, "--kafka", address, "--redis", redis_db]
    words += [] if name == "relay" else ["--home", str(tmp_path)]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 1
    assert "is not understood; use host:port" in result.output


@pytest.mark.parametrize("name", ["worker", "archive", "learn"])
def test_a_wrong_number_of_partitions_fails_at_once(redis_db: str, tmp_path: Path, name: str) -> None:
    settings_of(tmp_path, redis_db)
    with closing(RedisLog(redis_db, partitions=2)) as log, closing(log.consumer("worker", ["transactions"])):
        pass
    result = CliRunner().invoke(main, [name, "--redis", redis_db, "--home", str(tmp_path), "--partitions", "3"])
    assert result.exit_code == 1
    assert "has 2 partitions a topic, not 3" in result.output


def test_one_that_is_stopped_before_it_begins_opens_nothing(tmp_path: Path) -> None:
    stop = Event()
    stop.set()
    assert open_log_when_up(settings_of(tmp_path, "redis://127.0.0.1:1/0", "127.0.0.1:1"), stop) is None


def test_what_is_up_is_opened(redis_db: str, tmp_path: Path) -> None:
    log = open_log_when_up(settings_of(tmp_path, redis_db), Event())
    assert log is not None
    log.close()
