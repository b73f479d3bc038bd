"""Bring a store's tables up to date when it is opened: a new one gets them as they are, an older one step by step."""

from __future__ import annotations

import sqlite3
from typing import cast

from sqlalchemy import Connection, Engine, inspect, text

import review.account_tables  # its tables belong to the store
import review.alert_tables  # and these too
import review.sql_tables
import review.verdict_day_tables
import review.waiting_word_tables
import review.widget_tables  # noqa: F401
from review.engine import unavailable_named
from review.migrations import HEAD
from review.tables import METADATA

LOCK = 0x68656164
"""Of PostgreSQL's advisory locks: who holds it makes or changes the tables."""


class NewerFile(ValueError):
    """The store has taken steps that this version does not know. A retry cannot help."""


def bring_up_to_date(engine: Engine) -> None:
    """Make or change the tables as this version needs them, all or nothing. Safe when several open a store at once.

    Raises `NewerFile` for the store of a newer version, which is left alone, and `CasesUnavailable`.
    """
    with unavailable_named(engine):
        with engine.execution_options(reads=True).connect() as connection:
            taken = steps_taken(connection)
        if taken == int(HEAD):
            return
        refuse_newer(taken)
        if engine.dialect.name == "sqlite":
            _change_sqlite(engine)
        else:
            with engine.begin() as connection:
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
                _change(connection)


def steps_taken(connection: Connection) -> int:
    """How many steps a store has taken; 0 for one without tables."""
    if connection.dialect.name == "sqlite":
        return int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())
    if not inspect(connection).has_table("alembic_version"):
        return 0
    found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return int(found) if found else 0


def refuse_newer(taken: int) -> None:
    """Raises `NewerFile` where the store knows more than this version."""
    if taken > int(HEAD):
        raise NewerFile(
            f"the case store has taken {taken} steps, this version knows {int(HEAD)}; "
            "use the version of Headrace that wrote it, or a newer one"
        )


def stamp(connection: Connection, revision: str) -> None:
    """Note how far the store has come, for Alembic and, in a SQLite file, for versions older than that."""
    words = "CREATE TABLE IF NOT EXISTS alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"
    connection.exec_driver_sql(words)
    connection.exec_driver_sql("DELETE FROM alembic_version")
    connection.execute(text("INSERT INTO alembic_version VALUES (:revision)"), {"revision": revision})
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"PRAGMA user_version = {int(revision)}")


def _change_sqlite(engine: Engine) -> None:
    # A table is changed by making it anew, which others refer to; this can only be allowed outside a transaction.
    with engine.connect() as connection:
        driver = cast(sqlite3.Connection, connection.connection.driver_connection)
        driver.execute("PRAGMA foreign_keys = OFF")
        try:
            with connection.begin():
                _change(connection)
        finally:
            driver.execute("PRAGMA foreign_keys = ON")


def _change(connection: Connection) -> None:
    taken = steps_taken(connection)  # Another may have been here while this one waited for the lock.
    refuse_newer(taken)
    if taken == int(HEAD):
        return
    if taken == 0:
        METADATA.create_all(connection, checkfirst=False)
        stamp(connection, HEAD)
    else:
        upgrade(connection, f"{taken:04}", HEAD)


def upgrade(connection: Connection, taken: str, goal: str) -> None:
    """Take the steps from one revision to another, in the connection's transaction."""
    from alembic.command import upgrade as take_steps

    from review.migrations import configuration

    stamp(connection, taken)
    take_steps(configuration(connection), goal)
    stamp(connection, goal)
