"""Stores of every age end with the same tables, and what they keep."""

from __future__ import annotations

import contextlib
import importlib.util
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import Any

import msgspec
import pytest
from alembic.autogenerate import compare_metadata
from alembic.command import upgrade
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, event

from review import migrations
from review.case import Place, opened_by
from review.case_filter import QueueFilter
from review.case_store import CaseStore
from review.engine import open_engine
from review.migrations import HEAD, configuration
from review.review_policy import ReviewPolicy
from review.schema import NewerFile, bring_up_to_date
from review.tables import METADATA
from stream.records import Decision, encode, micros
from tests.postgres_server import PostgresServer
from tests.review.cases import LATER, NOON, Crash, Make


def step(name: str) -> ModuleType:
    file = next((Path(migrations.__file__).parent / "versions").glob(f"{name}_*.py"))
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_first_file(path: Path, flags: list[Decision]) -> None:
    """A file as the first version left it: an open case of all these flags, a label and what it had read."""
    first, policy = step("0001"), ReviewPolicy()
    case = opened_by(flags[0], policy)
    worst = max(flags, key=lambda flag: flag.score * flag.record.amount)
    with closing(sqlite3.connect(path)) as db:
        for statement in (*first.TABLES, *first.TRIGGERS):
            db.execute(statement)
        row = {
            "case_id": case.case_id,
            "use_case": "fraud",
            "entity": case.entity,
            "event_id": worst.event_id,
            "opened_at_us": micros(case.opened_at),
            "outcome": "review",
            "score": worst.score,
            "amount": worst.record.amount,
            "currency": "EUR",
            "expected_loss": sum(flag.score * flag.record.amount for flag in flags),
            "reasons": msgspec.json.encode(worst.reasons),
            "rules": msgspec.json.encode(worst.rules),
            "event_count": len(flags),
            "status": "open",
        }
        db.execute(f"INSERT INTO cases ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", tuple(row.values()))
        for flag in flags:
            found = (flag.event_id, case.case_id, encode(flag))
            db.execute("INSERT INTO flags (event_id, case_id, decision) VALUES (?, ?, ?)", found)
            deed = "opened" if flag is flags[0] else "joined"
            noted = (case.case_id, micros(flag.scored_at), deed, flag.event_id)
            db.execute("INSERT INTO audit (case_id, at_us, deed, event_id) VALUES (?, ?, ?, ?)", noted)
        db.execute("INSERT INTO offsets VALUES ('redis', 'decisions', 3, 7)")
        db.execute("PRAGMA user_version = 1")
        db.commit()


@pytest.fixture
def flags(decision: Make) -> list[Decision]:
    return [
        decision("e1", "card-7", 0.5, 100.0, rules=["night"], reason="small"),
        decision("e2", "card-7", 0.9, 1000.0, hour=1, rules=["night"], reason="large", merchant_id="Shop-Berlin"),
    ]


def test_a_file_of_the_first_version_is_taken_over_as_if_it_had_come_now(path: Path, flags: list[Decision]) -> None:
    write_first_file(path, flags)
    with closing(CaseStore(path)) as store, closing(CaseStore(":memory:")) as fresh:
        fresh.take_in(flags, {})
        assert store.queue() == fresh.queue()
        (case,) = store.queue(filter=QueueFilter(text="berlin"))
        assert store.queue(after=Place.of(case)) == []
        assert store.audit(case.case_id) == fresh.audit(case.case_id)
        assert store.linked(case.case_id) == fresh.linked(case.case_id)
        assert store.decisions(case.case_id) == flags
        labels = store.decide(case.case_id, "fraud", "ann", NOON)
        assert store.unsent(10, LATER) == labels
        assert store.last_deed() == 3
        with store.database.reading() as db:
            assert db.exec_driver_sql("SELECT * FROM offsets").all() == [("redis", "decisions", 3, 7)]
            assert db.exec_driver_sql("PRAGMA foreign_key_check").all() == []
            assert db.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_a_crash_at_any_statement_of_a_step_leaves_the_file_as_it_was(path: Path, flags: list[Decision]) -> None:
    write_first_file(path, flags)
    before = contents(path)
    for nth in [*range(1, 30, 3), *range(30, 100, 10), 1000]:
        engine = open_engine(path)
        with contextlib.suppress(Crash):
            crash_at(engine, nth)
            bring_up_to_date(engine)
            break
        engine.dispose()
        assert contents(path) == before
    assert nth == 1000
    engine.dispose()
    assert contents(path) != before


def contents(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as db:
        return list(db.iterdump())


def crash_at(engine: Engine, nth: int) -> None:
    statements = count(1)

    def crash(*_: object) -> None:
        if next(statements) == nth:
            raise Crash

    event.listen(engine, "before_cursor_execute", crash)


def test_a_file_of_a_newer_version_is_refused_and_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(NewerFile, match="99 steps"):
        CaseStore(path)


def test_a_database_of_a_newer_version_is_refused(empty: str) -> None:
    with closing(CaseStore(empty)) as store, store.database.writing() as db:
        db.exec_driver_sql("UPDATE alembic_version SET version_num = '0099'")
        if store.database.is_sqlite:
            db.exec_driver_sql("PRAGMA user_version = 99")
    with pytest.raises(NewerFile, match="99 steps"):
        CaseStore(empty)


def test_all_that_open_a_new_store_at_once_succeed(empty: str) -> None:
    failures: list[BaseException] = []

    def open_it() -> None:
        try:
            CaseStore(empty).close()
        except BaseException as error:
            failures.append(error)

    threads = [Thread(target=open_it) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_the_steps_give_the_tables_that_a_new_store_has(empty: str, other_empty: str) -> None:
    engine, stepped = open_engine(empty), open_engine(other_empty)
    try:
        bring_up_to_date(engine)
        with stepped.begin() as db:
            upgrade(configuration(db), "head")
        with engine.begin() as db, stepped.begin() as other:
            assert ScriptDirectory.from_config(configuration(other)).get_current_head() == HEAD
            assert db.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() == HEAD
            assert compare_metadata(MigrationContext.configure(other), METADATA) == []
            assert catalogue(other) == catalogue(db)
    finally:
        engine.dispose()
        stepped.dispose()


def catalogue(db: Connection) -> list[Any]:
    """All that a database says of its tables, but how their columns are ordered and named in the statement."""
    if db.dialect.name == "sqlite":
        tables = db.exec_driver_sql("SELECT name, wr, strict FROM pragma_table_list WHERE schema = 'main'").all()
        columns = [
            (table.name, row.name, row.type, row.notnull, row.dflt_value, row.pk)
            for table in tables
            for row in db.exec_driver_sql(f"PRAGMA table_xinfo({table.name})")
        ]
        rest = db.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type IN ('index', 'trigger')").all()
        return [*sorted(tables), *sorted(map(str, columns)), *sorted((name, plain(sql)) for name, sql in rest)]
    found = []
    for asked in (
        "SELECT table_name, column_name, data_type, collation_name, is_nullable, column_default "
        "FROM information_schema.columns WHERE table_schema = 'public'",
        "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'public'::regnamespace",
        "SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
        "SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
    ):
        found += sorted(map(str, db.exec_driver_sql(asked)))
    # How a table of Alembic's own names its key depends on who made it.
    return [row for row in found if "alembic_version" not in row]


def plain(sql: str | None) -> str:
    return "".join((sql or "").split())


@pytest.fixture
def made(postgres: PostgresServer) -> Iterator[Callable[[], str]]:
    """Makes databases that are gone after the test."""
    names: list[str] = []

    def make() -> str:
        names.append(f"empty_{len(names)}")
        postgres.run(f"CREATE DATABASE {names[-1]}")
        return postgres.url(names[-1])

    yield make
    for name in names:
        postgres.run(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, path: Path) -> str:
    """A place without tables."""
    if request.param == "sqlite":
        return str(path)
    made: Callable[[], str] = request.getfixturevalue("made")
    return made()


@pytest.fixture
def other_empty(empty: str, path: Path, request: pytest.FixtureRequest) -> str:
    """Another of the same kind."""
    if empty == str(path):
        return str(path.with_name("other.sqlite"))
    made: Callable[[], str] = request.getfixturevalue("made")
    return made()
