from __future__ import annotations

import contextlib
from contextlib import closing
from itertools import count

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from review.case_store import CaseStore, Taken, UnknownCase
from stream.invalid_record import InvalidRecord
from stream.records import Verdict
from tests.review.cases import HOUR, LATER, NOON, Crash, Make, crashing_at, only

# Verdicts


def test_a_verdict_gives_one_label_for_each_event_of_the_case(store: CaseStore, decision: Make) -> None:
    store.take_in([decision("e1", amount=10.0), decision("e2", amount=20.0, hour=1)], {})
    case = only(store)
    labels = store.decide(case.case_id, "fraud", "ann", NOON)
    assert [(label.event_id, label.label, label.source, label.labelled_at) for label in labels] == [
        ("e1", "fraud", "analyst:ann", NOON),
        ("e2", "fraud", "analyst:ann", NOON),
    ]
    second = labels[1]
    assert (second.card_id, second.merchant_id, second.device_id, second.amount) == ("card", "shop", "phone", 20.0)
    assert second.event_timestamp == decision("e2", hour=1).event_timestamp
    decided = store.case(case.case_id)
    assert (decided.status, decided.verdict, decided.decided_by, decided.decided_at) == (
        "decided",
        "fraud",
        "ann",
        NOON,
    )
    assert store.queue() == []
    assert store.unsent(10, LATER) == labels


def test_labels_stay_in_the_outbox_until_they_are_marked(place: str, store: CaseStore, decision: Make) -> None:
    store.take_in([decision("e1", "a"), decision("e2", "b")], {})
    first, second = (store.decide(case.case_id, "fraud", "ann", NOON) for case in store.queue())
    store.mark_sent(first)
    with closing(CaseStore(place)) as reopened:
        assert reopened.unsent(10, LATER) == second


def test_a_crash_at_any_statement_of_a_verdict_leaves_the_case_open_and_no_label(
    store: CaseStore, decision: Make
) -> None:
    store.take_in([decision("e1")], {})
    case = only(store)
    for nth in count(1):
        with crashing_at(store, nth), contextlib.suppress(Crash):
            store.decide(case.case_id, "fraud", "ann", NOON)
            break
        assert (store.queue(), store.unsent(10, LATER), len(store.audit(case.case_id))) == ([case], [], 1)
    assert nth > 5
    assert (store.queue(), len(store.unsent(10, LATER)), len(store.audit(case.case_id))) == ([], 1, 2)


def test_another_verdict_reverses_and_labels_every_event_anew(store: CaseStore, decision: Make) -> None:
    store.take_in([decision("e1"), decision("e2")], {})
    case_id = only(store).case_id
    first = store.decide(case_id, "fraud", "ann", NOON)
    second = store.decide(case_id, "legit", "bob", NOON + HOUR)
    assert [(label.event_id, label.label, label.source) for label in second] == [
        ("e1", "legit", "analyst:bob"),
        ("e2", "legit", "analyst:bob"),
    ]
    assert store.unsent(10, LATER) == [*first, *second]
    assert (store.case(case_id).verdict, store.case(case_id).decided_by) == ("legit", "bob")


def test_a_reversal_by_a_slow_clock_still_bears_a_later_time(store: CaseStore, decision: Make) -> None:
    store.take_in([decision("e1")], {})
    case_id = only(store).case_id
    (first,) = store.decide(case_id, "fraud", "ann", NOON)
    (second,) = store.decide(case_id, "legit", "bob", NOON - HOUR)
    assert second.labelled_at > first.labelled_at
    assert store.audit(case_id)[-1].at == NOON - HOUR


def test_the_same_verdict_again_is_noted_and_gives_no_label(store: CaseStore, decision: Make) -> None:
    store.take_in([decision("e1")], {})
    case_id = only(store).case_id
    labels = store.decide(case_id, "fraud", "ann", NOON)
    decided = store.case(case_id)
    assert store.decide(case_id, "fraud", "bob", NOON + HOUR) == []
    assert (store.case(case_id), store.unsent(10, LATER)) == (decided, labels)
    assert [(entry.deed, entry.by) for entry in store.audit(case_id)][1:] == [("decided", "ann"), ("confirmed", "bob")]


def test_a_reopened_case_takes_flags_and_the_next_verdict_labels_them_all(store: CaseStore, decision: Make) -> None:
    store.take_in([decision("e1")], {})
    case_id = only(store).case_id
    store.decide(case_id, "fraud", "ann", NOON)
    reopened = store.reopen(case_id, "bob", NOON + HOUR)
    assert (reopened.status, reopened.verdict, reopened.decided_by) == ("open", "fraud", "ann")
    assert store.take_in([decision("e2")], {}) == Taken(joined=1)
    labels = store.decide(case_id, "fraud", "bob", NOON + 2 * HOUR)
    assert [label.event_id for label in labels] == ["e1", "e2"]
    assert store.queue() == []


def test_reopening_an_open_case_changes_nothing(store: CaseStore, decision: Make) -> None:
    store.take_in([decision("e1")], {})
    case = only(store)
    assert store.reopen(case.case_id, "ann", NOON) == case
    assert len(store.audit(case.case_id)) == 1


@pytest.mark.parametrize("by", ["", "   ", "x" * 57, "@me"])
def test_a_name_that_cannot_sign_is_refused(store: CaseStore, decision: Make, by: str) -> None:
    store.take_in([decision("e1")], {})
    with pytest.raises(ValueError, match="cannot sign a verdict"):
        store.decide(only(store).case_id, "fraud", by, NOON)
    assert only(store).status == "open"


def test_a_verdict_or_a_time_that_a_label_cannot_have_is_refused(store: CaseStore, decision: Make) -> None:
    store.take_in([decision("e1")], {})
    case_id = only(store).case_id
    wrong: Verdict = "guilty"  # type: ignore[assignment]
    with pytest.raises(InvalidRecord, match="label"):
        store.decide(case_id, wrong, "ann", NOON)
    with pytest.raises(InvalidRecord, match="labelled_at"):
        store.decide(case_id, "fraud", "ann", NOON.replace(tzinfo=None))
    assert (only(store).status, store.unsent(10, LATER)) == ("open", [])


def test_an_unknown_case_is_named(store: CaseStore) -> None:
    for ask in (store.case, store.decisions, lambda case_id: store.decide(case_id, "fraud", "ann", NOON)):
        with pytest.raises(UnknownCase, match="no case 'c-404'"):
            ask("c-404")
    with pytest.raises(UnknownCase):
        store.reopen("c-404", "ann", NOON)


# The audit


def test_the_audit_has_every_deed_with_who_when_and_what(store: CaseStore, decision: Make) -> None:
    first, second = decision("e1"), decision("e2", hour=1)
    store.take_in([first, second, first], {})
    case_id = only(store).case_id
    store.decide(case_id, "unknown", "ann", NOON)
    store.decide(case_id, "fraud", "ann", NOON + HOUR)
    store.decide(case_id, "legit", "bob", NOON + 2 * HOUR)
    store.reopen(case_id, "cy", NOON + 3 * HOUR)
    store.decide(case_id, "legit", "cy", NOON + 4 * HOUR)
    entries = [(entry.deed, entry.by, entry.at, entry.event_id, entry.verdict) for entry in store.audit(case_id)]
    assert entries == [
        ("opened", None, first.scored_at, "e1", None),
        ("joined", None, second.scored_at, "e2", None),
        ("decided", "ann", NOON, None, "unknown"),
        ("decided", "ann", NOON + HOUR, None, "fraud"),
        ("reversed", "bob", NOON + 2 * HOUR, None, "legit"),
        ("reopened", "cy", NOON + 3 * HOUR, None, None),
        ("decided", "cy", NOON + 4 * HOUR, None, "legit"),
    ]


@pytest.mark.parametrize("tampering", ["DELETE FROM audit", "UPDATE audit SET deed = 'joined'", "TRUNCATE audit"])
def test_the_audit_is_append_only(store: CaseStore, decision: Make, tampering: str) -> None:
    if tampering.startswith("TRUNCATE") and store.database.is_sqlite:
        return  # has no such word
    store.take_in([decision("e1")], {})
    with pytest.raises(IntegrityError, match="append-only"), store.database.writing() as db:
        db.execute(text(tampering))
    assert len(store.audit(only(store).case_id)) == 1


HOSTILE = [
    "'; DROP TABLE cases; --",
    'a"b`c[d]',
    "<script>alert(1)</script>",
    "[red]x[/red]",
    "nul\x00inside",
    "nul\x00other",
    "\x1b[2J\u202e\u0000",
    "💳 𝔘𝔫𝔦",
    "%s {0} $1 ?",
    "1",
    "1.0",
    " ",
]


def test_hostile_strings_are_kept_as_text(store: CaseStore, decision: Make) -> None:
    flags = [decision(word, card=word, rules=[word], reason=word, hour=n) for n, word in enumerate(HOSTILE)]
    assert store.take_in(flags, {}) == Taken(opened=len(HOSTILE))
    cases = store.queue()
    for word, case in zip(HOSTILE, cases, strict=True):
        assert (case.entity, case.events, case.rules, case.reasons[0].text) == (word, (word,), (word,), word)
    for word, case in zip(HOSTILE, cases, strict=True):
        by = word if not word.isspace() else "ann"
        (label,) = store.decide(case.case_id, "legit", by, NOON)
        assert (label.event_id, label.source, store.case(case.case_id).decided_by) == (word, f"analyst:{by}", by)
    assert [label.event_id for label in store.unsent(100, LATER)] == HOSTILE
