"""Analysts' minutes and the day's let-throughs: never more than there are, and where they save most."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring import policy_shared
from scoring.policy_budget import Budget, OwnBudget, minute_price
from scoring.policy_costs import Analysts
from scoring.policy_shared import SharedBudget, budget_key
from stream.connection import RedisConnection
from stream.embedded_redis import EmbeddedRedis

MINUTES = 4.0
SMALL = Analysts(minutes_per_hour=0.001, backlog_minutes=400.0, highest_price=10.0)
OpenBudget = Callable[..., SharedBudget]


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def open_budget(redis_db: str) -> Iterator[OpenBudget]:
    """Budgets of processes of one service, each with its connection; nobody renews them but the test."""
    with ExitStack() as opened:

        def open_one(
            analysts: Analysts | None = SMALL, daily_limit: int = 0, clock: Clock | None = None
        ) -> SharedBudget:
            connection = opened.enter_context(RedisConnection(redis_db))
            return SharedBudget(connection, "fraud", analysts, daily_limit, MINUTES, clock or Clock())

        yield open_one


def taken(budget: Budget, tries: int, worth: float = 1e6) -> int:
    return sum(budget.take_review(MINUTES, worth) for _ in range(tries))


@given(st.lists(st.tuples(st.floats(0.0, 600.0), st.floats(0.5, 9.0), st.floats(0.0, 1e4)), max_size=60))
def test_no_stretch_of_time_takes_more_than_its_rate_and_the_backlog(asked: list[tuple[float, float, float]]) -> None:
    clock = Clock()
    analysts = Analysts(minutes_per_hour=120.0, backlog_minutes=20.0, highest_price=50.0)
    budget = OwnBudget(analysts, clock=clock)
    spent: list[tuple[float, float]] = []
    for wait_s, minutes, worth in asked:
        clock.now_s += wait_s
        if budget.take_review(minutes, worth):
            spent.append((clock.now_s, minutes))
    for first, (start_s, _) in enumerate(spent):
        for end_s, _ in spent[first:]:
            inside = sum(minutes for at_s, minutes in spent[first:] if at_s <= end_s)
            assert inside <= 20.0 + (end_s - start_s) / 3600.0 * 120.0 + 1e-9


def test_a_full_bucket_costs_nothing_and_the_price_rises_as_it_empties() -> None:
    prices = [minute_price(used / 10, 50.0) for used in range(11)]
    assert [prices[0], prices[-1]] == pytest.approx([0.0, 50.0])
    assert prices == sorted(prices)
    budget = OwnBudget(SMALL, clock=Clock())
    assert budget.take_review(MINUTES, 0.001)
    assert not budget.take_review(MINUTES, 0.001)


def test_when_there_are_too_many_the_most_valuable_are_reviewed() -> None:
    # A day: ten times as many candidates as analysts, of very different worth.
    clock = Clock()
    draw = random.Random(5)
    analysts = Analysts(minutes_per_hour=60.0, backlog_minutes=120.0, highest_price=500.0)
    ours, first_come = OwnBudget(analysts, clock=clock), OwnBudget(analysts, clock=clock)
    worths, saved, saved_first_come = [], 0.0, 0.0
    for _ in range(3600):
        clock.now_s += 24.0
        worth = draw.lognormvariate(3.0, 1.5)
        worths.append(worth)
        saved += worth * ours.take_review(MINUTES, worth)
        if first_come.take_review(0.0, 1e9) and first_come.minutes >= MINUTES:
            first_come.charge_review(MINUTES)
            saved_first_come += worth
    affordable = int((24 * 60 + 120) / MINUTES)
    best = sum(sorted(worths, reverse=True)[:affordable])
    assert saved >= 0.85 * best
    assert saved >= 2 * saved_first_come


def test_processes_together_never_take_more_than_there_is(open_budget: OpenBudget) -> None:
    clock = Clock()
    processes = [open_budget(clock=clock) for _ in range(4)]
    draw = random.Random(1)
    total = 0
    for _ in range(200):
        one = draw.choice(processes)
        if draw.random() < 0.5:
            one.refresh()
        total += taken(one, draw.randrange(6))
    assert 90 <= total <= 100  # 400 minutes, all but what is leased


def test_nothing_is_reviewed_before_the_first_lease_nor_after_its_end(open_budget: OpenBudget) -> None:
    clock = Clock()
    budget = open_budget(clock=clock)
    assert taken(budget, 1) == 0
    budget.refresh()
    assert taken(budget, 1) == 1
    clock.now_s += policy_shared.LEASE_S
    assert taken(budget, 1) == 0
    budget.refresh()
    assert taken(budget, 1) == 1


def test_a_process_that_stops_gives_its_lease_back(open_budget: OpenBudget) -> None:
    one, other = open_budget(), open_budget()
    one.refresh()
    assert taken(one, 2) == 2
    one.stop()
    for _ in range(40):
        other.refresh()
        taken(other, 100)
    other.refresh()
    assert taken(other, 100) == 0
    connection = RedisConnection(other._connection.url)
    assert float(connection.one("HGET", budget_key("fraud"), "level")) < MINUTES
    connection.close()


def test_what_a_busy_process_needs_grows_with_what_it_spent(open_budget: OpenBudget) -> None:
    budget = open_budget(Analysts(minutes_per_hour=1.0, backlog_minutes=40_000.0, highest_price=1e-3))
    counts = []
    for _ in range(5):
        budget.refresh()
        counts.append(taken(budget, 10_000))
    assert counts == [4, 8, 16, 32, 64]


def test_what_a_rule_reviews_is_owed_by_all(open_budget: OpenBudget) -> None:
    one, other = open_budget(), open_budget()
    for _ in range(99):
        one.charge_review(MINUTES)
    one.refresh()
    other.refresh()
    assert taken(one, 9) + taken(other, 9) <= 1


def test_the_price_is_that_of_all_processes(open_budget: OpenBudget) -> None:
    one, other = open_budget(), open_budget()
    count = 0
    while count < 75:  # three quarters of 400 minutes: 11 ** 0.75 - 1 is 5.04
        one.refresh()
        count += taken(one, min(4, 75 - count))
    one.refresh()
    other.refresh()
    assert not other.take_review(0.1, 0.1 * 5.0)
    assert other.take_review(0.1, 0.1 * 5.1)


def test_let_throughs_are_counted_over_all_processes(open_budget: OpenBudget) -> None:
    processes = [open_budget(None, daily_limit=23) for _ in range(3)]
    today_s = float(processes[0]._connection.one("TIME")[0])
    for budget in processes:
        budget._calendar = lambda: today_s
    total = 0
    for number in range(60):
        budget = processes[number % 3]
        budget.refresh()
        for _ in range(number % 4):
            if budget.may_let_through:
                budget.charge_let_through()
                total += 1
    assert total == 23


def test_an_idle_process_keeps_but_one_let_through_from_the_others(open_budget: OpenBudget) -> None:
    idle, busy = open_budget(None, daily_limit=10), open_budget(None, daily_limit=10)
    today_s = float(idle._connection.one("TIME")[0])
    busy._calendar = lambda: today_s
    total = 0
    for _ in range(20):
        idle.refresh()
        busy.refresh()
        while busy.may_let_through:
            busy.charge_let_through()
            total += 1
    assert total == 9


def test_what_is_let_through_while_redis_is_asked_counts(open_budget: OpenBudget) -> None:
    budget = open_budget(None, daily_limit=10)
    budget.refresh()
    settle = budget._connection.call

    def meanwhile(*arguments: Any) -> Any:
        budget.charge_let_through()  # it was allowed a moment before
        return settle(*arguments)

    budget._connection.call = meanwhile  # type: ignore[method-assign, assignment]
    budget.refresh()
    assert not budget.may_let_through


def test_a_lease_of_yesterday_lets_nobody_through(open_budget: OpenBudget) -> None:
    budget = open_budget(None, daily_limit=5)
    budget.refresh()
    now_s = float(budget._connection.one("TIME")[0])
    budget._calendar = lambda: now_s
    assert budget.may_let_through
    budget._calendar = lambda: now_s + 86_400
    assert not budget.may_let_through


def test_without_redis_nothing_new_is_leased_and_it_says_so(tmp_path_factory: pytest.TempPathFactory) -> None:
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as server:
        clock = Clock()
        budget = SharedBudget(RedisConnection(server.url), "fraud", SMALL, 0, MINUTES, clock)
        budget.refresh()
        server.kill()
        budget.charge_review(2 * MINUTES)
        budget.refresh()
        assert "not shared" in budget.problem
        assert taken(budget, 9) <= 4
        clock.now_s += policy_shared.LEASE_S
        assert taken(budget, 9) == 0
        server.start()
        budget.refresh()
        assert budget.problem == ""
        assert taken(budget, 1) == 1
        budget.stop()


def test_unbounded_analysts_review_whatever_saves(open_budget: OpenBudget) -> None:
    for budget in (open_budget(None), OwnBudget(None)):
        assert taken(budget, 1000, worth=1e-9) == 1000
        budget.charge_review(MINUTES)
