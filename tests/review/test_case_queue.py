from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from review.case import Case, Place
from review.case_store import CaseStore
from tests.review.cases import NOON, Make


def test_the_queue_has_the_greatest_expected_loss_first_and_the_oldest_among_equals(
    store: CaseStore, decision: Make
) -> None:
    store.take_in(
        [
            decision("small", "a", 0.9, 10.0),
            decision("young", "b", 0.5, 200.0, hour=2),
            decision("old", "c", 0.25, 400.0, hour=1),
            decision("large", "d", 0.3, 9000.0, hour=3),
        ],
        {},
    )
    assert [case.event_id for case in store.queue()] == ["large", "old", "young", "small"]


def test_a_case_rises_when_another_flag_joins_it(store: CaseStore, decision: Make) -> None:
    store.take_in([decision("a1", "a", amount=100.0), decision("b1", "b", amount=150.0)], {})
    assert [case.entity for case in store.queue()] == ["b", "a"]
    store.take_in([decision("a2", "a", amount=100.0)], {})
    assert [case.entity for case in store.queue()] == ["a", "b"]


def test_paging_through_ten_thousand_cases_shows_each_once_and_in_order(store: CaseStore, decision: Make) -> None:
    flags = [decision(f"e{n}", f"c{n}", amount=float(n % 50), hour=n % 7) for n in range(10_000)]
    store.take_in(flags, {})
    pages: list[list[Case]] = []
    after: Place | None = None
    while page := store.queue(300, after):
        pages.append(page)
        after = Place.of(page[-1])
    seen = [case for page in pages for case in page]
    assert [len(page) for page in pages] == [300] * 33 + [100]
    assert len({case.case_id for case in seen}) == 10_000 == store.open_count()
    assert seen == sorted(seen, key=lambda case: (-case.expected_loss, case.opened_at, case.case_id))


def test_a_page_is_read_from_the_index_however_deep_it_lies(path: Path, store: CaseStore) -> None:
    with closing(sqlite3.connect(path)) as db:
        found = "SELECT * FROM cases WHERE status = 'open' AND (rank, opened_at_us, case_id) > (?, ?, ?)"
        plan = db.execute(f"EXPLAIN QUERY PLAN {found} ORDER BY rank, opened_at_us, case_id LIMIT 9", (0.0, 0, ""))
        assert [row[3] for row in plan] == [
            "SEARCH cases USING INDEX cases_in_queue ((rank,opened_at_us,case_id)>(?,?,?))"
        ]


def test_cases_decided_while_somebody_pages_move_no_other_case(store: CaseStore, decision: Make) -> None:
    store.take_in([decision(f"e{n}", f"c{n}", amount=100.0 - n) for n in range(6)], {})
    first = store.queue(2)
    for case in first:
        store.decide(case.case_id, "legit", "ann", NOON)
    assert [case.event_id for case in store.queue(2, Place.of(first[-1]))] == ["e2", "e3"]


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_a_page_is_bounded(store: CaseStore, limit: int) -> None:
    with pytest.raises(ValueError, match=f"limit is {limit}"):
        store.queue(limit)
