"""Which rows of other tables name the cases of a filter: those of a search and of a rule, and how many they are."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Table, func, literal, select

from review.case_filter import QueueFilter
from review.tables import CASES, TERMS, TRAITS
from review.terms import searched
from review.waiting_word_tables import WAITING_WORDS

FEW = 40_000
"""Below so many rows the decided cases that they name are looked up and put in order. From then on these are walked in
their order, and each on that way is asked for its rows, until the page is full."""
MANY = 20_000
"""No more rows of cases that wait are counted: what is beyond only says that there are more."""

Condition = ColumnElement[bool]
_w = WAITING_WORDS.c


class Source(NamedTuple):
    """Rows of a table, and how many there are, counted up to `FEW` or `MANY`."""

    table: Table
    rows: tuple[Condition, ...]
    size: int

    def names(self, limit: int | None = None) -> Condition:
        """The case is one of those that these rows name, or the first so many of them: all are read, then looked up."""
        return CASES.c.case_id.in_(select(self.table.c.case_id).where(*self.rows).limit(limit))

    def has(self, case_id: ColumnElement[str]) -> Condition:
        """The case is named by one of these rows, which is looked for when the case is reached."""
        # A scalar with a limit, since PostgreSQL would make a join of EXISTS, and read all the rows first.
        own = select(literal(1)).where(*self.rows, self.table.c.case_id == case_id).limit(1)
        return own.correlate(case_id.table).scalar_subquery().is_not(None)


def sources_of(db: Connection, filter: QueueFilter) -> list[Source]:
    """The rows that a case of this filter must be named by, the fewest first; none for a filter of columns alone."""
    found: list[tuple[Table, tuple[Condition, ...]]] = []
    words, waits = searched(filter.text), filter.status != "decided"
    if words is not None:
        first, above = words
        if waits:
            found.append((WAITING_WORDS, (_w.kind == "term", _w.word >= first, _w.word < above)))
        else:
            found.append((TERMS, (TERMS.c.term >= first, TERMS.c.term < above)))
    if filter.rule is not None:
        if waits:
            found.append((WAITING_WORDS, (_w.kind == "rule", _w.word == filter.rule)))
        else:
            found.append((TRAITS, (TRAITS.c.kind == "rule", TRAITS.c.value == filter.rule)))
    at_most = MANY + 1 if waits else FEW
    sized = (Source(table, rows, _size(db, table, rows, at_most)) for table, rows in found)
    return sorted(sized, key=lambda one: one.size)


def _size(db: Connection, table: Table, rows: tuple[Any, ...], at_most: int) -> int:
    some = select(literal(1)).select_from(table).where(*rows).limit(at_most).subquery()
    return int(db.execute(select(func.count()).select_from(some)).scalar_one())
