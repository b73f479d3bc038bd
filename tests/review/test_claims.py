"""Who is at which case, also when many ask at once."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from threading import Barrier, Thread

import pytest
from sqlalchemy import text

from review.case import Deed
from review.case_filter import QueueFilter
from review.case_store import CaseStore
from review.refusals import ClaimedBy, NotOpen
from tests.review.cases import NOON, Make, only
from tests.until import LIMIT_S, until

MINUTE = timedelta(minutes=1)


@pytest.fixture
def case_id(store: CaseStore, decision: Make) -> str:
    store.take_in([decision("e1")], {})
    return only(store).case_id


def deeds(store: CaseStore, case_id: str) -> list[tuple[Deed, str | None]]:
    return [(entry.deed, entry.by) for entry in store.audit(case_id)][1:]


def test_a_claimed_case_is_nobody_elses_until_it_is_idle(store: CaseStore, case_id: str) -> None:
    claimed = store.claim(case_id, "ann", NOON)
    assert (claimed.holder(NOON), claimed.claimed_until) == ("ann", NOON + 10 * MINUTE)
    for deed in (store.claim, store.touch):
        with pytest.raises(ClaimedBy, match="ann is working on case") as refused:
            deed(case_id, "bob", NOON + 9 * MINUTE)
        assert (refused.value.name, refused.value.until) == ("ann", NOON + 10 * MINUTE)
    with pytest.raises(ClaimedBy):
        store.decide(case_id, "fraud", "bob", NOON + 9 * MINUTE)
    store.touch(case_id, "ann", NOON + 9 * MINUTE)
    with pytest.raises(ClaimedBy):
        store.claim(case_id, "bob", NOON + 18 * MINUTE)
    assert store.claim(case_id, "bob", NOON + 19 * MINUTE).holder(NOON + 19 * MINUTE) == "bob"
    with pytest.raises(ClaimedBy, match="bob"):
        store.touch(case_id, "ann", NOON + 20 * MINUTE)
    assert deeds(store, case_id) == [("claimed", "ann"), ("claimed", "bob")]


def test_a_released_case_is_free_and_only_its_holder_releases_it(store: CaseStore, case_id: str) -> None:
    store.claim(case_id, "ann", NOON)
    assert store.release(case_id, "bob", NOON).holder(NOON) == "ann"
    assert store.release(case_id, "ann", NOON).holder(NOON) is None
    assert store.touch(case_id, "ann", NOON).holder(NOON) is None
    assert store.claim(case_id, "bob", NOON).holder(NOON) == "bob"
    assert deeds(store, case_id) == [("claimed", "ann"), ("released", "ann"), ("claimed", "bob")]


def test_who_takes_a_case_over_has_it_and_the_audit_says_from_whom(store: CaseStore, case_id: str) -> None:
    store.claim(case_id, "ann", NOON)
    taken = store.take_over(case_id, "lea", NOON + MINUTE)
    assert (taken.holder(NOON + MINUTE), taken.claimed_until) == ("lea", NOON + 11 * MINUTE)
    for deed in (store.claim, store.touch):
        with pytest.raises(ClaimedBy, match="lea"):
            deed(case_id, "ann", NOON + MINUTE)
    assert store.release(case_id, "ann", NOON + MINUTE).holder(NOON + MINUTE) == "lea"
    store.take_over(case_id, "lea", NOON + 2 * MINUTE)  # their own: it goes on
    store.take_over(case_id, "ann", NOON + 30 * MINUTE)  # idle for too long: nobody's
    assert deeds(store, case_id) == [("claimed", "ann"), ("taken_over", "lea"), ("claimed", "ann")]
    assert [entry.text for entry in store.audit(case_id) if entry.deed == "taken_over"] == ["ann"]
    store.decide(case_id, "legit", "ann", NOON + 30 * MINUTE)
    with pytest.raises(NotOpen, match="legit by ann"):
        store.take_over(case_id, "lea", NOON + 30 * MINUTE)


def test_a_verdict_ends_the_claim_and_a_decided_case_is_not_claimed(store: CaseStore, case_id: str) -> None:
    store.claim(case_id, "ann", NOON)
    store.decide(case_id, "legit", "ann", NOON)
    assert store.case(case_id).claimed_by is None
    with pytest.raises(NotOpen, match="legit by ann"):
        store.claim(case_id, "bob", NOON)


def test_the_next_case_is_the_first_that_nobody_has(store: CaseStore, decision: Make) -> None:
    store.take_in([decision(f"e{n}", f"c{n}", amount=100.0 - n, rules=["odd"] * (n % 2)) for n in range(6)], {})
    e0, e1, e2, *_ = (case.case_id for case in store.queue())
    store.claim(e0, "bob", NOON)
    store.snooze(e1, NOON + MINUTE, "bob", NOON)
    store.assign(e2, "bob", "bob", NOON)
    taken = [store.claim_next("ann", NOON), store.claim_next("ann", NOON, QueueFilter(rule="odd"))]
    assert [case.event_id for case in taken if case] == ["e3", "e5"]
    assert [case.event_id for case in (store.claim_next("bob", NOON), store.claim_next("ann", NOON)) if case] == [
        "e2",
        "e4",
    ]
    assert store.claim_next("ann", NOON) is None


def test_many_who_ask_at_once_get_each_case_once(place: str, store: CaseStore, decision: Make) -> None:
    store.take_in([decision(f"e{n}", f"c{n}") for n in range(24)], {})
    start = Barrier(6)

    def work(name: str) -> list[str]:
        with closing(CaseStore(place)) as own:
            start.wait(LIMIT_S)
            taken = []
            while (case := own.claim_next(name, NOON)) is not None:
                taken.append(case.case_id)
            return taken

    with ThreadPoolExecutor(6) as pool:
        taken = list(pool.map(work, [f"analyst {n}" for n in range(6)]))
    assert sorted(Counter(case_id for some in taken for case_id in some).values()) == [1] * 24


def test_of_two_who_claim_one_case_at_once_one_gets_it(store: CaseStore, decision: Make) -> None:
    store.take_in([decision(f"e{n}", f"c{n}") for n in range(8)], {})
    cases = [case.case_id for case in store.queue()]

    def claim(name: str) -> list[bool]:
        got = []
        for case_id in cases:
            start.wait(LIMIT_S)
            try:
                store.claim(case_id, name, NOON)
            except ClaimedBy:
                got.append(False)
            else:
                got.append(True)
        return got

    start = Barrier(2)
    with ThreadPoolExecutor(2) as pool:
        ann, bob = pool.map(claim, ["ann", "bob"])
    assert all(one != other for one, other in zip(ann, bob, strict=True))


def test_numbers_of_the_audit_follow_the_order_of_commits(postgres_url: str, decision: Make) -> None:
    with closing(CaseStore(postgres_url)) as store:
        store.take_in([decision("e1", "a"), decision("e2", "b")], {})
        first, second = store.queue()
        with store.database.writing() as db:
            store._note(db, first.case_id, "claimed", "ann", NOON)
            other = Thread(target=store.claim, args=(second.case_id, "bob", NOON))
            other.start()
            waiting = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
            until(lambda: not other.is_alive() or db.execute(waiting).scalar_one() > 0)
            assert [entry.by for _, entry in store.deeds_after(0)] == [None, None]
        other.join(LIMIT_S)
        numbers = [(number, entry.by) for number, entry in store.deeds_after(0)]
        assert [by for _, by in numbers] == [None, None, "ann", "bob"]
        assert store.deeds_after(numbers[2][0])[0][1].by == "bob"
        assert store.last_deed() == numbers[-1][0]
