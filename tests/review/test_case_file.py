from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from threading import Thread

import pytest

from review.case_store import CaseStore
from review.schema import MIGRATIONS, NewerFile, migrate
from tests.review.cases import Make


def test_a_file_of_an_older_version_takes_the_missing_steps_and_keeps_its_cases(path: Path, decision: Make) -> None:
    with closing(CaseStore(path)) as store:
        store.take_in([decision("e1")], {})
        before = store.queue()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        migrate(db, (*MIGRATIONS, ("ALTER TABLE cases ADD COLUMN claimed_by TEXT",)))
        assert db.execute("SELECT event_id, claimed_by FROM cases").fetchall() == [("e1", None)]
        assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS) + 1,)
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    with closing(CaseStore(path)) as store:
        assert store.queue() == before


def test_a_step_that_fails_leaves_the_file_as_it_was(path: Path) -> None:
    CaseStore(path).close()
    broken = (*MIGRATIONS, ("CREATE TABLE claims (x) STRICT", "CREATE TABLE claims (x)"))
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        with pytest.raises(sqlite3.OperationalError):
            migrate(db, broken)
        assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
        assert db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'claims'").fetchone() == (0,)


def test_a_file_of_a_newer_version_is_refused_and_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(NewerFile, match="99 steps"):
        CaseStore(path)


def test_two_that_open_a_new_file_at_once_both_succeed(path: Path) -> None:
    failures: list[BaseException] = []

    def open_it() -> None:
        try:
            CaseStore(path).close()
        except BaseException as error:
            failures.append(error)

    threads = [Thread(target=open_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
