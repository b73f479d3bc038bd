"""What happened to alerts and what people did about them: only ever added to."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, NamedTuple

from sqlalchemy import Connection, insert, select

from review.alert_tables import HISTORY
from review.engine import Database
from stream.records import from_micros, micros

Deed = Literal["firing", "resolved", "dropped", "acknowledged", "silenced", "silence ended", "not delivered"]
WATCHER = "headrace"
"""Who did what no person did."""


class Happened(NamedTuple):
    """One row. `dropped`: the file no longer has the alert."""

    at: datetime
    name: str
    severity: str
    deed: str
    value: float | None
    by: str
    text: str


def note(
    db: Connection,
    at: datetime,
    name: str,
    deed: Deed,
    *,
    by: str = WATCHER,
    severity: str = "",
    value: float | None = None,
    text: str = "",
) -> None:
    """Add a row, within a transaction."""
    row = {"name": name, "severity": severity, "deed": deed, "value": value, "by": by, "text": text}
    db.execute(insert(HISTORY), {"at_us": micros(at), **row})


def newest(database: Database, limit: int) -> list[Happened]:
    """The last rows, the newest first."""
    c = HISTORY.c
    columns = (c.at_us, c.name, c.severity, c.deed, c.value, c.by, c.text)
    with database.reading() as db:
        rows = db.execute(select(*columns).order_by(c.number.desc()).limit(limit)).all()
    return [Happened(from_micros(row[0]), *row[1:]) for row in rows]
