"""What pages ask of the database: by plans and not by times, which say something of the machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, text

from review.case import Place
from review.case_filter import QueueFilter
from review.case_queue import EVERY
from review.case_store import CaseStore
from review.verdict_figures import times_to_verdict, verdicts_a_day, waiting
from review.widget_content import entity_risk
from tests.review.flagged import flagged
from tests.review.office import NOON
from tests.review.quick_stores import ON_BOTH, new_store_at

LARGE = ("cases", "flags", "traits", "terms", "waiting_words", "vectors", "outbox", "audit")
FILTERS = {
    "all": EVERY,
    "declines": QueueFilter(outcome="decline"),
    "for me": QueueFilter(assigned_to="@me", claimed="free"),
    "overdue": QueueFilter(overdue=True, min_loss=5.0),
    "search": QueueFilter(text="shop"),
    "rule": QueueFilter(rule="night"),
    "rule and search": QueueFilter(rule="night", text="card-1"),
    "snoozed": QueueFilter(status="snoozed", text="shop"),
    "proposed": QueueFilter(status="proposed"),
    "decided": QueueFilter(status="decided", outcome="review"),
    "decided, search": QueueFilter(status="decided", text="shop", rule="night"),
}


@pytest.fixture
def worked(one_place: str) -> Iterator[CaseStore]:
    new_store_at(one_place)
    with closing(CaseStore(one_place)) as store:
        store.take_in(flagged(30, NOON, cards=20), {})
        ids = [case.case_id for case in store.queue(30)]
        store.decide_many(ids[:8], "fraud", "ann", NOON)
        yield store


@ON_BOTH
def test_no_page_reads_a_whole_table(worked: CaseStore) -> None:
    assert whole_tables(worked, lambda: audit_without_index(worked)), "the test sees what it looks for"
    for name, filter in FILTERS.items():
        pages: list[Callable[[], object]] = [
            lambda filter=filter: worked.page(5, None, filter, NOON, "ann"),  # type: ignore[misc]
            lambda filter=filter: worked.page(5, Place(0.0, "4a42"), filter, NOON, "ann"),  # type: ignore[misc]
            lambda filter=filter: worked.count(filter, NOON, "ann"),  # type: ignore[misc]
        ]
        for page in pages:
            assert whole_tables(worked, page) == [], name
    case_id = worked.queue(1)[0].case_id
    since, until = NOON - timedelta(days=9), NOON + timedelta(days=9)
    rest: dict[str, Callable[[], object]] = {
        "next": lambda: worked.claim_next("ann", NOON),
        "next of a search": lambda: worked.claim_next("bob", NOON, QueueFilter(text="shop")),
        "case": lambda: worked.decision(worked.case(case_id)),
        "timeline": lambda: worked.timeline(case_id),
        "audit": lambda: worked.audit(case_id, 5),
        "news": lambda: worked.deeds_after(worked.last_deed()),
        "labels": lambda: worked.labels(case_id),
        "nearest": lambda: worked.nearest(case_id),
        "choices": lambda: (worked.use_cases(), worked.rules()),
        "open": worked.open_count,
        "waiting": lambda: waiting(worked.database, until),
        "days": lambda: verdicts_a_day(worked.database, since, until),
        "times": lambda: times_to_verdict(worked.database, since),
        "precision": lambda: [worked.precision(by, since) for by in ("model", "rule", "analyst")],
        "entity": lambda: entity_risk(worked, "fraud", "card-1", NOON),
    }
    for name, page in rest.items():
        assert whole_tables(worked, page) == [], name


def audit_without_index(store: CaseStore) -> object:
    with store.database.reading() as db:
        return db.execute(text("SELECT count(*) FROM audit WHERE detail = 'x'")).scalar()


def whole_tables(store: CaseStore, ask: Callable[[], object]) -> list[str]:
    """What is read from end to end: a scan, which of an index may end early only where its order is the page's."""
    with heard(store) as said:
        ask()
    found = []
    with store.database.engine.connect() as db:
        if not store.database.is_sqlite:
            # Of a table that is small PostgreSQL reads all: now only where it cannot do otherwise.
            db.exec_driver_sql("SET LOCAL enable_seqscan = off")
        for statement, parameters in list(said):
            if not statement.startswith(("SELECT", "WITH")) or "advisory" in statement or " FOR UPDATE" in statement:
                continue
            prefix = "EXPLAIN QUERY PLAN " if store.database.is_sqlite else "EXPLAIN "
            for row in db.exec_driver_sql(prefix + statement, parameters).all():
                words = str(row[-1]).replace("->", "").split()
                if words[0] == "SCAN" and words[1] in LARGE:
                    found.append(f"{' '.join(words)}: {statement}")
                if words[:3] == ["Seq", "Scan", "on"] and words[3] in LARGE:
                    found.append(f"{' '.join(words)}: {statement}")
        db.rollback()
    return found


@contextmanager
def heard(store: CaseStore) -> Iterator[list[tuple[str, Any]]]:
    """Statements as they are asked."""
    said: list[tuple[str, Any]] = []

    def hear(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        said.append((statement, parameters))

    event.listen(store.database.engine, "before_cursor_execute", hear)
    try:
        yield said
    finally:
        event.remove(store.database.engine, "before_cursor_execute", hear)
