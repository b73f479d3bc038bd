"""A key's rate: however many processes share it, together they admit no more than the burst and what time brings."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from scoring import key_allowance
from scoring.key_allowance import Allowance, Allowances
from stream.connection import RedisConnection, RedisUnavailable
from tests.until import LIMIT_S

KEY = "0123456789ab"
TICK_S = 0.05
Join = Callable[[], Allowances]


class Clock:
    """Seconds that go on when they are told to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def join(redis_db: str) -> Iterator[Join]:
    connections: list[RedisConnection] = []

    def joined() -> Allowances:
        connections.append(RedisConnection(redis_db))
        return Allowances(connections[-1])

    yield joined
    for connection in connections:
        connection.close()


def admitted(allowance: Allowance, asked: int) -> int:
    return sum(allowance.take() for _ in range(asked))


def test_one_process_admits_the_burst_at_once_and_then_the_rate(join: Join) -> None:
    process = join()
    allowance = process.of(KEY, 20.0, 40)
    started = time.monotonic()
    process.settle()
    assert admitted(allowance, 100) == 40
    more = 0
    while more < 15:
        process.settle()
        more += admitted(allowance, 50)
        took_s = time.monotonic() - started
        assert more <= 20.0 * took_s + 1
        assert took_s < LIMIT_S
        time.sleep(TICK_S)


@pytest.mark.parametrize("asked_of_second", [0, 5, 50])
def test_two_processes_together_admit_no_more_than_one_bucket(join: Join, asked_of_second: int) -> None:
    rate, burst = 40.0, 40
    processes = [join(), join()]
    first, second = (process.of(KEY, rate, burst) for process in processes)
    started = since = time.monotonic()
    found = found_then = 0
    while True:
        for process in processes:
            process.settle()
        found += admitted(first, 50) + admitted(second, asked_of_second)
        now = time.monotonic()
        assert found <= burst + rate * (now - started) + 1
        assert now - started < LIMIT_S
        if found < burst:
            since, found_then = now, found
        elif now - since >= 1.0:
            # And what there is goes to whoever is asked for it: in a second without a long pause, at least half.
            if found - found_then >= 0.5 * rate * (now - since):
                break
            since, found_then = now, found
        time.sleep(TICK_S)


def test_idle_processes_hold_equal_shares_and_one_that_is_asked_gets_all(join: Join) -> None:
    processes = [join(), join()]
    first, second = (process.of(KEY, 0.001, 40) for process in processes)
    for _ in range(8):
        for process in processes:
            process.settle()
    assert admitted(second, 1) == 1
    assert not second.take(39)
    for _ in range(8):
        for process in processes:
            process.settle()
        second.take(40)  # refused, but asked for
    assert second.take(39)
    assert not first.take()


def test_what_a_process_gives_back_at_its_end_is_there_for_others(join: Join) -> None:
    leaving, staying = join(), join()
    leaving.of(KEY, 0.001, 10)
    leaving.settle()
    leaving.settle(closing=True)
    allowance = staying.of(KEY, 0.001, 10)
    staying.settle()
    assert admitted(allowance, 20) == 10


def test_a_bucket_that_was_emptied_stays_so_for_a_process_that_starts(join: Join) -> None:
    before = join()
    allowance = before.of(KEY, 0.001, 10)
    before.settle()
    assert admitted(allowance, 20) == 10
    before.settle(closing=True)
    after = join()
    allowance = after.of(KEY, 0.001, 10)
    after.settle()
    assert admitted(allowance, 20) == 0


def test_a_lease_whose_time_is_over_is_not_spent() -> None:
    clock = Clock()
    allowance = Allowance(1.0, 10, clock=clock)
    allowance.settled(allowance.part(), granted=10, share=10, members=1, wished=False)
    assert allowance.take()
    clock.now_s += key_allowance.LEASE_S + 1
    assert not allowance.take()


def test_without_redis_each_process_goes_on_with_its_part_and_owes_it() -> None:
    clock = Clock()
    allowance = Allowance(10.0, 20, clock=clock)
    allowance.settled(allowance.part(), granted=5, share=10, members=2, wished=True)
    allowance.unsettled()
    assert admitted(allowance, 100) == 5  # the lease
    clock.now_s += 1.0
    assert admitted(allowance, 100) == 5  # half of the rate
    clock.now_s += 60
    assert admitted(allowance, 100) == 10  # half of the burst
    assert allowance.part().owed == 15


def test_a_redis_that_is_gone_sends_all_on_their_own() -> None:
    process = Allowances(RedisConnection("redis://127.0.0.1:1/0"), processes=4)
    allowance = process.of(KEY, 400.0, 400)
    with pytest.raises(RedisUnavailable):
        process.settle()
    started = time.monotonic()
    while not allowance.take():
        assert time.monotonic() - started < LIMIT_S
        time.sleep(0.001)


def test_what_is_owed_is_taken_from_the_bucket(join: Join) -> None:
    process = join()
    allowance = process.of(KEY, 0.001, 10)
    allowance.unsettled(allowance.part()._replace(owed=7))
    process.settle()
    assert admitted(allowance, 20) == 3


def test_an_allowance_stays_the_same_until_its_numbers_change() -> None:
    process = Allowances(RedisConnection("redis://127.0.0.1:1/0"))
    first = process.of(KEY, 1.0, 10)
    assert process.of(KEY, 1.0, 10) is first
    assert process.of(KEY, 2.0, 10) is not first
    process.keep_only([])
    assert process.of(KEY, 2.0, 10) is not first


def test_the_bucket_does_not_fill_up_for_others_while_its_tokens_are_leased(join: Join) -> None:
    one, other = join(), join()
    first, second = (process.of(KEY, 100.0, 100) for process in (one, other))
    one.settle()
    time.sleep(0.1)
    other.settle()
    assert admitted(first, 200) + admitted(second, 200) == 100


def test_a_bucket_that_was_full_has_gained_nothing_meanwhile(join: Join) -> None:
    process = join()
    allowance = process.of(KEY, 80.0, 20)
    process.settle()
    time.sleep(0.1)  # nobody asks, so nobody settles; 8 tokens more would not fit
    assert admitted(allowance, 30) == 20
    process.settle()
    assert admitted(allowance, 30) == 0
