"""The collector: one look a tick, whatever goes wrong."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from review.collector import Collector, Tick
from review.scrape import Readings
from review.series import Series
from review.series_file import Minute, SeriesFile, SeriesUnavailable
from tests.review.made_up_service import MadeUpService

NOON_S = 1_772_452_800.0
WAIT_S = 60.0


@pytest.fixture
def service() -> MadeUpService:
    return MadeUpService(NOON_S, per_s=10.0)


@pytest.fixture
def days(tmp_path: Path) -> Iterator[SeriesFile]:
    with closing(SeriesFile(tmp_path / "series.sqlite")) as opened:
        yield opened


def collector_of(service: MadeUpService, days: SeriesFile | None = None) -> Collector:
    return Collector(service, Series(), days, clock=lambda: service.at_s)


def run(collector: Collector, service: MadeUpService, seconds: float, step_s: float = 2.0) -> list[Tick]:
    ticks = []
    for _ in range(round(seconds / step_s)):
        service.pass_s(step_s)
        ticks.append(collector.tick())
    return ticks


def test_each_tick_is_a_row_of_the_series_and_is_told_once(service: MadeUpService) -> None:
    collector = collector_of(service)
    told: list[Tick] = []
    collector.listen(told.append)
    ticks = run(collector, service, 20)
    assert told == ticks and collector.newest == ticks[-1]
    latest = collector.series.latest("events_per_s")
    assert latest is not None and latest.at_s == service.at_s
    assert latest.value == pytest.approx(10.0, rel=0.3)


def test_a_service_that_is_gone_leaves_a_hole_and_says_why(service: MadeUpService) -> None:
    collector = collector_of(service)
    run(collector, service, 10)
    before = collector.series.latest("events_per_s")
    service.is_down = True
    lost = run(collector, service, 4)[-1]
    assert (lost.values, lost.trouble) == ({}, "the service does not answer")
    assert collector.series.latest("events_per_s") == before
    service.is_down = False
    service.restart()
    found = run(collector, service, 4)
    assert not found[-1].trouble
    assert all(tick.values["events_per_s"] >= 0.0 for tick in found)


def test_a_listener_that_fails_and_numbers_that_are_none_stop_nothing(
    service: MadeUpService, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector = collector_of(service)
    told: list[Tick] = []

    def failing(tick: Tick) -> None:
        raise OSError("nobody listens")

    collector.listen(failing)
    collector.listen(told.append)
    run(collector, service, 4)

    def broken() -> Readings:
        raise ZeroDivisionError

    monkeypatch.setattr(collector, "_counts", broken)
    assert "could not be computed" in run(collector, service, 2)[0].trouble
    assert len(told) == 3


def test_minutes_are_written_when_they_are_over_and_the_last_one_at_the_end(
    service: MadeUpService, days: SeriesFile
) -> None:
    collector = collector_of(service, days)
    run(collector, service, 150, step_s=10.0)
    assert len(days.read(["events_per_s"], NOON_S, service.at_s).at_s) == 2
    collector.stop()
    read = days.read(["events_per_s"], NOON_S, service.at_s)
    assert len(read.at_s) == 3
    assert all(value is not None and 5.0 < value < 15.0 for value in read.values["events_per_s"])


def test_minutes_wait_for_a_disk_that_is_full_and_are_bounded(
    service: MadeUpService, days: SeriesFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector = collector_of(service, days)
    add = days.add

    def full(minute: int, values: dict[str, Minute]) -> None:
        raise SeriesUnavailable("the disk is full")

    monkeypatch.setattr(days, "add", full)
    run(collector, service, 240, step_s=20.0)
    assert not days.read(["events_per_s"], NOON_S, service.at_s).at_s
    monkeypatch.setattr(days, "add", add)
    run(collector, service, 60, step_s=20.0)
    assert len(days.read(["events_per_s"], NOON_S, service.at_s).at_s) >= 4
    assert not collector._unwritten, "a minute that is written is written again"


def test_it_looks_quickly_only_while_somebody_does(service: MadeUpService) -> None:
    looked = threading.Semaphore(0)

    def counts() -> Readings:
        looked.release()
        return service()

    collector = Collector(counts, Series(), tick_s=0.1, idle_tick_s=3600.0)
    collector.start()
    try:
        assert looked.acquire(timeout=WAIT_S)
        assert not looked.acquire(timeout=0.5), "nobody looks, and it asks all the same"
        collector.watched()
        for _ in range(3):
            assert looked.acquire(timeout=WAIT_S)
    finally:
        collector.stop()
