"""All of what a service tells, and the few samples that somebody asks for."""

from __future__ import annotations

import asyncio

import pytest

from scoring.dead_processes import VARIABLE
from scoring.metric_text import only
from scoring.tally import Counts
from scoring.telling import LOG_KEPT_S, REPORTS_KEPT_S, Telling

LIVE = ("fraud", "batch", "v2")


class Made:
    """What Redis would say, and how often it was asked."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.asked = 0
        self.may_be_s: list[float] = []

    def text(self, kept_s: float = 1.0) -> str:
        self.asked += 1
        self.may_be_s.append(kept_s)
        return f'# HELP {self.name} Made.\n{self.name}{{topic="a b"}} {self.asked}\n'

    def renew(self) -> None:
        pass

    def close(self) -> None:
        pass


def counts() -> Counts:
    return Counts(
        {"headrace_outcomes_total": {("fraud", "approve"): 7.0}, "headrace_member_scores_total": {LIVE: 1.0}},
        {"headrace_batch_size": {(): [1.0] * 12}},
        {"headrace_model": {LIVE: 1.0}},
    )


class House:
    """A `Telling` whose parts are made up."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.log, self.report = Made("headrace_lag_seconds"), Made("headrace_skew_report")
        published = Made("")
        self.telling = Telling(counts, self.log, [self.report], published, lambda: self.now_s)  # type: ignore[arg-type,list-item]


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.delenv(VARIABLE, raising=False)
    return House()


def test_some_samples_are_those_of_the_whole(house: House) -> None:
    names = {"headrace_outcomes_total", "headrace_batch_size_count", "headrace_lag_seconds", "bentoml_request_total"}
    whole, some = asyncio.run(house.telling.whole()), house.telling.some(names)
    assert sorted(some.replace("} 2", "} 1").splitlines()) == sorted(only(whole, names).splitlines())
    assert len(some.splitlines()) == 3


def test_reports_are_kept_for_some_and_fresh_for_all(house: House) -> None:
    names = {"headrace_skew_report"}
    first = house.telling.some(names)
    house.now_s += REPORTS_KEPT_S - 0.1
    assert house.telling.some(names) == first
    assert 'headrace_skew_report{topic="a b"} 2' in asyncio.run(house.telling.whole())
    house.now_s += 0.2
    assert house.telling.some(names) == first.replace("} 1", "} 3")


def test_the_log_is_asked_less_often_for_some_than_for_all(house: House) -> None:
    house.telling.some({"headrace_lag_seconds"})
    asyncio.run(house.telling.whole())
    assert house.log.may_be_s == [LOG_KEPT_S, 1.0]


def test_versions_that_score_no_more_are_told_to_nobody(house: House) -> None:
    told = house.telling.some({"headrace_member_scores_total"})
    assert told == 'headrace_member_scores_total{member="batch",use_case="fraud",version="v2"} 1.0\n'
