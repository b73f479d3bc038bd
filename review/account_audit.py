"""The accounts' audit: who signed in, who was refused, who was made what by whom. It only grows."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, insert, select

from review.account import AGENT_LIMIT, AccountDeed, AccountEntry, Caller
from review.account_tables import DEEDS
from stream.records import from_micros, micros

ENTRIES_LIMIT = 1000


def note(
    connection: Connection,
    deed: AccountDeed,
    name: str,
    at: datetime,
    *,
    by: str = "",
    caller: Caller = Caller(),  # noqa: B008 - immutable
    detail: str = "",
) -> None:
    """Write one line, in the caller's transaction. Never what a stranger typed as a name: it may be a password."""
    agent = caller.agent[:AGENT_LIMIT]
    row = {"at_us": micros(at), "name": name, "deed": deed, "by": by or name, "address": caller.address}
    connection.execute(insert(DEEDS).values(**row, agent=agent, detail=detail))


def entries(connection: Connection, name: str | None, limit: int) -> list[AccountEntry]:
    """The newest lines, of one account or of all, the newest first."""
    rows = select(DEEDS).order_by(DEEDS.c.number.desc()).limit(min(limit, ENTRIES_LIMIT))
    if name is not None:
        rows = rows.where(DEEDS.c.name == name)
    return [
        AccountEntry(from_micros(row.at_us), row.name, row.deed, row.by, row.address, row.agent, row.detail)
        for row in connection.execute(rows)
    ]
