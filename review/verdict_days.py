"""Counts of verdicts over days: those of days that are over are counted once and kept, until one of them changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import Literal

from sqlalchemy import ColumnElement, Connection, Select, and_, func, insert, literal, literal_column, select, text

from review.either import insert_on
from review.engine import CasesUnavailable, Database
from review.tables import CASES, TRAITS
from review.verdict_day_tables import COUNTING, DAY_US, VERDICT_DAYS
from stream.records import micros

Kind = Literal["verdict", "model", "rule", "analyst"]
KINDS: tuple[Kind, ...] = ("verdict", "model", "rule", "analyst")
WHOLE = "whole"
NO_DAY: ColumnElement[int] = literal_column("0")

_c, _d = CASES.c, VERDICT_DAYS.c


def verdicts_of_days(database: Database, since: datetime, until: datetime) -> dict[int, dict[str, int]]:
    """How many cases were decided on each day from one time to the other, by the verdict that they have now."""
    found: dict[int, dict[str, int]] = {}
    for day, _, verdict, cases in _counted(database, "verdict", micros(since), micros(until), by_day=True):
        own = found.setdefault(day, {})
        own[verdict] = own.get(verdict, 0) + cases
    return found


def verdicts_of_names(database: Database, kind: Kind, since: datetime | None) -> dict[str, dict[str, int]]:
    """How many cases of each model, rule or analyst have which verdict, of those decided since a time or ever.

    The audit sample counts for analysts only: no model and no rule flagged it.
    """
    found: dict[str, dict[str, int]] = {}
    for _, name, verdict, cases in _counted(database, kind, None if since is None else micros(since), None):
        own = found.setdefault(name, {})
        own[verdict] = own.get(verdict, 0) + cases
    return found


Row = tuple[int, str, str, int]
Span = tuple[int, int]
"""Of days or of times: from the first, up to and without the second."""


def _counted(
    database: Database, kind: Kind, since_us: int | None, until_us: int | None, by_day: bool = False
) -> list[Row]:
    """Rows of day, name, verdict and cases; of several days without `by_day`, which is then 0."""
    with database.reading() as db:
        span = _decided(db, since_us, until_us)
        missing = [] if span is None else _missing(db, *_over(span))
    for day in missing:
        # A store that cannot be written to right now still has its figures, only later.
        with suppress(CasesUnavailable), database.writing() as db:
            keep_day(db, day)
    with database.reading() as db:
        span = _decided(db, since_us, until_us)
        if span is None:
            return []
        first, last = _over(span)
        if first >= last:
            return _rows(db, _told(kind, *span, by_day))
        rows = _rows(db, _kept(kind, first, last, by_day))
        for start_us, end_us in (
            (span[0], first * DAY_US),
            *_runs(_missing(db, first, last)),
            (last * DAY_US, span[1]),
        ):
            if start_us < end_us:
                rows += _rows(db, _told(kind, start_us, end_us, by_day))
    return rows


def keep_day(db: Connection, day: int) -> None:
    """Count the verdicts of a day, in a transaction that writes."""
    if db.dialect.name == "postgresql":
        db.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": COUNTING})
    whole = insert_on(db, VERDICT_DAYS).values(day=day, kind=WHOLE, name="", verdict="", cases=0)
    if not db.execute(whole.on_conflict_do_nothing()).rowcount:
        return  # Another was here while this one waited.
    for kind in KINDS:
        rows = db.execute(_told(kind, day * DAY_US, (day + 1) * DAY_US, False)).all()
        if rows:
            names = ("name", "verdict", "cases")
            values = [dict(zip(names, row[1:], strict=True)) | {"day": day, "kind": kind} for row in rows]
            db.execute(insert(VERDICT_DAYS), values)


def _decided(db: Connection, since_us: int | None, until_us: int | None) -> Span | None:
    """From the day of the first verdict, if that is in this time, to just after the last; None without any."""
    ends = []
    for order in (_c.decided_at_us, _c.decided_at_us.desc()):
        end = select(_c.decided_at_us).where(_c.status == "decided").order_by(order).limit(1)
        ends.append(db.execute(end).scalar())
    first, last = ends
    if first is None or last is None:
        return None
    first = first // DAY_US * DAY_US  # Nothing was before: the first day is whole.
    first = first if since_us is None else max(first, since_us)
    last = last if until_us is None else min(last, until_us)
    return (first, last + 1) if first <= last else None


def _over(span: Span) -> Span:
    """The days that lie in it whole and before its last one, to which verdicts are still added."""
    return -(-span[0] // DAY_US), (span[1] - 1) // DAY_US


def _missing(db: Connection, first: int, last: int) -> list[int]:
    if first >= last:
        return []
    whole = select(_d.day).where(_d.kind == WHOLE, _d.day >= first, _d.day < last)
    known = set(db.execute(whole).scalars())
    return [day for day in range(first, last) if day not in known]


def _runs(days: list[int]) -> Iterator[Span]:
    """Days that follow each other as one span of time."""
    start = 0
    for place, day in enumerate(days):
        if place + 1 == len(days) or days[place + 1] != day + 1:
            yield days[start] * DAY_US, (day + 1) * DAY_US
            start = place + 1


def _told(kind: Kind, start_us: int, end_us: int, by_day: bool) -> Select[int, str, str, int]:
    """The same from the cases themselves: read from one index, and from that of traits."""
    conditions = [_c.status == "decided", _c.decided_at_us >= start_us, _c.decided_at_us < end_us]
    if kind != "verdict":
        conditions.append(_c.verdict.in_(("fraud", "legit")))
    if kind in ("model", "rule"):
        conditions.append(_c.sampled == 0)
    names: dict[Kind, ColumnElement[str]] = {
        "verdict": literal(""),
        "model": _c.led_by,
        "rule": TRAITS.c.value,
        "analyst": _c.decided_by,
    }
    day = _c.decided_at_us.op("/")(literal_column(str(DAY_US))) if by_day else NO_DAY
    name = names[kind]
    found = select(day.label("of_day"), name.label("name"), _c.verdict, func.count()).where(*conditions)
    if kind == "rule":
        found = found.join_from(CASES, TRAITS, and_(TRAITS.c.case_id == _c.case_id, TRAITS.c.kind == "rule"))
    return found.group_by("of_day", "name", _c.verdict)


def _kept(kind: Kind, first: int, last: int, by_day: bool) -> Select[int, str, str, int]:
    """What is kept of these days."""
    own = (_d.kind == kind, _d.day >= first, _d.day < last)
    if by_day:
        return select(_d.day, _d.name, _d.verdict, _d.cases).where(*own)
    return select(NO_DAY, _d.name, _d.verdict, func.sum(_d.cases)).where(*own).group_by(_d.name, _d.verdict)


def _rows(db: Connection, statement: Select[int, str, str, int]) -> list[Row]:
    return [(int(day), name, verdict, int(cases)) for day, name, verdict, cases in db.execute(statement)]
