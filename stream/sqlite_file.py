"""What SQLite files of several rooms have in common: transactions, and deleting so that nothing is left."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

BUSY_TIMEOUT_S = 30.0
"""How long a file is waited for that another holds: on a busy machine one commit to the disk may take seconds."""


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


def scrub(db: sqlite3.Connection) -> None:
    """Leave nothing of deleted rows in the file: neither in its free pages nor in the log beside it.

    Raises `sqlite3.OperationalError` where others hold the file for longer than its timeout.
    """
    db.execute("VACUUM")
    if db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
        raise sqlite3.OperationalError("the file is being read, so old pages stay in its log; run the same again")
