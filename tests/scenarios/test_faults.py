"""The table "When things go wrong" of docs/operations.md, row by row, each fault caused for real: what Redis does.

Other rows: `test_fault_restarts.py` (crashes of the service, floods), `tests/scoring/test_spool.py` (disk),
`tests/models/test_watch.py` (slow models).
"""

from __future__ import annotations

import os
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from scoring.breaker import PROBE_INTERVAL_S, BreakerConnection, State
from stream.connection import RedisConnection
from stream.embedded_redis import EmbeddedRedis
from stream.records import encode
from tests.ports import reserved_port
from tests.scenarios.forwarder import Forwarder
from tests.scenarios.served import DEADLINE_MS, Served, all_is_recorded_once, logged
from tests.scoring.conftest import payment
from tests.until import until

AWAY = ["online store", "not recorded yet"]
UNRECORDED = ["not recorded yet"]
ROUNDS = 40
SLOW_S = 100 * DEADLINE_MS / 1000
"""Who has waited for its patience, and is then held up by a busy machine, must not find an answer all the same."""
PROBES_S = 3 * PROBE_INTERVAL_S
"""Some probes later it is as it was."""
ASKED_LIMIT = 10
"""Two have their patience, and ask once or twice. One that a busy machine kept for too long learns nothing of Redis."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    # everysec puts off writes while the disk is busy: a killed server could then have lost what it answered.
    with EmbeddedRedis(tmp_path / "redis", appendfsync="always") as running:
        yield running


@pytest.fixture
def link(server: EmbeddedRedis) -> Iterator[Forwarder]:
    assert server.port is not None
    with Forwarder(server.port) as forwarder:
        yield forwarder


@pytest.fixture
def served(link: Forwarder, tmp_path: Path) -> Iterator[Served]:
    with Served(link.url, tmp_path / "spool") as serving:
        yield serving


Fault = Callable[[EmbeddedRedis, Forwarder], AbstractContextManager[None]]


@contextmanager
def paused(server: EmbeddedRedis, link: Forwarder) -> Iterator[None]:
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


@contextmanager
def killed(server: EmbeddedRedis, link: Forwarder) -> Iterator[None]:
    server.kill()
    yield
    server.start()


@contextmanager
def unreachable(server: EmbeddedRedis, link: Forwarder) -> Iterator[None]:
    link.shut()
    yield
    link.open()


@contextmanager
def slow(server: EmbeddedRedis, link: Forwarder) -> Iterator[None]:
    link.delay_s = SLOW_S
    yield
    link.delay_s = 0.0


@contextmanager
def cut_in_the_middle_of_a_reply(server: EmbeddedRedis, link: Forwarder) -> Iterator[None]:
    link.cut_at = 3
    yield
    link.cut_at = None


@contextmanager
def answering_rubbish(server: EmbeddedRedis, link: Forwarder) -> Iterator[None]:
    link.says = b"HTTP/1.1 400 Bad Request\r\n\r\n"
    yield
    link.says = None


@contextmanager
def busy_with_a_script(server: EmbeddedRedis, link: Forwarder) -> Iterator[None]:
    with RedisConnection(server.url) as one, RedisConnection(server.url) as other:
        other.one("CONFIG", "SET", "lua-time-limit", 10)

        def loop() -> None:
            one.call([("EVAL", "while true do end", 0)], 300_000)

        looping = Thread(target=loop)
        looping.start()
        until(lambda: str(other.call([("PING",)])[0]).startswith("BUSY"), "a Redis that says that it is busy")
        yield
        other.one("SCRIPT", "KILL")
        looping.join()


@contextmanager
def out_of_memory(server: EmbeddedRedis, link: Forwarder) -> Iterator[None]:
    with RedisConnection(server.url) as connection:
        connection.one("CONFIG", "SET", "maxmemory", "1")
        yield
        connection.one("CONFIG", "SET", "maxmemory", "0")


@contextmanager
def made_a_replica(server: EmbeddedRedis, link: Forwarder) -> Iterator[None]:
    with RedisConnection(server.url) as connection, reserved_port() as nobody:
        connection.one("REPLICAOF", "127.0.0.1", nobody)
        yield
        connection.one("REPLICAOF", "NO", "ONE")


@contextmanager
def without_enough_replicas(server: EmbeddedRedis, link: Forwarder) -> Iterator[None]:
    with RedisConnection(server.url) as connection:
        connection.one("CONFIG", "SET", "min-replicas-to-write", "1")
        yield
        connection.one("CONFIG", "SET", "min-replicas-to-write", "0")


@contextmanager
def a_replica_without_its_master(server: EmbeddedRedis, link: Forwarder) -> Iterator[None]:
    with RedisConnection(server.url) as connection:
        connection.one("CONFIG", "SET", "replica-serve-stale-data", "no")
        with reserved_port() as nobody:
            connection.one("REPLICAOF", "127.0.0.1", nobody)
            yield
            connection.one("REPLICAOF", "NO", "ONE")


def asked_of_redis(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What requests ask Redis from now on, where the breaker lets them."""
    asked: list[object] = []
    call = RedisConnection.call

    def counted(self: RedisConnection, *arguments: Any) -> Any:
        asked.extend([arguments] * isinstance(self, BreakerConnection))
        return call(self, *arguments)

    monkeypatch.setattr(RedisConnection, "call", counted)
    return asked


def is_noticed(served: Served) -> bool:
    """Ask once more: whether the breaker is open now."""
    served.score(f"e{len(served.answered)}")
    return served.breaker.is_open


AWAY_FAULTS = [
    paused,
    killed,
    unreachable,
    slow,
    cut_in_the_middle_of_a_reply,
    answering_rubbish,
    busy_with_a_script,
    a_replica_without_its_master,
]


@pytest.mark.parametrize("fault", AWAY_FAULTS, ids=lambda fault: fault.__name__)
def test_a_redis_that_does_not_answer_costs_two_requests_their_patience_and_nobody_an_answer(
    served: Served, server: EmbeddedRedis, link: Forwarder, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert served.calm("before").degraded == []
    asked = asked_of_redis(monkeypatch)
    with fault(server, link):
        degraded = [served.score(f"e{number}").degraded for number in range(ROUNDS)]
        waited = len(asked)
        time.sleep(PROBES_S)
        assert served.breaker.state is State.OPEN
        assert served.score("e0").degraded == AWAY  # a retry gets the same answer
    assert degraded == [AWAY] * ROUNDS
    assert 1 <= waited <= ASKED_LIMIT  # each would have asked, and waited for half of the deadline
    served.recovers()
    assert served.calm("after").degraded == []
    assert served.calm("e0").degraded == ["online store"]  # recorded by now; it still says what it lacked
    all_is_recorded_once(server.url, served.answered)


@pytest.mark.parametrize(
    "fault", [out_of_memory, made_a_replica, without_enough_replicas], ids=lambda fault: fault.__name__
)
def test_a_redis_that_refuses_writes_is_still_read(
    served: Served, server: EmbeddedRedis, link: Forwarder, fault: Fault
) -> None:
    assert served.calm("before").degraded == []
    with fault(server, link):
        during = [served.calm(f"e{number}") for number in range(ROUNDS)]
        time.sleep(PROBES_S)
        assert served.breaker.state is State.READ_ONLY
        until(lambda: served.api.decision("before").status == 200, "a decision")
        refused = served.api.post("/events", encode(payment("unscored")))
        assert (refused.status, refused.retry_after_s) == (503, 1)
    assert [decision.degraded for decision in during] == [UNRECORDED] * ROUNDS
    assert all(decision.vector.count(None) < len(decision.vector) // 2 for decision in during)
    served.recovers()
    assert served.calm("after").degraded == []
    all_is_recorded_once(server.url, served.answered)


def test_a_redis_that_has_lost_its_scripts_gets_them_again(served: Served, server: EmbeddedRedis) -> None:
    served.calm("before")
    with RedisConnection(server.url) as connection:
        connection.one("SCRIPT", "FLUSH")
    assert served.calm("after").degraded == []
    server.restart()
    served.score("while it restarts, or just after")
    served.recovers()
    assert served.calm("last").degraded == []
    all_is_recorded_once(server.url, served.answered)


def test_with_the_breaker_open_events_and_reads_are_told_at_once_to_come_again(
    served: Served, server: EmbeddedRedis, link: Forwarder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with paused(server, link):
        until(lambda: is_noticed(served), "an open breaker")
        asked = asked_of_redis(monkeypatch)
        for _ in range(20):
            answer = served.api.decision("e1")
            assert (answer.status, answer.retry_after_s) == (503, 1)
        assert asked == []
        assert served.api.ready() == ["Redis has not answered lately; it is asked again in the background"]
    served.recovers()
    until(lambda: served.api.ready() == [], "a service that is ready")
    with paused(server, link):
        until(lambda: is_noticed(served), "an open breaker")
        assert served.api.ready() == []  # it was the right one: it answers on, if with less
    served.recovers()


def test_one_client_without_patience_does_not_shut_redis_for_all(served: Served, link: Forwarder) -> None:
    link.delay_s = 0.005  # slower than one client waits, quicker than the others do
    for number in range(10):
        served.score(f"hasty{number}", deadline_ms=2.0)
        served.calm(f"calm{number}")
        served.calm(f"calm again{number}")
    assert served.breaker.state is State.CLOSED
    link.delay_s = 0.0
    served.recovers()


def test_the_breaker_costs_a_call_nothing_to_speak_of(served: Served, server: EmbeddedRedis) -> None:
    """Both connections speak to the same server; the ratio is of medians, the best of five tries."""
    with (
        RedisConnection(server.url) as plain,
        BreakerConnection(server.url, served.breaker) as guarded,
    ):

        def median_s(connection: RedisConnection) -> float:
            times = []
            for _ in range(500):
                started_s = time.perf_counter()
                connection.call([("PING",)])
                times.append(time.perf_counter() - started_s)
            return statistics.median(times)

        ratios = [median_s(guarded) / median_s(plain) for _ in range(5)]
    assert min(ratios) < 1.25


def test_the_same_event_at_two_services_while_redis_is_away_is_recorded_once(
    served: Served, server: EmbeddedRedis, link: Forwarder, tmp_path: Path
) -> None:
    """Both answer, since neither knows of the other; the first that is recorded is what every retry gets from then."""
    with Served(link.url, tmp_path / "spool") as sibling:
        with unreachable(server, link):
            both = [served.score("twice").degraded, sibling.score("twice").degraded]
            # Another record under one id: here, nobody can know yet.
            served.score("conflict", amount=1.0)
            sibling.score("conflict", amount=2.0)
        assert both == [AWAY, AWAY]
        served.recovers()
        sibling.recovers()
        assert served.calm("twice") == sibling.calm("twice")
    assert logged(server.url) == {"twice": 1, "conflict": 1}
