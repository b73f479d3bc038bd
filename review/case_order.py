"""The queue's order and what a filter asks of it, said so that a database reads no more than it must."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, and_, func, literal, literal_column, or_, select, tuple_

from review.case import Place
from review.case_filter import ME, NOBODY, QueueFilter
from review.case_sources import FEW, MANY, Condition, Source
from review.tables import CASES
from review.waiting_word_tables import WAITING_WORDS
from stream.records import micros

NEAR, NEAR_WAITING = 2_000, 500
"""So many cases from the beginning of a page on are looked through before a search with many rows orders them: of what
is common a page is soon full. Rows of waiting cases are ordered by themselves, so that less is worth a look."""
ROWS_A_CASE = 5
"""A count first looks up so many rows for each case that it wants: one has several, and not each case is open."""
CHUNKS = (200, 2_000)
"""So many of what a search found are looked up at once, the first time and from then on."""
ROUNDS = (500, 20_000, 200_000)
"""So many of a search's rows are put in order, the first time and then."""


class Counted(NamedTuple):
    """How many cases there are; `is_least`: at least."""

    cases: int
    is_least: bool


def ids_of_page(
    db: Connection,
    sources: Sequence[Source],
    filter: QueueFilter,
    now: datetime | None,
    by: str | None,
    after: Place | None,
    limit: int,
) -> list[str]:
    """The first cases of a filter, whose sources these are, after a place."""
    waits = filter.status != "decided"
    if sources and (sources[0].size > MANY if waits else NEAR <= sources[0].size < FEW):
        near = _nearby(sources, filter, now, by, after, NEAR_WAITING if waits else NEAR)
        found = list(db.execute(near.limit(limit)).scalars())
        if len(found) == limit:
            return found
    if sources and waits:
        return first_named(db, sources, conditions(filter, now, by), after, limit)
    return list(db.execute(in_order(sources, filter, now, by, after).limit(limit)).scalars())


def first_named(
    db: Connection,
    sources: Sequence[Source],
    wanted: Sequence[Condition],
    after: Place | None,
    limit: int,
    lock: bool = False,
) -> list[str]:
    """The first waiting cases that the sources name and that are as wanted, in the queue's order.

    The rows of a search have the places of their cases: they are put in order by themselves, and then looked up until
    the page is full. `lock`: what is found is locked, and what another has locked is passed over.
    """
    own = [*wanted, *(source.has(CASES.c.case_id) for source in sources[1:])]
    found: list[str] = []
    for some in _in_chunks(db, sources[0], after):
        statement = select(CASES.c.case_id).where(CASES.c.case_id.in_(some), *own)
        # A sum is in no index: a database that may choose would rather walk the whole queue in its order.
        order = (CASES.c.rank + literal_column("0")).desc(), CASES.c.case_id.desc()
        statement = statement.order_by(*order).limit(limit - len(found))
        if lock:
            statement = statement.with_for_update(skip_locked=True, of=CASES)
        found += db.execute(statement).scalars()
        if len(found) == limit:
            break
    return found


def _in_chunks(db: Connection, source: Source, after: Place | None) -> Iterator[list[str]]:
    """The cases that a source names, in the queue's order after a place."""
    w = WAITING_WORDS.c
    first = CHUNKS[0]
    for take in ROUNDS:
        statement = select(w.rank, w.case_id).where(*source.rows).order_by(w.rank.desc(), w.case_id.desc())
        if after is not None:
            statement = statement.where(tuple_(w.rank, w.case_id) < tuple_(literal(after.key), literal(after.case_id)))
        rows = db.execute(statement.limit(take)).all()
        ids = list(dict.fromkeys(row.case_id for row in rows))
        start = 0
        while start < len(ids):
            yield ids[start : start + first]
            start, first = start + first, CHUNKS[1]
        if len(rows) < take:
            return
        after = Place(rows[-1].rank, rows[-1].case_id)


def how_many(
    db: Connection, sources: Sequence[Source], filter: QueueFilter, now: datetime | None, by: str | None, at_most: int
) -> Counted:
    """How many cases a filter has, counted up to so many; of a search among its first `MANY` rows."""
    if not sources:
        cases = _counted(db, in_order((), filter, now, by), at_most)
        return Counted(cases, cases == at_most)
    for rows in (at_most * ROWS_A_CASE, MANY):
        if rows < sources[0].size < FEW or filter.status != "decided":
            some = [sources[0].names(rows), *(one.has(CASES.c.case_id) for one in sources[1:])]
            cases = _counted(db, select(CASES.c.case_id).where(*conditions(filter, now, by), *some), at_most)
            if cases == at_most or sources[0].size <= rows:
                return Counted(cases, cases == at_most)
            if rows == MANY and filter.status != "decided":
                return Counted(cases, True)
    cases = _counted(db, in_order(sources, filter, now, by), at_most)
    return Counted(cases, cases == at_most)


def in_order(
    sources: Sequence[Source], filter: QueueFilter, now: datetime | None, by: str | None, after: Place | None = None
) -> Select[str]:
    """The ids of the cases of a filter in their order: read from one index, and from that of a search."""
    is_few = bool(sources) and sources[0].size < FEW
    key = _key(filter)
    if is_few:
        # A sum is in no index: a database that may choose would rather walk the whole queue in its order.
        key = key + literal_column("0")
    statement = _ordered(filter, key, now, by, after)
    for place, source in enumerate(sources):
        statement = statement.where(source.names() if is_few and place == 0 else source.has(CASES.c.case_id))
    return statement


def _nearby(
    sources: Sequence[Source], filter: QueueFilter, now: datetime | None, by: str | None, after: Place | None, of: int
) -> Select[str]:
    """Those of them that are among the next so many cases of the queue."""
    key = _key(filter)
    near = _ordered(filter, key, now, by, after).add_columns(key.label("key")).limit(of).subquery()
    found = select(near.c.case_id).where(*(source.has(near.c.case_id) for source in sources))
    return found.order_by(near.c.key.desc(), near.c.case_id.desc())


def _key(filter: QueueFilter) -> ColumnElement[Any]:
    return CASES.c.decided_at_us if filter.status == "decided" else CASES.c.rank


def _ordered(
    filter: QueueFilter, key: ColumnElement[Any], now: datetime | None, by: str | None, after: Place | None
) -> Select[str]:
    statement = select(CASES.c.case_id).where(*conditions(filter, now, by))
    if after is not None:
        start = int(after.key) if filter.status == "decided" else after.key
        statement = statement.where(tuple_(key, CASES.c.case_id) < tuple_(literal(start), literal(after.case_id)))
    return statement.order_by(key.desc(), CASES.c.case_id.desc())


def _counted(db: Connection, statement: Select[str], at_most: int) -> int:
    return int(db.execute(select(func.count()).select_from(statement.limit(at_most).subquery())).scalar_one())


def conditions(filter: QueueFilter, now: datetime | None, by: str | None) -> list[Condition]:
    """What the columns of a case must be. Without `now`, nothing has ended."""
    c, at_us = CASES.c, 0 if now is None else micros(now)
    is_open = filter.status in ("open", "snoozed")
    found = [c.status == ("open" if is_open else filter.status)]
    if is_open:
        found.append(c.snoozed_until_us > at_us if filter.status == "snoozed" else c.snoozed_until_us <= at_us)
    for column, value in ((c.outcome, filter.outcome), (c.use_case, filter.use_case)):
        if value is not None:
            found.append(column == value)
    if filter.assigned_to == NOBODY:
        found.append(c.assigned_to.is_(None))
    elif filter.assigned_to is not None:
        found.append(c.assigned_to == ((by or "") if filter.assigned_to == ME else filter.assigned_to))
    if filter.claimed == "mine":
        found.append(and_(c.claimed_by == (by or ""), c.claimed_until_us > at_us))
    elif filter.claimed == "free":
        found.append(free(by, at_us))
    if filter.min_loss is not None:
        found.append(c.expected_loss >= filter.min_loss)
    if filter.overdue:
        found.append(c.due_at_us < at_us)
    return found


def free(by: str | None, at_us: int) -> Condition:
    """Nobody else's claim is in force."""
    nobody = or_(CASES.c.claimed_by.is_(None), CASES.c.claimed_until_us <= at_us)
    return nobody if by is None else or_(nobody, CASES.c.claimed_by == by)
