"""The case store's database: SQLite in a file, or PostgreSQL by URL, opened so that both keep the same promises."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolExhausted
from sqlalchemy.pool import StaticPool

POOL_SIZE = 10
OVERFLOW = 10
BUSY_TIMEOUT_S = 10.0
"""How long a writer waits for others, of whichever program."""
LOOK_S = 0.002
"""Between two looks of a SQLite writer at the lock. SQLite's own waiting looks ever more rarely, down to each 0.1 s: it
misses a lock that is free for moments only."""
REST_SHARE, REST_LIMIT_S = 0.25, 5 * LOOK_S
"""Who had SQLite's lock leaves it alone for this share of that time, at most so long: whoever waits gets it then."""
REACHED_WITHIN = {
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
}
"""Of libpq: a machine that is gone without a word is noticed within seconds. The URL may say otherwise, one by one."""
LOG_PAGES = 8_000
"""SQLite's log, in pages of 4 KiB, before it is put into the file: a batch of flags changes some 2,000, all over the
file, and those of several batches are put there for little more than those of one."""
READ_ONLY = "25006"
"""Of PostgreSQL: this server is a standby now."""
MEMORY = ":memory:"
LOCK = "BEGIN IMMEDIATE"


class CasesUnavailable(RuntimeError):
    """The database is gone, locked or full: nothing was changed, and a retry can help."""


class InvalidStoreUrl(ValueError):
    """What was given names no database that can keep cases."""


def url_of(place: Path | str) -> URL:
    """The URL of a file's path, of `:memory:` or of a URL. Raises `InvalidStoreUrl`, which quotes no password.

    >>> str(url_of("cases.sqlite")), url_of("postgresql://ann@db/cases").drivername
    ('sqlite:///cases.sqlite', 'postgresql+psycopg')
    """
    if isinstance(place, Path) or "://" not in place:
        return URL.create("sqlite", database=str(place))
    try:
        url = make_url(place)
    except (ArgumentError, ValueError):
        raise InvalidStoreUrl("the store's URL cannot be read; give postgresql://user:password@host/database") from None
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+psycopg")
    if url.drivername not in ("sqlite", "postgresql+psycopg"):
        raise InvalidStoreUrl(f"cases are not kept in {url.drivername!r}; give a file's path or a URL postgresql://…")
    return url


def open_engine(place: Path | str) -> Engine:
    """The engine of a place; nothing is read yet. Any number of threads may use it.

    What goes wrong is told without the values of the statement: these are names, notes and hashes, and it is logged.
    """
    url = url_of(place)
    if url.drivername != "sqlite":
        return _open_postgresql(url)
    arguments = {"check_same_thread": False, "timeout": BUSY_TIMEOUT_S}
    if url.database in (None, "", MEMORY):
        engine = create_engine(url, poolclass=StaticPool, connect_args=arguments, hide_parameters=True)
    else:
        _make_private(Path(url.database))
        engine = create_engine(
            url, pool_size=POOL_SIZE, max_overflow=OVERFLOW, connect_args=arguments, hide_parameters=True
        )
    event.listen(engine, "connect", _connected)
    event.listen(engine, "begin", _begun)
    return engine


def _open_postgresql(url: URL) -> Engine:
    reached = {name: value for name, value in REACHED_WITHIN.items() if name not in url.query}
    pool: dict[str, Any] = {"pool_size": POOL_SIZE, "max_overflow": OVERFLOW, "pool_pre_ping": True}
    try:
        engine = create_engine(url, **pool, connect_args=reached, hide_parameters=True)
    except ImportError as error:
        remedy = "install psycopg[binary], or headrace with its extra 'postgres'; the image has it"
        raise InvalidStoreUrl(f"PostgreSQL needs a driver, and it cannot be loaded ({error}): {remedy}") from None

    def connected(connection: Any, _: Any) -> None:
        # As SQLite has it: what another program locks is waited for so long, and no page for ever.
        connection.execute(f"SET lock_timeout = {round(1000 * BUSY_TIMEOUT_S)}")
        connection.commit()

    event.listen(engine, "connect", connected)
    return engine


def _make_private(path: Path) -> None:
    """Make a file that is not there for its owner alone: it has names, cases and hashes of passwords.

    SQLite makes the files beside it alike. One that is there keeps what its owner allows.
    """
    with suppress(OSError):  # Whoever connects says what is wrong.
        path.touch(mode=0o600)


def _connected(connection: sqlite3.Connection, _: Any) -> None:
    # The driver begins nothing by itself: `_begun` does.
    connection.isolation_level = None
    log = f"wal_autocheckpoint = {LOG_PAGES}"
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", log):
        connection.execute(f"PRAGMA {pragma}")


def _begun(connection: Connection) -> None:
    if connection.get_execution_options().get("reads"):
        connection.exec_driver_sql("BEGIN")
        return
    # A writer takes the lock at once: one that began by reading could not get it after another has written.
    driver = cast(sqlite3.Connection, connection.connection.driver_connection)
    end = time.monotonic() + BUSY_TIMEOUT_S
    driver.execute("PRAGMA busy_timeout = 0")
    try:
        while (found := _locked(driver)) == sqlite3.SQLITE_BUSY and time.monotonic() < end:
            time.sleep(LOOK_S)
        if found:
            connection.exec_driver_sql(LOCK)  # Says what is wrong as every statement does.
    finally:
        driver.execute(f"PRAGMA busy_timeout = {round(1000 * BUSY_TIMEOUT_S)}")


def _locked(driver: sqlite3.Connection) -> int:
    """Begin with the writers' lock; 0, or else the number of what is in the way."""
    try:
        driver.execute(LOCK)
    except sqlite3.DatabaseError as error:
        return error.sqlite_errorcode & 0xFF
    return 0


class Database:
    """Transactions over an engine: what fails for a while is `CasesUnavailable`, whichever database it is."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.is_sqlite = engine.dialect.name == "sqlite"
        options = {"reads": True} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
        self._reader = engine.execution_options(**options)
        self._rests_until = 0.0

    def close(self) -> None:
        """Close what is pooled."""
        self.engine.dispose()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """All or nothing, durable when it ends; others that wait to write come before the next. Raises
        `CasesUnavailable`."""
        if self.is_sqlite:
            time.sleep(max(0.0, self._rests_until - time.monotonic()))
        with unavailable_named(self.engine), self.engine.begin() as connection:
            began = time.monotonic()
            yield connection
        ended = time.monotonic()
        self._rests_until = ended + min(REST_SHARE * (ended - began), REST_LIMIT_S)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Everything that is read is of one moment. Raises `CasesUnavailable`."""
        with unavailable_named(self.engine), self._reader.begin() as connection:
            yield connection


@contextmanager
def unavailable_named(engine: Engine) -> Iterator[None]:
    """What a retry can help is `CasesUnavailable`, which names the database without its password."""
    try:
        yield
    except SQLAlchemyError as error:
        if not _can_pass(error):
            raise
        where = engine.url.render_as_string(hide_password=True)
        reason = "all its connections are taken" if isinstance(error, PoolExhausted) else getattr(error, "orig", error)
        raise CasesUnavailable(f"the cases at {where} cannot be used: {reason}") from error


def _can_pass(error: SQLAlchemyError) -> bool:
    """Whether the database is gone, locked, full, damaged or a standby: a mistake of a statement's is none of these."""
    if isinstance(error, OperationalError | InterfaceError | PoolExhausted):
        return True
    if not isinstance(error, DBAPIError):
        return False
    is_damaged = type(error.orig) is sqlite3.DatabaseError  # Not a class below it, which are about statements.
    return error.connection_invalidated or is_damaged or getattr(error.orig, "sqlstate", None) == READ_ONLY


def is_deadlock(error: CasesUnavailable) -> bool:
    """Whether two writers waited for each other, so that one was sent back: the same again at once is right."""
    return getattr(getattr(error.__cause__, "orig", None), "sqlstate", None) in ("40P01", "40001")
