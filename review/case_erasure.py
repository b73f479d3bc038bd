"""Take an entity out of the case store: its flagged events go, and a case without events goes with them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator

from stream.records import Decision, Label, decode

IsOf = Callable[[Decision | Label], bool]


def search_cases(db: sqlite3.Connection, is_of: IsOf) -> tuple[list[Decision], list[int]]:
    """The flagged decisions about the entity, and the numbers of its labels in the outbox."""
    rows = db.execute("SELECT decision FROM flags")
    flags: Iterator[Decision] = (decode(row[0], Decision) for row in rows)
    decisions = [decision for decision in flags if is_of(decision)]
    labels = db.execute("SELECT number, label FROM outbox").fetchall()
    return decisions, [number for number, content in labels if is_of(decode(content, Label))]


def erase_flags(db: sqlite3.Connection, events: list[str], labels: list[int]) -> list[str]:
    """Delete these flags and labels, and cases that have no other flag; the cases whose figures must be made anew.

    The audit of cases stays: it names cases, events and analysts, and no entity.
    """
    touched: dict[str, None] = {}
    for event_id in events:
        gone = db.execute("DELETE FROM flags WHERE event_id = ? RETURNING case_id", (event_id,)).fetchall()
        touched |= dict.fromkeys(row[0] for row in gone)
    db.executemany("DELETE FROM outbox WHERE number = ?", [(number,) for number in labels])
    left = []
    for case_id in touched:
        if db.execute("SELECT 1 FROM flags WHERE case_id = ? LIMIT 1", (case_id,)).fetchone():
            left.append(case_id)
        else:
            db.execute("DELETE FROM cases WHERE case_id = ?", (case_id,))
    return left
