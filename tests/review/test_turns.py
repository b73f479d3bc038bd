"""Who writes to a SQLite file, and when: by a clock that moves only when somebody sleeps."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import text

import review.engine
from review.engine import LOOK_S, REST_LIMIT_S, REST_SHARE, CasesUnavailable, Database, open_engine


class Clock:
    """Has others act while somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.slept_s: list[float] = []
        self.meanwhile: Callable[[], object] = lambda: None

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        if seconds:
            self.slept_s.append(seconds)
        self.now_s += seconds
        self.meanwhile()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(review.engine, "time", SimpleNamespace(monotonic=clock.monotonic, sleep=clock.sleep))
    return clock


@pytest.fixture
def database(path: Path, clock: Clock) -> Iterator[Database]:
    with closing(Database(open_engine(path))) as opened:
        with opened.writing() as db:
            db.execute(text("CREATE TABLE one (number INTEGER)"))
        yield opened


@pytest.fixture
def other(path: Path, database: Database) -> Iterator[sqlite3.Connection]:
    """Another program that writes now."""
    with closing(sqlite3.connect(path, isolation_level=None)) as opened:
        opened.execute("BEGIN IMMEDIATE")
        yield opened


def write(database: Database) -> None:
    with database.writing() as db:
        db.execute(text("INSERT INTO one VALUES (1)"))


def test_who_waits_looks_often_and_does_not_miss_a_lock_that_is_free_for_a_moment(
    database: Database, other: sqlite3.Connection, clock: Clock
) -> None:
    def ends_at_last() -> None:
        if len(clock.slept_s) == 500:
            other.execute("COMMIT")

    clock.meanwhile = ends_at_last
    write(database)
    assert clock.slept_s == [LOOK_S] * 500


def test_a_lock_that_stays_is_waited_for_so_long_and_then_named(
    database: Database, other: sqlite3.Connection, clock: Clock
) -> None:
    began_s = clock.now_s
    with pytest.raises(CasesUnavailable, match="database is locked"):
        write(database)
    assert clock.now_s - began_s == pytest.approx(review.engine.BUSY_TIMEOUT_S, abs=2 * LOOK_S)
    other.execute("ROLLBACK")
    write(database)


@pytest.mark.parametrize(("wrote_s", "rests_s"), [(0.0, 0.0), (0.012, 0.012 * REST_SHARE), (3.0, REST_LIMIT_S)])
def test_who_wrote_long_rests_before_the_next_so_that_others_come_first(
    database: Database, clock: Clock, wrote_s: float, rests_s: float
) -> None:
    with database.writing():
        clock.now_s += wrote_s
    assert clock.slept_s == []
    write(database)
    assert sum(clock.slept_s) == pytest.approx(rests_s)
    assert LOOK_S < REST_LIMIT_S


def test_who_did_something_else_meanwhile_has_rested(database: Database, clock: Clock) -> None:
    with database.writing():
        clock.now_s += 3.0
    clock.now_s += REST_LIMIT_S
    write(database)
    with database.reading() as db:
        assert db.execute(text("SELECT count(*) FROM one")).scalar() == 1
    assert clock.slept_s == []
