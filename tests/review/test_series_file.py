"""The last days of series: minutes in a file, read by steps, joined to the last hour."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from review.series import Point, Series
from review.series_file import Minute, SeriesFile, SeriesUnavailable
from review.series_history import SeriesHistory

MINUTE = 29_540_880


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "series.sqlite"


@pytest.fixture
def days(place: Path) -> Iterator[SeriesFile]:
    with closing(SeriesFile(place)) as opened:
        yield opened


def one(value: float) -> Minute:
    return Minute(1, value, value)


def test_a_minute_that_is_written_twice_is_one_minute(days: SeriesFile, place: Path) -> None:
    days.add(MINUTE, {"a": Minute(3, 6.0, 4.0)})
    with closing(SeriesFile(place)) as again:
        again.add(MINUTE, {"a": Minute(1, 10.0, 10.0)})
    since_s = MINUTE * 60.0
    assert days.read(["a"], since_s, since_s) == ([since_s + 30], {"a": [4.0]})
    assert days.read(["a"], since_s, since_s, most=True).values == {"a": [10.0]}


def test_longer_steps_weigh_each_look_the_same_and_leave_holes(days: SeriesFile) -> None:
    days.add(MINUTE, {"a": Minute(30, 30.0, 1.0)})
    days.add(MINUTE + 1, {"a": Minute(10, 50.0, 5.0), "b": one(2.0)})
    days.add(MINUTE + 7, {"b": one(4.0)})
    read = days.read(["a", "b", "c"], MINUTE * 60.0, (MINUTE + 9) * 60.0, 300)
    assert read.values == {"a": [2.0, None], "b": [2.0, 4.0], "c": [None, None]}
    assert read.at_s == [MINUTE * 60 + 150.0, MINUTE * 60 + 450.0]


def test_what_is_old_is_forgotten(days: SeriesFile) -> None:
    for minute in range(MINUTE, MINUTE + 5):
        days.add(minute, {"a": one(1.0)})
    days.forget(MINUTE + 3)
    assert len(days.read(["a"], 0.0, MINUTE * 60.0 + 600).at_s) == 2
    assert days.names() == ["a"]


def test_a_file_that_is_none_is_named(place: Path) -> None:
    place.write_bytes(b"this is no database, and it is long enough to be seen as none" * 20)
    with pytest.raises(SeriesUnavailable, match=r"series\.sqlite"):
        SeriesFile(place)


def test_an_hour_that_the_memory_does_not_have_yet_comes_from_the_file(days: SeriesFile) -> None:
    for minute in range(MINUTE, MINUTE + 20):
        days.add(minute, {"a": one(minute - MINUTE)})
    series = Series()
    began_s = (MINUTE + 10) * 60.0
    for number in range(5):
        series.append(began_s + 2.0 * number, {"a": 100.0})
    history = SeriesHistory(series, days)
    columns = history.columns(["a"], MINUTE * 60.0, began_s + 8)
    assert columns.values["a"] == [*map(float, range(10)), *[100.0] * 5]
    assert columns.at_s == sorted(columns.at_s)
    assert history.since("a", MINUTE * 60.0)[:2] == [Point(MINUTE * 60 + 30.0, 0.0), Point(MINUTE * 60 + 90.0, 1.0)]
    assert history.since("a", began_s + 2)[0] == Point(began_s + 4, 100.0)


def test_a_week_is_read_in_a_bounded_number_of_points(days: SeriesFile) -> None:
    for minute in range(MINUTE, MINUTE + 3 * 1440, 12):
        days.add(minute, {"a": one(1.0)})
    history = SeriesHistory(Series(), days)
    until_s = (MINUTE + 3 * 1440) * 60.0
    assert 200 < len(history.columns(["a"], until_s - 7 * 86_400, until_s).at_s) <= 720


def test_charts_go_on_without_the_file(days: SeriesFile, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> None:
        raise SeriesUnavailable("the disk is gone")

    monkeypatch.setattr(days, "read", gone)
    series = Series()
    series.append(MINUTE * 60.0, {"a": 1.0})
    history = SeriesHistory(series, days)
    assert history.columns(["a"], MINUTE * 60.0 - 3600, MINUTE * 60.0).values == {"a": [1.0]}
    assert list(history.since("a", 0.0)) == [Point(MINUTE * 60.0, 1.0)]
