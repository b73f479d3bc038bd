"""What the breaker takes for a failure of Redis, and what for an error of one command."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from scoring.breaker import Breaker, BreakerConnection, State
from stream.connection import RedisConnection, RedisError, RedisUnavailable
from stream.embedded_redis import EmbeddedRedis


@pytest.fixture
def breaker(redis_db: str) -> Iterator[Breaker]:
    with RedisConnection(redis_db) as probe:
        yield Breaker(probe, patience_ms=5000)


def state_of(breaker: Breaker) -> State:
    """Its state now: a call, so that a type checker does not take the last one for granted."""
    return breaker.state


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("LOADING Redis is loading the dataset in memory", State.OPEN),
        ("BUSY Redis is busy running a script. You can only call SCRIPT KILL", State.OPEN),
        ("NOAUTH Authentication required.", State.OPEN),
        ("MISCONF Redis is configured to save RDB snapshots, but it is currently unable to", State.READ_ONLY),
        ("OOM command not allowed when used memory > 'maxmemory'.", State.READ_ONLY),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", State.CLOSED),
        ("OUTBOXFULL", State.CLOSED),
        ("ERR unknown command", State.CLOSED),
    ],
)
def test_an_error_of_redis_itself_opens_and_one_of_a_command_does_not(
    breaker: Breaker, text: str, state: State
) -> None:
    for _ in range(10):
        breaker.refused(RedisError(text))
    assert state_of(breaker) is state
    breaker.ask()
    breaker.ask()
    assert state_of(breaker) is State.CLOSED


def test_an_open_breaker_needs_two_writes_in_a_row(breaker: Breaker) -> None:
    for _ in range(3):
        breaker.failed("gone")
    breaker.ask()
    assert state_of(breaker) is State.OPEN
    breaker.ask()
    assert state_of(breaker) is State.CLOSED


def test_two_long_waits_open_it_and_many_short_ones_among_answers_do_not(breaker: Breaker) -> None:
    for _ in range(100):
        breaker.failed("late", waited_ms=1.0)
        breaker.points -= 2  # two were answered
    assert state_of(breaker) is State.CLOSED
    breaker.failed("late", waited_ms=20.0)
    assert state_of(breaker) is State.CLOSED
    breaker.failed("late", waited_ms=20.0)
    assert state_of(breaker) is State.OPEN


def test_writes_that_all_fail_open_it_though_reads_work(breaker: Breaker) -> None:
    for _ in range(5):
        breaker.points = max(0, breaker.points - 1)  # a read was answered
        breaker.failed("late")
    assert state_of(breaker) is State.OPEN


def test_its_turns_are_logged_once_each(breaker: Breaker, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(50):
        breaker.failed("gone")
    breaker.ask()
    breaker.ask()
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


def test_whoever_had_no_time_to_wait_says_nothing_of_redis(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server, RedisConnection(server.url) as probe:
        breaker = Breaker(probe, patience_ms=40)
        with BreakerConnection(server.url, breaker) as hurried:
            assert hurried.call([("PING",)], 60_000) == [b"PONG"]
            os.kill(server.pid, signal.SIGSTOP)
            try:
                for _ in range(20):
                    with pytest.raises(RedisUnavailable):
                        hurried.call([("PING",)], 5)
                assert not breaker.is_open
                for _ in range(2):
                    with pytest.raises(RedisUnavailable):
                        hurried.call([("PING",)], 25)
                assert breaker.is_open
            finally:
                os.kill(server.pid, signal.SIGCONT)
