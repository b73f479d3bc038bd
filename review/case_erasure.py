"""Take an entity out of the case store: its flagged events go, and a case without events goes with them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import cast

import msgspec
from sqlalchemy import Connection, Table, bindparam, delete, select, text, update

from review.case import joined_by, opened_by
from review.case_filter import QueueFilter
from review.case_rows import figures
from review.either import insert_on
from review.engine import CasesUnavailable
from review.intake import Intake, write_traces
from review.precision import leader_of
from review.tables import CASES, EVIDENCE, FLAGS, NOTES, OUTBOX, TERMS, TRAITS, VECTORS, VIEWS
from review.terms import names_somebody, normal, terms_of
from review.traits import traits_of
from review.waiting_word_tables import WAITING_WORDS
from review.written_words import WRITTEN, Without, rewrite_words, search_words
from stream.records import Decision, Label, decode
from stream.sqlite_file import scrub

IsOf = Callable[[Decision | Label], bool]

FETCHED = 1000
OF_CASES: tuple[Table, ...] = (TRAITS, TERMS, WAITING_WORDS, VECTORS, NOTES, EVIDENCE)
"""What is said of a case and not of one event."""


class Erasure(Intake):
    """Forgetting: what is left of a case is as if the others alone had come, and nothing deleted is left anywhere."""

    def flagged(self, is_of: IsOf) -> list[Decision]:
        """The flagged decisions that are about somebody."""
        with self.database.reading() as db:
            return search_cases(db, is_of)[0]

    def named(self, without: Without) -> int:
        """How many texts that people wrote name somebody, in notes, queries, audits and wherever else they write."""
        with self.database.reading() as db:
            return len(search_words(db, without))

    def erase(self, is_of: IsOf, without: Without | None = None) -> int:
        """Delete the events and labels of somebody, cases without other events too; how many rows. Repeats do nothing.

        Notes and links on these cases go as well, since they may name anybody, and views that search for one of the
        events. Where else people wrote the name, `without` gives what stays. The audit of cases stays: it names cases,
        events and analysts, and no entity.
        """
        with self.database.writing() as db:
            decisions, labels = search_cases(db, is_of)
            touched = _erase_rows(db, [one.event_id for one in decisions], labels)
            for case_id in touched:
                self._make_anew(db, case_id)
            _erase_views(db, decisions)
            rewritten = rewrite_words(db, without) if without is not None else 0
        self._scrub()
        return len(decisions) + len(labels) + rewritten

    def _make_anew(self, db: Connection, case_id: str) -> None:
        """The figures of a case by the events that are left; without any, it goes."""
        left = self._logged(db, case_id)
        if not left:
            db.execute(delete(CASES).where(CASES.c.case_id == case_id))
            return
        case, gravest = opened_by(left[0], self.policy), left[0]
        for decision in left[1:]:
            before, case = case, joined_by(case, decision, self.policy)
            gravest = decision if case.event_id != before.event_id else gravest
        changed = figures(case) | {"entity": case.entity, "led_by": leader_of(gravest)}
        db.execute(update(CASES).where(CASES.c.case_id == case_id).values(changed))
        traits = {(kind, value, case_id) for one in left for kind, value in traits_of(one)}
        write_traces(db, traits, {case_id: gravest})
        # Where the case waits, a trigger has them among its words too.
        terms = sorted({term for one in left for term in terms_of(one, case_id)})
        db.execute(insert_on(db, TERMS).on_conflict_do_nothing(), [{"term": one, "case_id": case_id} for one in terms])

    def _logged(self, db: Connection, case_id: str) -> list[Decision]:
        rows = db.execute(select(FLAGS.c.decision).where(FLAGS.c.case_id == case_id).order_by(FLAGS.c.number))
        return [decode(content, Decision) for content in rows.scalars()]

    def _scrub(self) -> None:
        """Leave nothing of deleted rows in the tables' files."""
        engine = self.database.engine
        if self.database.is_sqlite:
            with closing(engine.raw_connection()) as connection:
                try:
                    scrub(cast(sqlite3.Connection, connection.driver_connection))
                except sqlite3.OperationalError as error:
                    raise CasesUnavailable(str(error)) from error
            return
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as db:
            for name in sorted({table.name for table in (CASES, FLAGS, OUTBOX, *OF_CASES, *(of for of, _ in WRITTEN))}):
                db.execute(text(f"VACUUM {name}"))


def search_cases(db: Connection, is_of: IsOf) -> tuple[list[Decision], list[int]]:
    """The flagged decisions about the entity, and the numbers of its labels in the outbox."""
    rows = db.execute(select(FLAGS.c.decision).execution_options(yield_per=FETCHED)).scalars()
    flags: Iterator[Decision] = (decode(content, Decision) for content in rows)
    decisions = [decision for decision in flags if is_of(decision)]
    labels = db.execute(select(OUTBOX.c.number, OUTBOX.c.label).execution_options(yield_per=FETCHED))
    return decisions, [number for number, content in labels if is_of(decode(content, Label))]


def _erase_rows(db: Connection, events: list[str], labels: list[int]) -> list[str]:
    """Delete flags and labels, and all that is said of their cases; the cases whose figures must be made anew."""
    touched: dict[str, None] = {}
    for event_id in events:
        gone = db.execute(delete(FLAGS).where(FLAGS.c.event_id == event_id).returning(FLAGS.c.case_id))
        touched |= dict.fromkeys(gone.scalars())
    if labels:
        statement = delete(OUTBOX).where(OUTBOX.c.number == bindparam("of"))
        db.execute(statement, [{"of": number} for number in labels])
    for case_id in touched:
        for table in OF_CASES:
            db.execute(delete(table).where(table.c.case_id == case_id))
    return list(touched)


def _erase_views(db: Connection, decisions: list[Decision]) -> None:
    """Views that search for an id which only the erased events had."""
    for owner, name, content in db.execute(select(VIEWS.c.owner, VIEWS.c.name, VIEWS.c.filter)).all():
        words = msgspec.json.decode(content, type=QueueFilter).text
        if names_somebody(words, decisions) and not _is_term(db, normal(words.strip())):
            db.execute(delete(VIEWS).where(VIEWS.c.owner == owner, VIEWS.c.name == name))


def _is_term(db: Connection, word: str) -> bool:
    """Whether a case is found by exactly this, closed or waiting."""
    waits = select(WAITING_WORDS.c.case_id).where(WAITING_WORDS.c.kind == "term", WAITING_WORDS.c.word == word)
    closed = select(TERMS.c.case_id).where(TERMS.c.term == word)
    return any(db.execute(one.limit(1)).first() is not None for one in (waits, closed))
