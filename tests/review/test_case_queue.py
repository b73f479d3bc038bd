from __future__ import annotations

import pytest

from review.case import Case, Place
from review.case_store import CaseStore
from tests.review.cases import HOUR, NOON, Make


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


def test_twice_the_loss_weighs_as_much_as_being_due_four_hours_earlier(store: CaseStore, decision: Make) -> None:
    store.take_in(
        [
            decision("twice", "a", 0.5, 400.0, hour=4),
            decision("once", "b", 0.5, 200.0, hour=0.1),
            decision("old", "c", 0.5, 200.0, hour=-0.1),
            decision("declined", "d", 0.5, 50.0, hour=3, outcome="decline"),
        ],
        {},
    )
    assert [case.event_id for case in store.queue()] == ["declined", "old", "twice", "once"]
    (declined, old, *_) = store.queue()
    assert (declined.due_at - declined.opened_at, old.due_at - old.opened_at) == (4 * HOUR, 24 * HOUR)


def test_a_case_rises_when_another_flag_joins_it(store: CaseStore, decision: Make) -> None:
    store.take_in([decision("a1", "a", amount=100.0), decision("b1", "b", amount=150.0)], {})
    assert [case.entity for case in store.queue()] == ["b", "a"]
    store.take_in([decision("a2", "a", amount=100.0)], {})
    assert [case.entity for case in store.queue()] == ["a", "b"]


def test_paging_through_seven_hundred_cases_shows_each_once_and_in_order(store: CaseStore, decision: Make) -> None:
    flags = [decision(f"e{n}", f"c{n}", amount=float(n % 50), hour=n % 7) for n in range(700)]
    store.take_in(flags, {})
    pages: list[list[Case]] = []
    after: Place | None = None
    while page := store.queue(150, after):
        pages.append(page)
        after = Place.read(Place.of(page[-1]).text)
    seen = [case for page in pages for case in page]
    assert [len(page) for page in pages] == [150] * 4 + [100]
    assert len({case.case_id for case in seen}) == 700 == store.open_count()
    assert seen == sorted(seen, key=Place.of, reverse=True)


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
