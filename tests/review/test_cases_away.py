"""The cases' database is gone, locked, full, damaged or of another version: said clearly, and nothing is lost by it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread

import psycopg
import pytest
from sqlalchemy import event
from starlette.testclient import TestClient

import review.engine
from headrace.doctor_cases import examine_cases
from headrace.opening_pages import OpeningPages
from headrace.review import run_keeper
from headrace.settings import Settings
from review.accounts import Accounts
from review.case_store import CaseStore, CasesUnavailable
from review.migrations import HEAD
from review.queue_keeper import keep_forever
from review.web.parts import Parts
from stream.log import message_of
from stream.redis_log import RedisLog
from tests.postgres_server import PostgresServer
from tests.review.cases import Make
from tests.review.office import BASE, CHEAP, Office
from tests.review.quick_stores import ON_BOTH, new_store_at
from tests.until import LIMIT_S, until

WORDS = "database does not answer. Scoring goes on without it"
SOON_S = 0.05
Fault = Callable[[CaseStore], AbstractContextManager[None]]


@contextmanager
def locked(store: CaseStore) -> Iterator[None]:
    """Another program has the lock that writers need."""
    if store.database.is_sqlite:
        with closing(sqlite3.connect(str(store.database.engine.url.database), LIMIT_S, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            yield
        return
    with psycopg.connect(libpq_url(store)) as other:
        other.execute("LOCK TABLE cases IN ACCESS EXCLUSIVE MODE")
        yield


@contextmanager
def full(store: CaseStore) -> Iterator[None]:
    """Its disk is full: what it says then is the database's own."""
    engine = store.database.engine
    if store.database.is_sqlite:

        def bounded(connection: sqlite3.Connection, _: object) -> None:
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count = {pages}")

        engine.dispose()
        event.listen(engine, "connect", bounded)
        yield
        event.remove(engine, "connect", bounded)
        engine.dispose()
        return
    refuses = "BEGIN RAISE EXCEPTION 'No space left on device' USING ERRCODE = 'disk_full'; END"
    with psycopg.connect(libpq_url(store), autocommit=True) as db:
        db.execute(f"CREATE FUNCTION pg_temp.fill() RETURNS trigger LANGUAGE plpgsql AS $$ {refuses} $$".encode())
        db.execute(b"CREATE TRIGGER full_disk BEFORE INSERT ON flags EXECUTE FUNCTION pg_temp.fill()")
        yield
        db.execute(b"DROP TRIGGER full_disk ON flags")


@contextmanager
def standby(store: CaseStore) -> Iterator[None]:
    """The address leads to a server that only reads."""
    with psycopg.connect(libpq_url(store), autocommit=True) as db:
        db.execute(b"ALTER DATABASE cases SET default_transaction_read_only = on")
        store.database.engine.dispose()
        yield
        db.execute(b"SET default_transaction_read_only = off")
        db.execute(b"ALTER DATABASE cases RESET default_transaction_read_only")
    store.database.engine.dispose()


def libpq_url(store: CaseStore) -> str:
    return store.database.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)


FAULTS: list[tuple[str, Fault | None]] = [
    ("sqlite", locked),
    ("sqlite", full),
    ("postgresql", locked),
    ("postgresql", full),
    ("postgresql", standby),
    ("postgresql", None),  # the server ends
]


@pytest.mark.parametrize(("one_place", "fault"), FAULTS, indirect=["one_place"])
def test_what_is_flagged_while_the_database_is_away_becomes_cases_once(
    one_place: str,
    fault: Fault | None,
    redis_db: str,
    decision: Make,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    new_store_at(one_place)
    stop = Event()
    with closing(CaseStore(one_place)) as seen, closing(RedisLog(redis_db, partitions=2)) as log, ExitStack() as opened:
        # The keeper's has little patience; whoever looks what became of it has as much as others.
        monkeypatch.setattr(review.engine, "BUSY_TIMEOUT_S", SOON_S)
        store = opened.enter_context(closing(CaseStore(one_place)))
        away = fault(store) if fault else request.getfixturevalue("postgres").away()
        with closing(RedisLog(redis_db, partitions=2)) as kept:
            options = {"poll_timeout_ms": 20, "pause_limit_s": SOON_S}
            keeper = Thread(target=keep_forever, args=(store, kept, stop), kwargs=options)
            keeper.start()
            try:
                log.append([message_of(decision("before", "ann"))])
                until(lambda: seen.open_count() == 1)
                with away:
                    log.append([message_of(decision(f"e{number}", f"card{number}")) for number in range(9)])
                    log.append([message_of(decision("joins", "ann", hour=1))])
                    until(lambda: "trying again" in caplog.text)
                    assert keeper.is_alive()
                until(lambda: seen.open_count() == 10)
                until(lambda: len(seen.case(case_of(seen, "ann")).events) == 2)
            finally:
                stop.set()
                keeper.join(LIMIT_S)
        cases = {case.entity: case for case in seen.queue(20)}
        assert sorted(event_id for case in cases.values() for event_id in case.events) == sorted(
            ["before", "joins", *(f"e{number}" for number in range(9))]
        )
        assert [entry.deed for entry in seen.audit(cases["ann"].case_id)] == ["opened", "joined"]
        assert all([entry.deed for entry in seen.audit(cases[f"card{n}"].case_id)] == ["opened"] for n in range(9))


def case_of(store: CaseStore, entity: str) -> str:
    return next(case.case_id for case in store.queue(20) if case.entity == entity)


@ON_BOTH
def test_a_store_of_a_newer_version_is_waited_for_by_the_keeper_and_told_by_the_doctor(
    one_place: str, redis_db: str, decision: Make, caplog: pytest.LogCaptureFixture
) -> None:
    new_store_at(one_place)
    home = Path(one_place).parent if "://" not in one_place else Path("/nonexistent")
    settings = Settings(
        {"home": home, "redis": redis_db, "partitions": 2, "cases": one_place if "://" in one_place else ""}, {}
    )
    stop = Event()
    with closing(CaseStore(one_place)) as store, closing(RedisLog(redis_db, partitions=2)) as log:
        set_steps(store, "0099")
        assert examine_cases(settings).level == "FAIL"
        log.append([message_of(decision("e1"))])
        keeper = Thread(target=run_keeper, args=(settings, stop))
        keeper.start()
        try:
            until(lambda: "99 steps" in caplog.text)
            set_steps(store, HEAD)
            until(lambda: store.open_count() == 1)
        finally:
            stop.set()
            keeper.join(LIMIT_S)
        assert examine_cases(settings).level == "OK"


def set_steps(store: CaseStore, revision: str) -> None:
    with store.database.writing() as db:
        db.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{revision}'")
        if store.database.is_sqlite:
            db.exec_driver_sql(f"PRAGMA user_version = {int(revision)}")


def test_a_file_that_is_damaged_is_named_and_waited_for_like_one_that_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "review.sqlite"
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(CasesUnavailable, match=r"review\.sqlite cannot be used: file is not a database"):
        CaseStore(path)
    found = examine_cases(Settings({"home": tmp_path}, {}))
    assert (found.level, "review.sqlite" in found.remedy) == ("FAIL", True)
    assert path.read_bytes().startswith(b"not a database")


# The pages


def test_pages_say_that_the_database_is_away_and_go_on_when_it_is_back(
    postgres: PostgresServer, postgres_url: str
) -> None:
    with closing(Office(postgres_url)) as office:
        desk = office.desk("ann")
        assert desk.get("/review").status_code == 200
        with postgres.away():
            page = desk.get("/review")
            assert (page.status_code, page.headers["retry-after"]) == (503, "5")
            assert WORDS in page.text and 'href="/review">Try again' in page.text
            line = desk.client.get("/review/list", headers={"hx-request": "true"})
            assert (line.status_code, line.headers["content-type"]) == (503, "text/plain; charset=utf-8")
            assert WORDS in line.text
        assert desk.get("/review").status_code == 200


class Place:
    """Where a store may be opened, or not yet; and how often it was tried, opened and closed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tries = self.opened = self.closed = 0

    @contextmanager
    def opening(self) -> Iterator[Parts]:
        self.tries += 1
        with closing(CaseStore(self.path)) as cases:
            yield Parts(cases, Accounts(cases.database, CHEAP), lambda: datetime.now(UTC))
            self.closed += 1

    def told(self, parts: Parts) -> None:
        self.opened += 1


def test_pages_are_there_before_their_store_is_and_open_by_themselves(tmp_path: Path) -> None:
    place = Place(tmp_path / "absent" / "review.sqlite")
    pages = OpeningPages(place.opening, place.told, pause_limit_s=SOON_S)
    with closing(pages), TestClient(pages, BASE, headers={"accept": "text/html"}, follow_redirects=False) as stranger:
        for answer in (stranger.get("/review"), stranger.post("/review/cases/c-1/decide"), stranger.get("/widgets/x")):
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
            assert WORDS in answer.text and "absent" not in answer.text
            assert "script-src 'self'" in answer.headers["content-security-policy"]
        assert stranger.get("/static/style.css").status_code == 200
        until(lambda: place.tries > 2)
        place.path.parent.mkdir()
        until(lambda: stranger.get("/review").status_code == 303)
        assert (place.opened, place.closed) == (1, 0)
    assert place.closed == 1


def test_pages_over_a_newer_store_say_so_and_a_mistake_in_the_settings_stops_the_start(tmp_path: Path) -> None:
    place = Place(tmp_path / "review.sqlite")
    with closing(CaseStore(place.path)) as store:
        set_steps(store, "0099")
    pages = OpeningPages(place.opening, place.told, pause_limit_s=SOON_S)
    with closing(pages), TestClient(pages, BASE) as stranger:
        assert "written by a newer version" in stranger.get("/").text

    def mistaken() -> AbstractContextManager[Parts]:
        raise ValueError("HEADRACE_REVIEW_URL is no address")

    with pytest.raises(ValueError, match="no address"):
        OpeningPages(mistaken, place.told)
