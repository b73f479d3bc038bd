"""Labels that wait, verdicts that are taken back, and cases that two people decide."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

import pytest

from review.case import Case
from review.case_filter import QueueFilter
from review.case_store import CaseStore, Labels
from review.refusals import ClaimedBy, NeedsAnother, NotTheirs, TooLate
from review.review_policy import ReviewPolicy
from tests.review.cases import HOUR, LATER, NOON, Make, only

SECOND = timedelta(seconds=1)
CAREFUL = ReviewPolicy(four_eyes_above=1000.0)


@pytest.fixture
def case(store: CaseStore, decision: Make) -> Case:
    store.take_in([decision("e1"), decision("e2")], {})
    return only(store)


def test_labels_wait_until_the_verdict_cannot_be_undone(store: CaseStore, case: Case) -> None:
    labels = store.decide(case.case_id, "fraud", "ann", NOON, undo_s=20)
    assert store.unsent(10, NOON + 19 * SECOND) == []
    assert store.labels(case.case_id) == Labels(held=2, waiting=0, sent=0)
    assert store.unsent(10, NOON + 20 * SECOND) == labels
    assert store.labels(case.case_id) == Labels(held=0, waiting=2, sent=0)
    store.mark_sent(labels)
    assert store.labels(case.case_id) == Labels(held=0, waiting=0, sent=2)
    assert store.unsent(10, LATER) == []


def test_an_undone_verdict_leaves_no_label_and_the_case_as_it_was(store: CaseStore, case: Case) -> None:
    claimed = store.claim(case.case_id, "ann", NOON)
    store.decide(case.case_id, "fraud", "ann", NOON, undo_s=20)
    decided = store.case(case.case_id)
    assert (decided.undo_until, decided.claimed_by) == (NOON + 20 * SECOND, None)
    assert store.undo(case.case_id, "ann", NOON) == claimed
    assert (store.unsent(10, LATER), store.labels(case.case_id)) == ([], Labels(0, 0, 0))
    assert [(entry.deed, entry.verdict) for entry in store.audit(case.case_id)][-2:] == [
        ("decided", "fraud"),
        ("undone", "fraud"),
    ]
    assert len(store.decide(case.case_id, "legit", "ann", NOON)) == 2


def test_an_undone_reversal_gives_back_the_verdict_before_and_its_labels(store: CaseStore, case: Case) -> None:
    first = store.decide(case.case_id, "fraud", "ann", NOON)
    before = store.case(case.case_id)
    store.decide(case.case_id, "legit", "bob", NOON + HOUR, undo_s=20)
    assert store.undo(case.case_id, "bob", NOON + HOUR) == before
    assert store.unsent(10, LATER) == first


def test_labels_of_a_later_verdict_leave_after_those_before(store: CaseStore, case: Case) -> None:
    first = store.decide(case.case_id, "fraud", "ann", NOON, undo_s=20)
    second = store.decide(case.case_id, "legit", "bob", NOON + SECOND)
    assert store.unsent(10, NOON + 5 * SECOND) == []
    assert store.unsent(10, NOON + 20 * SECOND) == [*first, *second]


def test_undo_comes_too_late_or_from_another(store: CaseStore, case: Case) -> None:
    with pytest.raises(TooLate, match="no longer be undone"):
        store.undo(case.case_id, "ann", NOON)
    store.decide(case.case_id, "fraud", "ann", NOON, undo_s=20)
    with pytest.raises(NotTheirs, match="ann gave"):
        store.undo(case.case_id, "bob", NOON)
    with pytest.raises(TooLate):
        store.undo(case.case_id, "ann", NOON + 20 * SECOND)
    # A forwarder whose clock is fast has them already: it wins, whatever the analyst's clock says.
    assert len(store.unsent(1, NOON + HOUR)) == 1
    with pytest.raises(TooLate, match="leaving"):
        store.undo(case.case_id, "ann", NOON + SECOND)
    assert (store.case(case.case_id).verdict, len(store.unsent(10, LATER))) == ("fraud", 2)


def test_many_are_decided_and_undone_at_once_and_what_is_refused_is_named(store: CaseStore, decision: Make) -> None:
    store.take_in([decision(f"e{n}", f"c{n}", amount=100.0 - n) for n in range(5)], {})
    ids = [case.case_id for case in store.queue()]
    store.claim(ids[1], "bob", NOON)
    bulk = store.decide_many([*ids, "c-404"], "legit", "ann", NOON, undo_s=20)
    assert bulk.done == (ids[0], *ids[2:])
    assert list(bulk.refused) == [ids[1], "c-404"]
    assert "bob is working" in bulk.refused[ids[1]]
    assert "no case 'c-404'" in bulk.refused["c-404"]
    assert [case.case_id for case in store.queue()] == [ids[1]]
    store.decide(ids[2], "fraud", "cid", NOON + SECOND)
    undone = store.undo_many(bulk.done, "ann", NOON + SECOND)
    assert (undone.done, list(undone.refused)) == ((ids[0], ids[3], ids[4]), [ids[2]])
    assert {label.event_id for label in store.unsent(10, LATER)} == {"e2"}
    with pytest.raises(ValueError, match="1001 cases"):
        store.decide_many(["x"] * 1001, "legit", "ann", NOON)


# Four eyes


@pytest.fixture
def careful(place: str, store: CaseStore, decision: Make) -> Iterator[CaseStore]:
    store.take_in([decision("e1", "small"), decision("e2", "large", amount=9000.0)], {})
    with closing(CaseStore(place, policy=CAREFUL)) as opened:
        yield opened


def test_a_large_case_needs_two_who_agree(careful: CaseStore) -> None:
    large, small = careful.queue()
    assert len(careful.decide(small.case_id, "legit", "ann", NOON)) == 1
    assert careful.decide(large.case_id, "fraud", "ann", NOON) == []
    proposed = careful.case(large.case_id)
    assert (proposed.status, proposed.proposed, proposed.proposed_by, proposed.verdict) == (
        "proposed",
        "fraud",
        "ann",
        None,
    )
    assert (careful.queue(), careful.queue(filter=QueueFilter(status="proposed"))) == ([], [proposed])
    assert careful.open_count() == 1
    with pytest.raises(NeedsAnother, match="you proposed fraud"):
        careful.decide(large.case_id, "fraud", "ann", NOON)
    proposals = QueueFilter(status="proposed")
    assert careful.claim_next("ann", NOON, proposals) is None
    assert careful.claim_next("bob", NOON, proposals) is not None
    (label,) = careful.decide(large.case_id, "fraud", "bob", NOON + HOUR)
    assert (label.source, careful.case(large.case_id).status) == ("analyst:bob", "decided")
    deeds = [(entry.deed, entry.by, entry.verdict) for entry in careful.audit(large.case_id)][1:]
    assert deeds == [("proposed", "ann", "fraud"), ("claimed", "bob", None), ("decided", "bob", "fraud")]


def test_who_disagrees_opens_it_again_and_a_proposal_is_undone(careful: CaseStore) -> None:
    large, _ = careful.queue()
    careful.decide(large.case_id, "fraud", "ann", NOON)
    assert careful.decide(large.case_id, "legit", "bob", NOON) == []
    assert (careful.case(large.case_id).status, careful.case(large.case_id).proposed) == ("open", None)
    assert careful.audit(large.case_id)[-1].text == "ann"
    before = careful.case(large.case_id)
    careful.decide(large.case_id, "fraud", "ann", NOON, undo_s=20)
    with pytest.raises(NotTheirs):
        careful.undo(large.case_id, "bob", NOON)
    assert careful.undo(large.case_id, "ann", NOON) == before
    assert careful.unsent(10, LATER) == []


def test_a_proposal_that_is_undone_leaves_the_case_with_who_looks_at_it_by_now(careful: CaseStore) -> None:
    large, _ = careful.queue()
    careful.claim(large.case_id, "ann", NOON)
    careful.decide(large.case_id, "fraud", "ann", NOON, undo_s=20)
    held = careful.claim(large.case_id, "bob", NOON)
    undone = careful.undo(large.case_id, "ann", NOON + SECOND)
    assert (undone.status, undone.proposed, undone.holder(NOON + SECOND)) == ("open", None, "bob")
    assert undone.claimed_until == held.claimed_until
    with pytest.raises(ClaimedBy):
        careful.decide(large.case_id, "fraud", "ann", NOON + SECOND)


def test_another_flag_joins_a_proposed_case(careful: CaseStore, decision: Make) -> None:
    large, _ = careful.queue()
    careful.decide(large.case_id, "fraud", "ann", NOON)
    careful.take_in([decision("e3", "large")], {})
    assert careful.case(large.case_id).events == ("e2", "e3")
    assert [label.event_id for label in careful.decide(large.case_id, "fraud", "bob", NOON)] == ["e2", "e3"]
