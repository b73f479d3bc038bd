"""Backtests under way: they take turns, are bounded in number and time, and end when somebody says so."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread

import pytest
from duckdb import DuckDBPyConnection

from headrace.rule_trial import ArchiveTrial, TrialBounds
from review.backtests import Backtests
from review.rule_desk import RuleRefused
from review.rule_facts import Findings
from scoring.rule_report import RuleReport
from tests.review.office import NOON
from tests.until import LIMIT_S, until


class Slow:
    """A trial that goes on until it is cancelled."""

    def __init__(self) -> None:
        self.begun, self.over = Event(), Event()

    def run(self) -> Findings:
        self.begun.set()
        self.over.wait(LIMIT_S)
        raise RuleRefused("the backtest was cancelled")

    def cancel(self) -> None:
        self.over.set()

    def progress(self) -> float | None:
        return 0.5


def test_backtests_take_turns_and_are_cancelled_also_while_they_wait() -> None:
    backtests = Backtests(lambda: NOON, running_limit=1)
    first, second = Slow(), Slow()
    one = backtests.begin(first, "a", None, "ann", "all")
    until(lambda: one.percent == 50)
    two = backtests.begin(second, "b", None, "ann", "all")
    assert (one.state, two.state) == ("running", "waiting")
    backtests.cancel(two.id)
    until(lambda: bool(two.problem))
    assert one.state == "running", "one that is cancelled waits for nobody"
    backtests.cancel(one.id)
    until(lambda: bool(one.problem))
    assert (one.state, two.state, second.begun.is_set()) == ("cancelled", "cancelled", False)
    assert backtests.newest("a") is one and backtests.find("unknown") is None


def test_no_more_backtests_are_begun_than_anybody_would_wait_for() -> None:
    backtests, trials = Backtests(lambda: NOON), [Slow() for _ in range(9)]
    for trial in trials[:8]:
        backtests.begin(trial, "a", None, "ann", "all")
    with pytest.raises(RuleRefused, match="8 backtests are under way"):
        backtests.begin(trials[8], "a", None, "ann", "all")
    for trial in trials:
        trial.cancel()


ENDLESS = "SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b"


@pytest.mark.parametrize(("limit_s", "told"), [(LIMIT_S, "was cancelled"), (0.01, "took more than 0.01 s")])
def test_a_query_that_runs_is_ended(limit_s: float, told: str) -> None:
    begun, said = Event(), list[str]()

    def attempt(database: DuckDBPyConnection, go_on: Callable[[], None]) -> RuleReport:
        begun.set()
        database.execute(ENDLESS)
        raise AssertionError("it came to an end by itself")

    trial = ArchiveTrial(attempt, None, TrialBounds(limit_s))

    def run() -> None:
        with pytest.raises(RuleRefused) as refused:
            trial.run()
        said.append(str(refused.value))

    thread = Thread(target=run)
    thread.start()
    if limit_s > 1:
        assert begun.wait(LIMIT_S)
        trial.cancel()
    thread.join(LIMIT_S)
    assert len(said) == 1 and told in said[0]
