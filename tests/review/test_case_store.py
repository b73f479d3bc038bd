from __future__ import annotations

import contextlib
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import QueuePool, create_engine

from review.case_store import CaseStore, Taken
from review.engine import CasesUnavailable, Database
from tests.review.cases import NOON, PLACE, Crash, Make, crashing_at, only

# From decisions to cases


def test_a_flag_opens_a_case_that_says_why(store: CaseStore, decision: Make) -> None:
    flag = decision("e1", "card-7", 0.8, 250.0, outcome="decline", rules=["rich"], reason="25 times the usual")
    assert store.take_in([flag], {}) == Taken(opened=1)
    case = only(store)
    assert (case.entity, case.event_id, case.events, case.opened_at) == ("card-7", "e1", ("e1",), flag.scored_at)
    assert (case.outcome, case.score, case.amount, case.currency) == ("decline", 0.8, 250.0, "EUR")
    assert (case.expected_loss, case.rules, case.reasons) == (200.0, ("rich",), tuple(flag.reasons))
    assert (case.status, case.verdict, case.decided_by, case.decided_at) == ("open", None, None, None)
    assert store.case(case.case_id) == case
    assert store.decisions(case.case_id) == [flag]


def test_an_approved_event_opens_no_case(store: CaseStore, decision: Make) -> None:
    assert store.take_in([decision("e1", outcome="approve")], {}) == Taken()
    assert store.queue() == []


def test_a_replayed_decision_opens_no_second_case(store: CaseStore, decision: Make) -> None:
    flags = [decision("e1", "a"), decision("e2", "a"), decision("e3", "b")]
    store.take_in(flags, {})
    before = store.queue()
    assert store.take_in([*flags, *flags], {}) == Taken(repeated=6)
    assert store.queue() == before


def test_a_replayed_decision_of_a_decided_case_opens_no_second_case(store: CaseStore, decision: Make) -> None:
    store.take_in([decision("e1")], {})
    store.decide(only(store).case_id, "fraud", "ann", NOON)
    store.take_in([decision("e1")], {})
    assert store.queue() == []


def test_a_new_flag_joins_its_cards_open_case(store: CaseStore, decision: Make) -> None:
    flags = [
        decision("e1", score=0.5, amount=100.0, rules=["night"], reason="small"),
        decision("e2", score=0.9, amount=1000.0, hour=1, outcome="decline", rules=["rich", "night"], reason="large"),
        decision("e3", score=0.99, amount=10.0, hour=2, reason="tiny"),
    ]
    assert store.take_in(flags, {}) == Taken(opened=1, joined=2)
    case = only(store)
    assert (case.events, case.opened_at) == (("e1", "e2", "e3"), flags[0].scored_at)
    assert case.expected_loss == pytest.approx(50.0 + 900.0 + 9.9)
    assert (case.outcome, case.rules) == ("decline", ("night", "rich"))
    assert (case.event_id, case.score, case.amount, case.reasons[0].text) == ("e2", 0.9, 1000.0, "large")


def test_flags_of_other_cards_stay_apart(store: CaseStore, decision: Make) -> None:
    store.take_in([decision("e1", "a"), decision("e2", "b")], {})
    assert sorted(case.events for case in store.queue()) == [("e1",), ("e2",)]


def test_a_flag_after_the_verdict_opens_another_case(store: CaseStore, decision: Make) -> None:
    store.take_in([decision("e1")], {})
    first = only(store)
    store.decide(first.case_id, "fraud", "ann", NOON)
    assert store.take_in([decision("e2")], {}) == Taken(opened=1)
    assert only(store).events == ("e2",)
    assert store.case(first.case_id).events == ("e1",)


def test_a_flag_joins_the_newest_of_two_open_cases(store: CaseStore, decision: Make) -> None:
    store.take_in([decision("e1")], {})
    first = only(store).case_id
    store.decide(first, "fraud", "ann", NOON)
    store.take_in([decision("e2")], {})
    store.reopen(first, "ann", NOON)
    store.take_in([decision("e3")], {})
    assert sorted(case.events for case in store.queue()) == [("e1",), ("e2", "e3")]


def test_a_full_case_takes_no_more_and_the_next_event_opens_another(decision: Make) -> None:
    with closing(CaseStore(":memory:", events_limit=2)) as store:
        assert store.take_in([decision(f"e{number}") for number in range(5)], {}) == Taken(opened=3, joined=2)
        assert sorted(case.events for case in store.queue()) == [("e0", "e1"), ("e2", "e3"), ("e4",)]


def test_a_store_rebuilt_from_the_same_decisions_has_the_same_cases(store: CaseStore, decision: Make) -> None:
    flags = [decision("e1", "a"), decision("e2", "b"), decision("e3", "a")]
    store.take_in(flags, {})
    with closing(CaseStore(":memory:")) as rebuilt:
        for flag in flags:
            rebuilt.take_in([flag], {})
        assert rebuilt.queue() == store.queue()


# Offsets


def test_offsets_are_kept_with_the_cases_and_never_go_back(place: str, decision: Make) -> None:
    with closing(CaseStore(place)) as store:
        store.take_in([decision("e1")], {("redis", PLACE): 7})
        store.take_in([], {("redis", PLACE): 5})
    with closing(CaseStore(place)) as store:
        assert (store.offset("redis", PLACE), store.offset("kafka:x", PLACE)) == (7, 0)
        store.rewind("redis", PLACE)
        assert store.offset("redis", PLACE) == 0


def test_a_crash_at_any_statement_leaves_neither_cases_nor_offsets(store: CaseStore, decision: Make) -> None:
    store.take_in([decision("e0", "a")], {})
    flags = [decision("e1", "a"), decision("e2", "b"), decision("e3", "c")]
    for nth in count(1):
        with crashing_at(store, nth), contextlib.suppress(Crash):
            assert store.take_in(flags, {("redis", PLACE): 3}) == Taken(opened=2, joined=1)
            break
        assert (store.open_count(), store.offset("redis", PLACE), len(store.deeds_after(0))) == (1, 0, 1)
    assert nth > 8
    assert (store.open_count(), store.offset("redis", PLACE), len(store.deeds_after(0))) == (3, 3, 4)


def test_a_store_whose_connections_are_all_taken_is_unavailable_for_a_while(path: Path) -> None:
    engine = create_engine(f"sqlite:///{path}", poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=0.01)
    with closing(Database(engine)) as database:
        with database.reading(), pytest.raises(CasesUnavailable, match="all its connections are taken"):
            database.reading().__enter__()
        with database.reading():
            pass
