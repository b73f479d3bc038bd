"""Snoozes, assignments, notes, evidence and saved views."""

from __future__ import annotations

from datetime import timedelta

import pytest

from review.case import Case
from review.case_filter import ME, QueueFilter
from review.case_store import CaseStore
from review.refusals import ClaimedBy, NotOpen, Refused
from tests.review.cases import HOUR, NOON, Make, only

MOMENT = timedelta(seconds=1)
SNOOZED = QueueFilter(status="snoozed")


@pytest.fixture
def case(store: CaseStore, decision: Make) -> Case:
    store.take_in([decision("e1")], {})
    return only(store)


def test_a_snoozed_case_is_back_when_its_time_comes(store: CaseStore, case: Case) -> None:
    store.claim(case.case_id, "ann", NOON)
    snoozed = store.snooze(case.case_id, NOON + HOUR, "ann", NOON)
    assert (snoozed.is_snoozed(NOON), snoozed.holder(NOON)) == (True, None)
    assert (store.queue(now=NOON), store.queue(filter=SNOOZED, now=NOON)) == ([], [snoozed])
    assert store.claim_next("bob", NOON) is None
    assert (store.queue(now=NOON + HOUR), store.queue(filter=SNOOZED, now=NOON + HOUR)) == ([snoozed], [])
    assert store.audit(case.case_id)[-1].text == "2026-01-02T13:00:00+00:00"


def test_a_snoozed_case_wakes_when_told_or_when_another_flag_joins(
    store: CaseStore, case: Case, decision: Make
) -> None:
    store.snooze(case.case_id, NOON + HOUR, "ann", NOON)
    assert not store.wake(case.case_id, "ann", NOON).is_snoozed(NOON)
    store.snooze(case.case_id, NOON + HOUR, "ann", NOON)
    store.take_in([decision("e2")], {})
    assert only(store).events == ("e1", "e2")
    store.wake(case.case_id, "ann", NOON)
    deeds = [entry.deed for entry in store.audit(case.case_id)]
    assert deeds == ["opened", "snoozed", "woken", "snoozed", "joined"]


def test_what_cannot_be_snoozed_is_refused(store: CaseStore, case: Case) -> None:
    with pytest.raises(Refused, match="is over"):
        store.snooze(case.case_id, NOON, "ann", NOON)
    store.claim(case.case_id, "bob", NOON)
    with pytest.raises(ClaimedBy):
        store.snooze(case.case_id, NOON + HOUR, "ann", NOON)
    store.decide(case.case_id, "legit", "bob", NOON)
    with pytest.raises(NotOpen, match="decided"):
        store.snooze(case.case_id, NOON + HOUR, "ann", NOON)


def test_a_case_is_assigned_and_unassigned(store: CaseStore, case: Case) -> None:
    assert store.assign(case.case_id, "bob", "ann", NOON).assigned_to == "bob"
    store.assign(case.case_id, "bob", "ann", NOON)
    assert store.assign(case.case_id, None, "bob", NOON).assigned_to is None
    with pytest.raises(ValueError, match="cannot sign"):
        store.assign(case.case_id, ME, "ann", NOON)
    entries = [(entry.deed, entry.by, entry.text) for entry in store.audit(case.case_id)][1:]
    assert entries == [("assigned", "ann", "bob"), ("assigned", "bob", None)]


def test_notes_and_evidence_are_kept_in_order_and_stand_in_the_audit(store: CaseStore, case: Case) -> None:
    first = store.note(case.case_id, " called: <b>no answer</b> ", "ann", NOON)
    store.note(case.case_id, "called again", "bob", NOON + MOMENT)
    link = store.add_evidence(case.case_id, "https://example.org/a?b=c", "", "ann", NOON)
    assert [(note.by, note.text) for note in store.notes(case.case_id)] == [
        ("ann", "called: <b>no answer</b>"),
        ("bob", "called again"),
    ]
    assert store.notes(case.case_id)[0] == first
    assert store.evidence(case.case_id) == [link]
    assert (link.url, link.title) == ("https://example.org/a?b=c", "https://example.org/a?b=c")
    texts = [(entry.deed, entry.text) for _, entry in store.deeds_after(1)]
    assert texts == [("noted", first.text), ("noted", "called again"), ("evidence", link.title)]


@pytest.mark.parametrize("text", ["", " \n", "x" * 4001])
def test_a_note_says_something_and_not_too_much(store: CaseStore, case: Case, text: str) -> None:
    with pytest.raises(Refused, match="characters is not kept"):
        store.note(case.case_id, text, "ann", NOON)


BAD_URLS = [
    "javascript:alert(1)",
    "data:text/html,x",
    "//host/x",
    "https://",
    "ftp://host/x",
    "http://[",
    "",
    "https://a b",
]


def test_evidence_is_a_link_to_the_web(store: CaseStore, case: Case) -> None:
    for url in [*BAD_URLS, "https://host/" + "x" * 2000, "https://host/\nx"]:
        with pytest.raises(Refused, match="is no link"):
            store.add_evidence(case.case_id, url, "title", "ann", NOON)
    assert store.evidence(case.case_id) == []


def test_views_are_their_owners_or_shared(store: CaseStore) -> None:
    mine = store.save_view("ann", "large", QueueFilter(min_loss=100.0))
    shared = store.save_view("bob", "to me", QueueFilter(assigned_to=ME), shared=True)
    store.save_view("bob", "private", QueueFilter())
    assert store.views("ann") == [mine, shared]
    changed = store.save_view("ann", "large", QueueFilter(min_loss=500.0))
    store.drop_view("ann", "to me")
    assert store.views("ann") == [changed, shared]
    store.drop_view("bob", "to me")
    assert store.views("ann") == [changed]
    with pytest.raises(Refused, match="needs a name"):
        store.save_view("ann", "  ", QueueFilter())
