"""The queue, page by page and filtered, and reading single cases with all that belongs to them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, func, literal_column, select

from review.case import AuditEntry, Case, Place, shown
from review.case_filter import QueueFilter
from review.case_order import Counted, how_many, ids_of_page
from review.case_rows import COLUMNS, CaseRows, entries
from review.case_sources import Source, sources_of
from review.tables import AUDIT, CASES, FLAGS, TRAITS
from stream.records import Decision, decode

PAGE_LIMIT = 1000
COUNT_LIMIT = 10_000
SEARCH_COUNT_LIMIT = 1_000
"""How far it is worth counting what a search or a rule finds: by then it is to be narrowed, not gone through."""

CASES_OF_ENTITY = 1_000
"""So many of an entity's cases are looked through for its newest events."""

EVERY = QueueFilter()


class Page(NamedTuple):
    """Some cases of a filter, whether others follow, and how many there are in all, or at least."""

    cases: tuple[Case, ...]
    has_more: bool
    total: int
    is_least: bool


class CaseQueue(CaseRows):
    """Reading. Times are arguments: what is snoozed, claimed or overdue depends on them."""

    def queue(
        self,
        limit: int = 50,
        after: Place | None = None,
        filter: QueueFilter = EVERY,
        now: datetime | None = None,
        by: str | None = None,
    ) -> list[Case]:
        """Up to `limit` cases by rank: expected loss and time left, together. Decided ones from the newest verdict on.

        `after` is the `Place` of the last case of the page before. `by` asks: what is theirs depends on it. Without
        `now`, snoozes and claims count as in force, and nothing as overdue. Raises `ValueError` if `limit` is not 1 to
        1000.
        """
        with self.database.reading() as db:
            return self._page(db, sources_of(db, filter), limit, after, filter, now, by)

    def page(
        self,
        limit: int = 50,
        after: Place | None = None,
        filter: QueueFilter = EVERY,
        now: datetime | None = None,
        by: str | None = None,
    ) -> Page:
        """A page as `queue` gives it, with how many cases there are in all: what both ask of a search is asked once."""
        with self.database.reading() as db:
            sources = sources_of(db, filter)
            found = self._page(db, sources, limit + 1, after, filter, now, by)
            has_more = len(found) > limit
            counted = Counted(len(found), False)
            if has_more or after is not None:
                counted = how_many(db, sources, filter, now, by, count_limit(filter))
        return Page(tuple(found[:limit]), has_more, *counted)

    def count(
        self,
        filter: QueueFilter = EVERY,
        now: datetime | None = None,
        by: str | None = None,
        at_most: int | None = None,
    ) -> int:
        """How many cases these are, counted up to `at_most` or `count_limit`: so many means that there may be more.

        Of a search that finds very many, only the first are counted: see `review.case_order.how_many`.
        """
        at_most = count_limit(filter) if at_most is None else at_most
        with self.database.reading() as db:
            return how_many(db, sources_of(db, filter), filter, now, by, at_most).cases

    def open_count(self) -> int:
        """How many cases wait for a verdict, those that are snoozed or proposed among them."""
        with self.database.reading() as db:
            waiting = select(func.count()).where(CASES.c.status.in_(("open", "proposed")))
            return int(db.execute(waiting).scalar_one())

    def case(self, case_id: str) -> Case:
        """One case. Raises `UnknownCase`."""
        with self.database.reading() as db:
            return self._one(db, case_id)

    def decisions(self, case_id: str) -> list[Decision]:
        """The decisions on the events of a case, first come first. Raises `UnknownCase`."""
        with self.database.reading() as db:
            found = self._decisions(db, case_id)
            if not found:
                self._one(db, case_id)
        return found

    def decision(self, case: Case) -> Decision | None:
        """The decision on the gravest event of a case; None for one that was erased."""
        own = select(FLAGS.c.decision).where(FLAGS.c.event_id == case.event_id, FLAGS.c.case_id == case.case_id)
        with self.database.reading() as db:
            content = db.execute(own).scalar()
        return None if content is None else shown(decode(content, Decision))

    def timeline(self, case_id: str, limit: int = 200) -> list[Decision]:
        """The newest flagged events of a case's entity, over its newest 1,000 cases, in the order of their times."""
        with self.database.reading() as db:
            one = db.execute(select(CASES.c.use_case, CASES.c.entity).where(CASES.c.case_id == case_id)).one_or_none()
            if one is None:
                self._one(db, case_id)
                return []
            own = select(CASES.c.case_id).where(CASES.c.use_case == one.use_case, CASES.c.entity == one.entity)
            cases = own.order_by(CASES.c.number.desc()).limit(CASES_OF_ENTITY)
            # A sum is in no index: a database may choose to walk all flags from the newest on.
            order = (FLAGS.c.number + literal_column("0")).desc()
            newest = select(FLAGS.c.number).where(FLAGS.c.case_id.in_(cases)).order_by(order).limit(limit)
            statement = select(FLAGS.c.decision).where(FLAGS.c.number.in_(newest))
            found = [shown(decode(content, Decision)) for content in db.execute(statement).scalars()]
        return sorted(found, key=lambda decision: (decision.event_timestamp, decision.event_id))

    def audit(self, case_id: str, newest: int | None = None) -> list[AuditEntry]:
        """All that was ever done to a case, or the newest of it, in order; nothing if there is no such case."""
        with self.database.reading() as db:
            return [entry for _, entry in entries(db, AUDIT.c.case_id == case_id, newest=newest)]

    def deeds_after(self, number: int, limit: int = 500) -> list[tuple[int, AuditEntry]]:
        """What was done to any case after the deed of this number, in order, with their numbers."""
        with self.database.reading() as db:
            return entries(db, AUDIT.c.number > number, limit)

    def last_deed(self) -> int:
        """The number of the last deed; 0 before the first."""
        with self.database.reading() as db:
            return int(db.execute(select(func.coalesce(func.max(AUDIT.c.number), 0))).scalar_one())

    def rules(self, limit: int = 100) -> list[str]:
        """Rules that fired in cases, for choosing one."""
        return self._distinct(select(TRAITS.c.value).where(TRAITS.c.kind == "rule"), TRAITS.c.value, limit)

    def use_cases(self, limit: int = 100) -> list[str]:
        """Use cases that have cases, for choosing one."""
        return self._distinct(select(CASES.c.use_case), CASES.c.use_case, limit)

    def _page(
        self,
        db: Connection,
        sources: Sequence[Source],
        limit: int,
        after: Place | None,
        filter: QueueFilter,
        now: datetime | None,
        by: str | None,
    ) -> list[Case]:
        if not 1 <= limit <= PAGE_LIMIT:
            raise ValueError(f"limit is {limit}; a page has 1 to {PAGE_LIMIT} cases")
        ids = ids_of_page(db, sources, filter, now, by, after, limit)
        found = {one.case_id: one for one in self._found(db, select(*COLUMNS).where(CASES.c.case_id.in_(ids)))}
        return [found[case_id] for case_id in ids]

    def _decisions(self, db: Connection, case_id: str) -> list[Decision]:
        statement = select(FLAGS.c.decision).where(FLAGS.c.case_id == case_id).order_by(FLAGS.c.number)
        return [shown(decode(content, Decision)) for content in db.execute(statement).scalars()]

    def _distinct(self, every: Select[str], column: ColumnElement[str], limit: int) -> list[str]:
        """Distinct values by their index, one step each, however many rows have them."""
        found: list[str] = []
        statement = every.order_by(column).limit(1)
        with self.database.reading() as db:
            value = db.execute(statement.where(column >= "")).scalar()
            while value is not None and len(found) < limit:
                found.append(value)
                value = db.execute(statement.where(column > value)).scalar()
        return found


def count_limit(filter: QueueFilter) -> int:
    """How far the cases of a filter are counted for a page."""
    return SEARCH_COUNT_LIMIT if filter.text.strip() or filter.rule is not None else COUNT_LIMIT
