"""Transactions of SQLite files that several rooms keep."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal


@contextmanager
def transaction(db: sqlite3.Connection, lock: Literal["IMMEDIATE", "DEFERRED"] = "IMMEDIATE") -> Iterator[None]:
    """All or nothing, durable when it ends, over a connection that begins none by itself (`isolation_level=None`).

    Raises `sqlite3.OperationalError` when the disk is full or the file locked.
    """
    db.execute(f"BEGIN {lock}")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
