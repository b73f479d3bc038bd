"""How alerts stand, in the store: read by every page, changed by one watcher at a time and by who acknowledges."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, select, update

from review.alert_history import Deed, note
from review.alert_message import Message, Told
from review.alert_outbox import add
from review.alert_silence import Silence, in_force
from review.alert_standing import Standing
from review.alert_tables import STANDINGS, WATCHER
from review.either import insert_on
from review.engine import Database
from review.refusals import Refused
from stream.records import from_micros, micros

LEASE = timedelta(seconds=60)


class LeaseLost(RuntimeError):
    """Another watches by now; nothing was written."""


class Turned(Standing, frozen=True, kw_only=True):
    """A standing to keep, and what the history says of it (nothing: no row)."""

    deed: Deed | None = None
    severity: str = ""


class AlertBook:
    """Standings by name. Any thread may use it."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def lead(self, holder: str, now: datetime) -> bool:
        """Whether this one watches: the first that asks, until it has not asked for `LEASE`."""
        mine, until_us = WATCHER.c.holder == holder, micros(now + LEASE)
        with self.database.reading() as db:
            found = db.execute(select(WATCHER.c.holder, WATCHER.c.until_us)).first()
        if found and found.holder != holder and found.until_us > micros(now):
            return False
        if found and found.holder == holder and found.until_us > micros(now + LEASE / 2):
            return True  # Written some looks ago, and good for some more.
        row = {"one": 1, "holder": holder, "until_us": until_us}
        with self.database.writing() as db:
            statement = insert_on(db, WATCHER).values(row)
            free = mine | (WATCHER.c.until_us <= micros(now))
            db.execute(statement.on_conflict_do_update(index_elements=[WATCHER.c.one], set_=row, where=free))
            return db.execute(select(WATCHER.c.holder)).scalar() == holder

    def leave(self, holder: str) -> None:
        """Let another watch at once."""
        with self.database.writing() as db:
            db.execute(delete(WATCHER).where(WATCHER.c.holder == holder))

    def standings(self) -> dict[str, Standing]:
        """How every alert stands that ever was anything but ok."""
        with self.database.reading() as db:
            return _standings(db)

    def look(self, now: datetime) -> tuple[dict[str, Standing], list[Silence]]:
        """The standings and the silences in force, of one moment."""
        with self.database.reading() as db:
            return _standings(db), in_force(db, now)

    def keep(
        self,
        holder: str,
        turned: Sequence[Turned],
        told: Iterable[Told],
        messages: Iterable[tuple[str, str, Message]],
        now: datetime,
    ) -> None:
        """Keep what a look made of the alerts, and the messages about it (target, label, message): all, or nothing.

        So nothing is told twice, and nothing that was to be told is forgotten, wherever a watcher dies.
        Raises `LeaseLost`.
        """
        with self.database.writing() as db:
            lease = select(WATCHER.c.one).where(WATCHER.c.holder == holder, WATCHER.c.until_us > micros(now))
            if db.execute(lease.with_for_update()).scalar() is None:
                raise LeaseLost("another process watches the alerts")
            for one in turned:
                _write(db, one)
                if one.deed:
                    words = one.words
                    note(db, now, one.name, one.deed, severity=one.severity, value=one.value, text=words)
            for said in told:
                # Whoever was told of the end has nothing more to hear of this firing.
                at_us = None if said.turn == "resolved" else micros(now)
                db.execute(update(STANDINGS).where(STANDINGS.c.name == said.name).values(told_at_us=at_us))
            for target, label, message in messages:
                add(db, target, label, message)

    def acknowledge(self, name: str, fired_at: datetime, by: str, now: datetime) -> None:
        """Say that somebody knows: no reminders of this firing, which began at `fired_at`. Raises `Refused`."""
        c = STANDINGS.c
        of = (c.name == name, c.state == "firing", c.fired_at_us == micros(fired_at))
        with self.database.writing() as db:
            found = db.execute(select(c.acknowledged_by).where(*of).with_for_update()).first()
            if found is None:
                raise Refused(f"{name} does not fire any more, or fires anew; look again")
            if found.acknowledged_by is not None:
                raise Refused(f"{found.acknowledged_by} has acknowledged {name}")
            db.execute(update(STANDINGS).where(*of).values(acknowledged_by=by, acknowledged_at_us=micros(now)))
            note(db, now, name, "acknowledged", by=by)


def _standings(db: Connection) -> dict[str, Standing]:
    return {
        row.name: Standing(
            name=row.name,
            state=row.state,
            since_s=row.since_us / 1e6,
            fired_at_s=_seconds(row.fired_at_us),
            value=row.value,
            words=row.words,
            told_at_s=_seconds(row.told_at_us),
            acknowledged_by=row.acknowledged_by,
            acknowledged_at_s=_seconds(row.acknowledged_at_us),
        )
        for row in db.execute(select(STANDINGS))
    }


def _write(db: Connection, one: Turned) -> None:
    row: dict[str, object] = {
        "state": one.state,
        "since_us": _us(one.since_s),
        "fired_at_us": _us(one.fired_at_s),
        "value": one.value,
        "words": one.words,
    }
    if one.deed == "firing":
        # Of the firing before: nobody has been told of this one, and nobody knows of it.
        row |= {"told_at_us": None, "acknowledged_by": None, "acknowledged_at_us": None}
    statement = insert_on(db, STANDINGS).values(name=one.name, **row)
    db.execute(statement.on_conflict_do_update(index_elements=[STANDINGS.c.name], set_=row))


def moment(seconds: float) -> datetime:
    """A time in s since 1970, to the microsecond that is kept."""
    return from_micros(round(seconds * 1e6))


def _us(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1e6)


def _seconds(at_us: int | None) -> float | None:
    return None if at_us is None else at_us / 1e6
