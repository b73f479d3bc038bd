"""Messages on their way: written with what they are about, and sent until they arrive or are a day old."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, RowMapping, delete, func, select, update

from review.alert_history import note
from review.alert_message import Message
from review.alert_tables import MESSAGES
from review.either import insert_on
from review.engine import Database
from stream.records import from_micros, micros

SENDING = timedelta(minutes=2)
"""How long a message belongs to who sends it: longer than any try takes."""
FIRST_WAIT_S, LONGEST_WAIT_S = 5.0, 3600.0
GIVEN_UP = timedelta(days=1)
KEPT = timedelta(days=7)
PROBLEM_LIMIT = 300
ROWS_LIMIT = 200


class Parcel(NamedTuple):
    """A message and where it goes. `tries` counts the one under way; the last one's problem is in words."""

    number: int
    target: str
    label: str
    message: Message
    made_at: datetime
    tries: int
    fate: str = "waiting"
    problem: str = ""
    due_at: datetime | None = None


def wait_s(tries: int) -> float:
    """How long to wait after so many tries.

    >>> [wait_s(tries) for tries in (1, 2, 3, 20)]
    [5.0, 10.0, 20.0, 3600.0]
    """
    return min(FIRST_WAIT_S * 2.0 ** min(tries - 1, 30), LONGEST_WAIT_S)


def add(db: Connection, target: str, label: str, message: Message) -> None:
    """Add a message for a target, once: a second one with its id is the same. Within a transaction."""
    at_us = micros(message.at)
    row = {"target": target, "label": label, "made_at_us": at_us, "due_at_us": at_us}
    statement = insert_on(db, MESSAGES).values(key=message.id, body=msgspec.json.encode(message), **row)
    db.execute(statement.on_conflict_do_nothing(index_elements=[MESSAGES.c.key, MESSAGES.c.target]))


class AlertOutbox:
    """The messages of a store. Any thread, of any process, may take from it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, now: datetime) -> list[Parcel]:
        """The first waiting message of each target, where it is due. It belongs to the caller for `SENDING`.

        In turn: a target never hears of an end before the beginning. Whoever took one and died has perhaps sent it;
        then it comes twice, with the same id.
        """
        c = MESSAGES.c
        first = select(func.min(c.number)).where(c.fate == "waiting").group_by(c.target)
        due = (c.number.in_(first), c.due_at_us <= micros(now), c.fate == "waiting")
        with self._database.reading() as db:
            if not db.execute(select(c.number).where(*due).limit(1)).first():
                return []
        with self._database.writing() as db:
            rows = db.execute(select(MESSAGES).where(*due).order_by(c.number).limit(ROWS_LIMIT).with_for_update()).all()
            parcels = [_parcel(row._mapping) for row in rows]
            for one in parcels:
                row = {"due_at_us": micros(now + SENDING), "tries": one.tries + 1}
                db.execute(update(MESSAGES).where(c.number == one.number).values(row))
        return [one._replace(tries=one.tries + 1) for one in parcels]

    def mark_sent(self, parcel: Parcel, now: datetime) -> None:
        """It arrived. Old ones are forgotten."""
        with self._database.writing() as db:
            _end(db, parcel, "sent", now)
            db.execute(delete(MESSAGES).where(MESSAGES.c.ended_at_us < micros(now - KEPT)))

    def mark_failed(self, parcel: Parcel, problem: str, now: datetime, *, for_good: bool = False) -> None:
        """It did not arrive: later again, with growing waits, until it is a day old."""
        problem = problem[:PROBLEM_LIMIT]
        with self._database.writing() as db:
            if for_good or now - parcel.made_at >= GIVEN_UP:
                _end(db, parcel, "given up", now, problem)
                count = f"{parcel.tries} {'try' if parcel.tries == 1 else 'tries'}"
                text = f"to {parcel.label}, after {count}: {problem}"
                for told in parcel.message.alerts:
                    note(db, now, told.name, "not delivered", severity=told.severity, text=text)
            else:
                row = {"due_at_us": micros(now) + round(1e6 * wait_s(parcel.tries)), "problem": problem}
                db.execute(update(MESSAGES).where(MESSAGES.c.number == parcel.number).values(row))

    def troubled(self, limit: int = 50) -> list[Parcel]:
        """Messages that were tried and have not arrived, or were given up, the newest first."""
        c = MESSAGES.c
        statement = select(MESSAGES).where((c.fate == "given up") | ((c.fate == "waiting") & (c.problem != "")))
        with self._database.reading() as db:
            return [_parcel(row) for row in db.execute(statement.order_by(c.number.desc()).limit(limit)).mappings()]


def _end(db: Connection, parcel: Parcel, fate: str, now: datetime, problem: str = "") -> None:
    row = {"fate": fate, "ended_at_us": micros(now), "problem": problem}
    db.execute(update(MESSAGES).where(MESSAGES.c.number == parcel.number).values(row))


def _parcel(row: RowMapping) -> Parcel:
    return Parcel(
        number=row["number"],
        target=row["target"],
        label=row["label"],
        message=msgspec.json.decode(row["body"], type=Message),
        made_at=from_micros(row["made_at_us"]),
        tries=row["tries"],
        fate=row["fate"],
        problem=row["problem"],
        due_at=from_micros(row["due_at_us"]),
    )
