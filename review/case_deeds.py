"""What is done to a case on the way to its verdict: put aside, given to somebody, written on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from urllib.parse import urlsplit

import msgspec
from sqlalchemy import Connection, func, insert, select

from review.bulk import Bulk, Bulks
from review.case import Case, source_of
from review.refusals import NotOpen, Refused
from review.tables import EVIDENCE, NOTES
from stream.records import from_micros, micros

NOTE_LIMIT = 4000
NOTES_LIMIT = 1000
EVIDENCE_LIMIT = 100
URL_LIMIT = 2000
TITLE_LIMIT = 200


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody wrote on a case."""

    number: int
    at: datetime
    by: str
    text: str


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """A link to what somebody found. The URL is of http or https, and nothing else is known of it."""

    number: int
    at: datetime
    by: str
    url: str
    title: str


class CaseDeeds(Bulks):
    """Everything but the verdict. All of it is in the audit, and none of it changes what the case is about."""

    def snooze(self, case_id: str, until: datetime, by: str, at: datetime) -> Case:
        """Out of the queue until then, or until another flag joins; a claim is released.

        Raises `UnknownCase`, `ClaimedBy`, `NotOpen`, and `Refused` for a time that is over.
        """
        source_of(by)
        _to_come(until, at)
        with self.database.writing() as db:
            self._snooze(db, case_id, until, by, at)
            return self._one(db, case_id)

    def snooze_many(self, case_ids: Sequence[str], until: datetime, by: str, at: datetime) -> Bulk:
        """Up to 1,000 cases out of the queue until then, at once. Raises `Refused` for a time that is over."""
        source_of(by)
        _to_come(until, at)
        return self._many(case_ids, lambda db, case_id: self._snooze(db, case_id, until, by, at))

    def _snooze(self, db: Connection, case_id: str, until: datetime, by: str, at: datetime) -> None:
        case = self._unclaimed(db, case_id, by, at)
        if case.status != "open":
            raise NotOpen(f"case {case_id} is {case.status}; only an open one can be snoozed")
        self._change(db, case_id, snoozed_until_us=micros(until), claimed_by=None, claimed_until_us=0)
        self._note(db, case_id, "snoozed", by, at, detail=until.isoformat())

    def wake(self, case_id: str, by: str, at: datetime) -> Case:
        """Back into the queue. One that is not snoozed stays as it is. Raises `UnknownCase`."""
        source_of(by)
        with self.database.writing() as db:
            if self._one(db, case_id, lock=True).is_snoozed(at):
                self._change(db, case_id, snoozed_until_us=0)
                self._note(db, case_id, "woken", by, at)
            return self._one(db, case_id)

    def assign(self, case_id: str, to: str | None, by: str, at: datetime) -> Case:
        """It is for this person, or for anybody; only a claim keeps others from deciding it. Raises `UnknownCase`."""
        source_of(by)
        if to is not None:
            source_of(to)
        with self.database.writing() as db:
            if self._one(db, case_id, lock=True).assigned_to != to:
                self._change(db, case_id, assigned_to=to)
                self._note(db, case_id, "assigned", by, at, detail=to)
            return self._one(db, case_id)

    def note(self, case_id: str, text: str, by: str, at: datetime) -> Note:
        """Write on a case. Raises `UnknownCase`, and `Refused` for a text that is empty or too long."""
        source_of(by)
        text = text.strip()
        if not 1 <= len(text) <= NOTE_LIMIT:
            raise Refused(f"a note of {len(text)} characters is not kept; write 1 to {NOTE_LIMIT}")
        with self.database.writing() as db:
            self._one(db, case_id, lock=True)
            if db.execute(select(func.count()).where(NOTES.c.case_id == case_id)).scalar_one() >= NOTES_LIMIT:
                raise Refused(f"case {case_id} has {NOTES_LIMIT} notes, and takes no more")
            row = {"case_id": case_id, "at_us": micros(at), "by": by, "text": text}
            number = int(db.execute(insert(NOTES).values(row).returning(NOTES.c.number)).scalar_one())
            self._note(db, case_id, "noted", by, at, detail=str(number))
        return Note(number=number, at=at, by=by, text=text)

    def notes(self, case_id: str) -> list[Note]:
        """What was written on a case, in order."""
        statement = select(NOTES).where(NOTES.c.case_id == case_id).order_by(NOTES.c.number)
        with self.database.reading() as db:
            rows = db.execute(statement).all()
        return [Note(number=row.number, at=from_micros(row.at_us), by=row.by, text=row.text) for row in rows]

    def add_evidence(self, case_id: str, url: str, title: str, by: str, at: datetime) -> Evidence:
        """Add a link. Raises `UnknownCase`, and `Refused` for a URL that is not of http or https, or too many."""
        source_of(by)
        url, title = checked_url(url), title.strip() or url.strip()[:TITLE_LIMIT]
        if len(title) > TITLE_LIMIT:
            raise Refused(f"a title of {len(title)} characters is too long; write at most {TITLE_LIMIT}")
        with self.database.writing() as db:
            self._one(db, case_id, lock=True)
            if db.execute(select(func.count()).where(EVIDENCE.c.case_id == case_id)).scalar_one() >= EVIDENCE_LIMIT:
                raise Refused(f"case {case_id} has {EVIDENCE_LIMIT} pieces of evidence, and takes no more")
            row = {"case_id": case_id, "at_us": micros(at), "by": by, "url": url, "title": title}
            number = int(db.execute(insert(EVIDENCE).values(row).returning(EVIDENCE.c.number)).scalar_one())
            self._note(db, case_id, "evidence", by, at, detail=str(number))
        return Evidence(number=number, at=at, by=by, url=url, title=title)

    def evidence(self, case_id: str) -> list[Evidence]:
        """The links of a case, in order."""
        statement = select(EVIDENCE).where(EVIDENCE.c.case_id == case_id).order_by(EVIDENCE.c.number)
        with self.database.reading() as db:
            rows = db.execute(statement).all()
        return [
            Evidence(number=row.number, at=from_micros(row.at_us), by=row.by, url=row.url, title=row.title)
            for row in rows
        ]


def _to_come(until: datetime, at: datetime) -> None:
    if until <= at:
        raise Refused(f"{until:%Y-%m-%d %H:%M} UTC is over; snooze a case until a time to come")


def checked_url(url: str) -> str:
    """A URL that a page may link to. Raises `Refused`.

    >>> checked_url(" https://example.org/receipt?id=7 ")
    'https://example.org/receipt?id=7'
    >>> checked_url("javascript:alert(1)")
    Traceback (most recent call last):
    ...
    review.refusals.Refused: 'javascript:alert(1)' is no link; give one that begins with https:// or http://
    """
    url = url.strip()
    try:
        parts = urlsplit(url)
        is_link = parts.scheme in ("http", "https") and bool(parts.hostname) and url.isprintable() and " " not in url
    except ValueError:
        is_link = False
    if not is_link or len(url) > URL_LIMIT:
        raise Refused(f"{url[:80]!r} is no link; give one that begins with https:// or http://")
    return url
