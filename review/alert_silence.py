"""Silences: nothing is told of an alert, or of all, until a time, because somebody says so and why."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, NamedTuple

from sqlalchemy import Connection, insert, select, update

from review.alert_history import note
from review.alert_tables import SILENCES
from review.engine import Database
from review.refusals import Refused
from stream.records import from_micros, micros

ALL: Final = "*"
LONGEST = timedelta(days=30)
WHY_LIMIT = 300
IN_FORCE_LIMIT = 200


class Silence(NamedTuple):
    """`name` is an alert's, or `ALL`."""

    number: int
    name: str
    by: str
    why: str
    made_at: datetime
    until: datetime


class Silences:
    """The silences of a store. Any thread may use it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def make(self, name: str, until: datetime, why: str, by: str, now: datetime) -> None:
        """Tell nothing of it from now on. Raises `Refused` where the end or the reason is none."""
        why = why.strip()
        if not why or len(why) > WHY_LIMIT:
            raise Refused(f"a silence needs a reason of 1 to {WHY_LIMIT} characters, not {len(why)}")
        if not now < until <= now + LONGEST:
            raise Refused(f"a silence ends within {LONGEST.days} days, not at {until:%Y-%m-%d %H:%M} UTC")
        row = {"name": name, "by": by, "why": why, "made_at_us": micros(now), "until_us": micros(until)}
        with self._database.writing() as db:
            if len(in_force(db, now)) >= IN_FORCE_LIMIT:
                raise Refused(f"{IN_FORCE_LIMIT} silences are in force; end some that are not needed")
            db.execute(insert(SILENCES), row)
            note(db, now, name, "silenced", by=by, text=f"until {until:%Y-%m-%d %H:%M} UTC: {why}")

    def end(self, number: int, by: str, now: datetime) -> None:
        """End one before its time. Raises `Refused` where it is over."""
        of = (SILENCES.c.number == number, SILENCES.c.ended_at_us.is_(None), SILENCES.c.until_us > micros(now))
        with self._database.writing() as db:
            name = db.execute(select(SILENCES.c.name).where(*of).with_for_update()).scalar()
            if name is None:
                raise Refused("that silence is over")
            db.execute(update(SILENCES).where(*of).values(ended_at_us=micros(now), ended_by=by))
            note(db, now, name, "silence ended", by=by)

    def all(self, now: datetime) -> list[Silence]:
        """Those in force, the one that ends first before the others."""
        with self._database.reading() as db:
            return in_force(db, now)


def in_force(db: Connection, now: datetime) -> list[Silence]:
    """The silences at this moment, within a transaction."""
    c = SILENCES.c
    columns = (c.number, c.name, c.by, c.why, c.made_at_us, c.until_us)
    statement = select(*columns).where(c.until_us > micros(now), c.made_at_us <= micros(now), c.ended_at_us.is_(None))
    rows = db.execute(statement.order_by(c.until_us, c.number).limit(IN_FORCE_LIMIT + 1)).all()
    return [Silence(*row[:4], from_micros(row[4]), from_micros(row[5])) for row in rows]
