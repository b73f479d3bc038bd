"""The SQL console's memory: queries that people keep under a name, and the audit of everything that was run."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Literal

import msgspec
from sqlalchemy import delete, func, insert, or_, select

from review.either import insert_on
from review.engine import Database
from review.refusals import Refused
from review.sql_tables import QUERIES, RUNS
from stream.archive_sql import SQL_LIMIT
from stream.records import from_micros, micros

NAME_LIMIT = 64
QUERIES_LIMIT = 200
HISTORY_LIMIT = 30
Deed = Literal["asked", "downloaded", "answered", "failed"]


class SavedQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A query with a name. A shared one is everybody's to run and its owner's to change."""

    owner: str
    name: str
    text: str
    shared: bool


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run as the audit has it; `ended` is None where nobody knows how it ended."""

    run: str
    at: datetime
    by: str
    text: str
    is_download: bool
    ended: Literal["answered", "failed"] | None = None
    rows: int | None = None
    took_ms: int | None = None


class SqlBook:
    """Queries and runs of one store. Any thread may use it. Every method raises `CasesUnavailable`."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def begin(self, text: str, by: str, at: datetime, *, download: bool = False) -> str:
        """Note that a query is about to be run; call it before, so that none is run unseen. Its number, for `end`.

        All of one that can run; the beginning of a longer one, which is refused.
        """
        run = secrets.token_hex(8)
        deed: Deed = "downloaded" if download else "asked"
        with self.database.writing() as db:
            db.execute(insert(RUNS).values(run=run, at_us=micros(at), by=by, deed=deed, text=text[:SQL_LIMIT]))
        return run

    def end(self, run: str, by: str, at: datetime, took_s: float, rows: int | None = None, wrong: str = "") -> None:
        """Note how it ended: with so many rows, or with what was wrong."""
        deed: Deed = "failed" if wrong else "answered"
        row = {"run": run, "at_us": micros(at), "by": by, "deed": deed, "text": wrong[:500]}
        with self.database.writing() as db:
            db.execute(insert(RUNS).values(**row, rows=rows, took_ms=round(took_s * 1000)))

    def history(self, by: str, limit: int = HISTORY_LIMIT) -> list[Run]:
        """What somebody ran, the newest first."""
        with self.database.reading() as db:
            rows = db.execute(select(RUNS).where(RUNS.c.by == by).order_by(RUNS.c.number.desc()).limit(limit * 2)).all()
        ends = {row.run: row for row in rows if row.deed in ("answered", "failed")}
        found = []
        for row in rows:
            if row.deed in ("asked", "downloaded"):
                end = ends.get(row.run)
                found.append(
                    Run(
                        run=row.run,
                        at=from_micros(row.at_us),
                        by=row.by,
                        text=row.text,
                        is_download=row.deed == "downloaded",
                        ended=None if end is None else end.deed,
                        rows=None if end is None else end.rows,
                        took_ms=None if end is None else end.took_ms,
                    )
                )
        return found[:limit]

    def text_of(self, run: str, by: str) -> str | None:
        """What a run of one's own asked."""
        own = (RUNS.c.run == run, RUNS.c.by == by, RUNS.c.deed.in_(("asked", "downloaded")))
        with self.database.reading() as db:
            return db.execute(select(RUNS.c.text).where(*own)).scalar()

    def save(self, query: SavedQuery, at: datetime) -> None:
        """Keep a query; one of the owner that has this name becomes this one. Raises `Refused`."""
        name = query.name.strip()
        if not 1 <= len(name) <= NAME_LIMIT:
            raise Refused(f"a query needs a name of 1 to {NAME_LIMIT} characters, not {len(name)}")
        if not query.text.strip() or len(query.text) > SQL_LIMIT:
            raise Refused(f"a query that is kept has 1 to {SQL_LIMIT:,} characters")
        row = {"text": query.text, "shared": int(query.shared), "saved_at_us": micros(at)}
        with self.database.writing() as db:
            others = select(func.count()).where(QUERIES.c.owner == query.owner, QUERIES.c.name != name)
            if db.execute(others).scalar_one() >= QUERIES_LIMIT:
                raise Refused(f"you keep {QUERIES_LIMIT} queries; drop one that is not needed")
            statement = insert_on(db, QUERIES).values(owner=query.owner, name=name, **row)
            db.execute(statement.on_conflict_do_update(index_elements=[QUERIES.c.owner, QUERIES.c.name], set_=row))

    def saved(self, owner: str) -> list[SavedQuery]:
        """Their own queries by name, then what others share."""
        with self.database.reading() as db:
            rows = db.execute(select(QUERIES).where(or_(QUERIES.c.owner == owner, QUERIES.c.shared == 1))).all()
        found = [SavedQuery(owner=row.owner, name=row.name, text=row.text, shared=bool(row.shared)) for row in rows]
        return sorted(found, key=lambda one: (one.owner != owner, one.name, one.owner))

    def drop(self, owner: str, name: str) -> None:
        """The owner's query of this name is gone, if there was one."""
        with self.database.writing() as db:
            db.execute(delete(QUERIES).where(QUERIES.c.owner == owner, QUERIES.c.name == name))
