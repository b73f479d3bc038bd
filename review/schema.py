"""The case store's tables, as numbered steps: a file says by `user_version` how many of them it has taken."""

from __future__ import annotations

import sqlite3

_FIRST = (
    # `number` is the order of arrival; `rank` lets one ascending index serve the queue: greatest loss, then oldest.
    """
    CREATE TABLE cases (
        number INTEGER PRIMARY KEY, case_id TEXT NOT NULL UNIQUE, use_case TEXT NOT NULL, entity TEXT NOT NULL,
        event_id TEXT NOT NULL, opened_at_us INTEGER NOT NULL, outcome TEXT NOT NULL, score REAL NOT NULL,
        amount REAL NOT NULL, currency TEXT NOT NULL, expected_loss REAL NOT NULL, reasons BLOB NOT NULL,
        rules BLOB NOT NULL, event_count INTEGER NOT NULL,
        status TEXT NOT NULL CHECK (status IN ('open', 'decided')),
        verdict TEXT CHECK (verdict IN ('fraud', 'legit', 'unknown')), decided_by TEXT, decided_at_us INTEGER,
        rank REAL GENERATED ALWAYS AS (-expected_loss)
    ) STRICT
    """,
    "CREATE INDEX cases_in_queue ON cases (rank, opened_at_us, case_id) WHERE status = 'open'",
    "CREATE INDEX cases_by_entity ON cases (use_case, entity, number) WHERE status = 'open'",
    """
    CREATE TABLE flags (
        number INTEGER PRIMARY KEY, event_id TEXT NOT NULL UNIQUE,
        case_id TEXT NOT NULL REFERENCES cases (case_id), decision BLOB NOT NULL
    ) STRICT
    """,
    "CREATE INDEX flags_by_case ON flags (case_id, number)",
    """
    CREATE TABLE outbox (
        number INTEGER PRIMARY KEY AUTOINCREMENT, identity TEXT NOT NULL UNIQUE, label BLOB NOT NULL,
        sent INTEGER NOT NULL DEFAULT 0
    ) STRICT
    """,
    "CREATE INDEX outbox_unsent ON outbox (number) WHERE sent = 0",
    """
    CREATE TABLE audit (
        number INTEGER PRIMARY KEY AUTOINCREMENT, case_id TEXT NOT NULL, at_us INTEGER NOT NULL, "by" TEXT,
        deed TEXT NOT NULL, event_id TEXT, verdict TEXT
    ) STRICT
    """,
    "CREATE INDEX audit_by_case ON audit (case_id, number)",
    """
    CREATE TRIGGER audit_keeps_its_rows BEFORE DELETE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END
    """,
    """
    CREATE TRIGGER audit_keeps_its_words BEFORE UPDATE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END
    """,
    """
    CREATE TABLE offsets (
        log TEXT NOT NULL, topic TEXT NOT NULL, number INTEGER NOT NULL, next INTEGER NOT NULL,
        PRIMARY KEY (log, topic, number)
    ) STRICT
    """,
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_FIRST,)
"""Append a step for each change; never change a step that a file may have taken."""


class NewerFile(ValueError):
    """The file has taken steps that this version does not know. A retry cannot help."""


def migrate(db: sqlite3.Connection, migrations: tuple[tuple[str, ...], ...] = MIGRATIONS) -> None:
    """Take the steps that the file has not taken, all or none. Safe when two open a new file at once."""
    db.execute("BEGIN IMMEDIATE")
    try:
        taken = db.execute("PRAGMA user_version").fetchone()[0]
        if taken > len(migrations):
            raise NewerFile(
                f"the case store has taken {taken} steps, this version knows {len(migrations)}; "
                "use the version of Headrace that wrote it, or a newer one"
            )
        for step in migrations[taken:]:
            for statement in step:
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {len(migrations)}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
