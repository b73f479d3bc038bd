"""What a filter finds, on both databases, and that a page of 100,000 cases would be read from an index."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection, Select, text

from review import case_order, case_sources
from review.case import Place
from review.case_filter import ME, NOBODY, QueueFilter
from review.case_order import in_order
from review.case_queue import EVERY
from review.case_sources import sources_of
from review.case_store import CaseStore
from stream.records import Decision
from tests.review.cases import HOUR, NOON, Make


@pytest.fixture
def flags(decision: Make) -> list[Decision]:
    return [
        decision(
            "tx-1001", "Card-77881234", amount=1000.0, outcome="decline", rules=["night"], merchant_id="shop-berlin"
        ),
        decision("tx-1002", "Card-5678", amount=500.0, rules=["rich"], customer_id="Ann.Smith", device_id="d1"),
        decision("tx-2001", "Card-9999", amount=10.0, rules=["night", "rich"], device_id="D1"),
        decision("tx-2002", "Card-0000", amount=1.0, hour=20, device_id="d2"),
    ]


def found(store: CaseStore, filter: QueueFilter, by: str | None = None) -> str:
    """The last digits of the events, in the queue's order."""
    cases = store.queue(filter=filter, now=NOON, by=by)
    assert store.count(filter, now=NOON, by=by) == len(cases)
    return " ".join(case.event_id[-4:] for case in cases)


FOUND = [
    (QueueFilter(), "1001 1002 2001 2002"),
    (QueueFilter(text="card"), "1001 1002 2001 2002"),
    (QueueFilter(text="CARD-5"), "1002"),
    (QueueFilter(text=" 1234 "), "1001"),
    (QueueFilter(text="tx-1"), "1001 1002"),
    (QueueFilter(text="2002"), "2002"),
    (QueueFilter(text="berlin"), "1001"),
    (QueueFilter(text="SMITH"), "1002"),
    (QueueFilter(text="d1"), "1002 2001"),
    (QueueFilter(text="erlin"), ""),
    (QueueFilter(text="100%"), ""),
    (QueueFilter(rule="night"), "1001 2001"),
    (QueueFilter(rule="nigh"), ""),
    (QueueFilter(rule="rich", text="tx-2"), "2001"),
    (QueueFilter(outcome="decline"), "1001"),
    (QueueFilter(use_case="fraud", min_loss=250.0), "1001 1002"),
    (QueueFilter(use_case="other"), ""),
    (QueueFilter(overdue=True), "1001 1002 2001"),
    (QueueFilter(status="decided"), ""),
]


WAYS = {"looked up": (9, 9, 9), "the near ones first": (9, 1, 1), "the nearest alone": (9, 0, 0), "walked": (1, 9, 9)}


def few_rows_are(few: int, near: int, rows_a_case: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a page's worth of rows were as many as a large store has."""
    for module in (case_sources, case_order):
        monkeypatch.setattr(module, "FEW", few)
    monkeypatch.setattr(case_order, "NEAR", near)
    monkeypatch.setattr(case_order, "ROWS_A_CASE", rows_a_case)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_filter_finds_what_it_says_however_many_rows_match(
    stocked: CaseStore, way: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    few_rows_are(*way, monkeypatch)
    for filter, expected in FOUND:
        assert (filter, found(stocked, filter)) == (filter, expected)
        first, *others = expected.split() or [""]
        assert stocked.count(filter, NOON, at_most=1) == bool(first)
        for case in stocked.queue(1, filter=filter, now=NOON):
            assert case.event_id[-4:] == first
            assert [one.event_id[-4:] for one in stocked.queue(9, Place.of(case), filter, NOON)] == others


@pytest.fixture
def stocked(store: CaseStore, flags: list[Decision]) -> CaseStore:
    store.take_in(flags, {})
    return store


def test_who_asks_decides_what_is_theirs(stocked: CaseStore) -> None:
    first, second, third, _ = stocked.queue()
    stocked.claim(first.case_id, "ann", NOON)
    stocked.claim(second.case_id, "bob", NOON)
    stocked.assign(third.case_id, "ann", "bob", NOON)
    assert found(stocked, QueueFilter(claimed="mine"), "ann") == "1001"
    assert found(stocked, QueueFilter(claimed="free"), "ann") == "1001 2001 2002"
    assert found(stocked, QueueFilter(claimed="free")) == "2001 2002"
    assert found(stocked, QueueFilter(claimed="mine")) == ""
    assert (
        found(stocked, QueueFilter(assigned_to=ME), "ann") == found(stocked, QueueFilter(assigned_to="ann")) == "2001"
    )
    assert found(stocked, QueueFilter(assigned_to=ME)) == ""
    assert found(stocked, QueueFilter(assigned_to=NOBODY)) == "1001 1002 2002"
    later = NOON + HOUR
    assert stocked.count(QueueFilter(claimed="free"), now=later, by="cid") == 4


def test_decided_cases_are_listed_from_the_newest_verdict_on(stocked: CaseStore) -> None:
    for hour, case in enumerate(stocked.queue()[:3]):
        stocked.decide(case.case_id, "legit", "ann", NOON + hour * HOUR)
    decided = QueueFilter(status="decided")
    assert found(stocked, decided) == "2001 1002 1001"
    first, second = stocked.queue(2, filter=decided)
    (third,) = stocked.queue(2, Place.of(second), decided)
    assert [first.event_id, second.event_id, third.event_id] == ["tx-2001", "tx-1002", "tx-1001"]


def test_a_count_stops_where_it_is_told(stocked: CaseStore) -> None:
    assert (stocked.count(at_most=3), stocked.count(at_most=10)) == (3, 4)


def test_lists_for_choosing_have_each_word_once(stocked: CaseStore) -> None:
    assert (stocked.rules(), stocked.rules(1), stocked.use_cases()) == (["night", "rich"], ["night"], ["fraud"])


def test_a_filter_survives_a_saved_view_and_refuses_what_it_does_not_know() -> None:
    every = QueueFilter(text="x", rule="night", assigned_to=ME, min_loss=1.0, overdue=True, status="snoozed")
    assert msgspec.json.decode(msgspec.json.encode(every), type=QueueFilter) == every
    with pytest.raises(msgspec.ValidationError, match="status"):
        msgspec.json.decode(b'{"status": "closed"}', type=QueueFilter)


def plan(store: CaseStore, page: Callable[[Connection], Select[Any]]) -> str:
    with store.database.writing() as db:
        explain = "EXPLAIN QUERY PLAN " if store.database.is_sqlite else "EXPLAIN "
        if not store.database.is_sqlite:
            # Few rows would be sorted: as if there were many.
            db.execute(text("SET LOCAL enable_seqscan = off"))
            db.execute(text("SET LOCAL enable_bitmapscan = off"))
            db.execute(text("SET LOCAL enable_sort = off"))
        statement = page(db).limit(50).compile(db, compile_kwargs={"literal_binds": True})
        return " / ".join(str(row[-1]) for row in db.exec_driver_sql(explain + str(statement)))


def plan_of(store: CaseStore, filter: QueueFilter, after: Place | None = None) -> str:
    return plan(store, lambda db: in_order(sources_of(db, filter), filter, NOON, "ann", after))


@pytest.mark.parametrize("filter", [EVERY, QueueFilter(min_loss=1e6, overdue=True, claimed="free", assigned_to=NOBODY)])
def test_a_page_is_read_from_one_index_in_its_order_however_deep_it_lies(
    stocked: CaseStore, filter: QueueFilter
) -> None:
    said = plan_of(stocked, filter, Place(1.0, "x"))
    assert "cases_in_queue" in said
    if stocked.database.is_sqlite:
        assert said.startswith("SEARCH cases USING COVERING INDEX cases_in_queue (status=? AND (rank,case_id)<(?,?))")
    assert "SORT" not in said.upper().replace("ENABLE_SORT", "")
    assert "TEMP B-TREE" not in said


def test_a_search_reads_the_terms_from_their_index(stocked: CaseStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for few in (9, 1):
        few_rows_are(few, 9, 9, monkeypatch)
        said = plan_of(stocked, QueueFilter(text="tx"))
        assert "SCAN terms" not in said
        assert "Seq Scan" not in said


@pytest.mark.parametrize(
    "filter", [QueueFilter(text="tx-20"), QueueFilter(rule="night", min_loss=1.0, outcome="review")]
)
def test_of_a_search_with_few_rows_their_cases_alone_are_looked_at(stocked: CaseStore, filter: QueueFilter) -> None:
    for after in (None, Place(1.0, "x")):
        said = plan_of(stocked, filter, after)
        if stocked.database.is_sqlite:
            assert said.startswith("SEARCH cases USING COVERING INDEX cases_found (case_id=? AND status=?)")
        else:
            assert "Sort Key: ((cases.rank + " in said


def test_decided_cases_are_listed_from_their_index(stocked: CaseStore) -> None:
    assert "cases_by_decision" in plan_of(stocked, QueueFilter(status="decided"), Place(1.0, "x"))
