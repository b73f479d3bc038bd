from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread

import pytest

from review.case import Case, Place
from review.case_store import CaseStore, Taken, UnknownCase
from review.schema import MIGRATIONS, NewerFile, migrate
from stream.log import Partition
from stream.records import Decision, InvalidRecord, Verdict

Make = Callable[..., Decision]
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
PLACE = Partition("decisions", 3)


class Crash(RuntimeError):
    """The process ends here."""


def only(store: CaseStore) -> Case:
    (case,) = store.queue()
    return case


# From decisions to cases


def test_a_flag_opens_a_case_that_says_why(store: CaseStore, decision: Make) -> None:
    flag = decision("e1", "card-7", 0.8, 250.0, outcome="decline", rules=["rich"], reason="25 times the usual")
    assert store.take_in([flag], {}) == Taken(opened=1)
    case = only(store)
    assert (case.entity, case.event_id, case.events, case.opened_at) == ("card-7", "e1", ("e1",), flag.event_timestamp)
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
    assert (case.events, case.opened_at) == (("e1", "e2", "e3"), flags[0].event_timestamp)
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


def test_a_store_rebuilt_from_the_same_decisions_has_the_same_case_ids(decision: Make) -> None:
    flags = [decision("e1", "a"), decision("e2", "b"), decision("e3", "a")]
    with closing(CaseStore(":memory:")) as one, closing(CaseStore(":memory:")) as other:
        for store in (one, other):
            store.take_in(flags, {})
        assert one.queue() == other.queue()


# Offsets


def test_offsets_are_kept_with_the_cases_and_never_go_back(path: Path, decision: Make) -> None:
    with closing(CaseStore(path)) as store:
        store.take_in([decision("e1")], {("redis", PLACE): 7})
        store.take_in([], {("redis", PLACE): 5})
    with closing(CaseStore(path)) as store:
        assert (store.offset("redis", PLACE), store.offset("kafka:x", PLACE)) == (7, 0)
        store.rewind("redis", PLACE)
        assert store.offset("redis", PLACE) == 0


def test_a_crash_inside_the_transaction_leaves_neither_cases_nor_offsets(
    path: Path, decision: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, calls = CaseStore._add_flag, iter(range(1, 10))

    def crashing(self: CaseStore, *args: object) -> None:
        original(self, *args)  # type: ignore[arg-type]
        if next(calls) == 2:
            raise Crash

    flags = [decision("e1", "a"), decision("e2", "b"), decision("e3", "c")]
    with monkeypatch.context() as patch, closing(CaseStore(path)) as store, pytest.raises(Crash):
        patch.setattr(CaseStore, "_add_flag", crashing)
        store.take_in(flags, {("redis", PLACE): 3})
    with closing(CaseStore(path)) as store:
        assert (store.open_count(), store.offset("redis", PLACE)) == (0, 0)
        assert store.take_in(flags, {("redis", PLACE): 3}) == Taken(opened=3)


# The queue


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
    assert store.unsent(10) == labels


def test_labels_stay_in_the_outbox_until_they_are_marked(path: Path, store: CaseStore, decision: Make) -> None:
    store.take_in([decision("e1", "a"), decision("e2", "b")], {})
    first, second = (store.decide(case.case_id, "fraud", "ann", NOON) for case in store.queue())
    store.mark_sent(first)
    with closing(CaseStore(path)) as reopened:
        assert reopened.unsent(10) == second


def test_a_crash_while_deciding_leaves_the_case_open_and_no_label(
    store: CaseStore, decision: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.take_in([decision("e1")], {})
    case = only(store)

    def crashing(*_: object, **__: object) -> None:
        raise Crash

    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(store, "_note", crashing)
        store.decide(case.case_id, "fraud", "ann", NOON)
    assert (store.queue(), store.unsent(10), len(store.audit(case.case_id))) == ([case], [], 1)


def test_another_verdict_reverses_and_labels_every_event_anew(store: CaseStore, decision: Make) -> None:
    store.take_in([decision("e1"), decision("e2")], {})
    case_id = only(store).case_id
    first = store.decide(case_id, "fraud", "ann", NOON)
    second = store.decide(case_id, "legit", "bob", NOON + HOUR)
    assert [(label.event_id, label.label, label.source) for label in second] == [
        ("e1", "legit", "analyst:bob"),
        ("e2", "legit", "analyst:bob"),
    ]
    assert store.unsent(10) == [*first, *second]
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
    assert (store.case(case_id), store.unsent(10)) == (decided, labels)
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


@pytest.mark.parametrize("by", ["", "   ", "x" * 57])
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
    assert (only(store).status, store.unsent(10)) == ("open", [])


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


@pytest.mark.parametrize("tampering", ["DELETE FROM audit", "UPDATE audit SET deed = 'joined'"])
def test_the_audit_is_append_only(path: Path, store: CaseStore, decision: Make, tampering: str) -> None:
    store.take_in([decision("e1")], {})
    with closing(sqlite3.connect(path)) as db, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        db.execute(tampering)


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
    flags = [decision(text, card=text, rules=[text], reason=text, hour=n) for n, text in enumerate(HOSTILE)]
    assert store.take_in(flags, {}) == Taken(opened=len(HOSTILE))
    cases = store.queue()
    for text, case in zip(HOSTILE, cases, strict=True):
        assert (case.entity, case.events, case.rules, case.reasons[0].text) == (text, (text,), (text,), text)
    for text, case in zip(HOSTILE, cases, strict=True):
        by = text if not text.isspace() else "ann"
        (label,) = store.decide(case.case_id, "legit", by, NOON)
        assert (label.event_id, label.source, store.case(case.case_id).decided_by) == (text, f"analyst:{by}", by)
    assert [label.event_id for label in store.unsent(100)] == HOSTILE


# The file


def test_a_file_of_an_older_version_takes_the_missing_steps_and_keeps_its_cases(path: Path, decision: Make) -> None:
    with closing(CaseStore(path)) as store:
        store.take_in([decision("e1")], {})
        before = store.queue()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        migrate(db, (*MIGRATIONS, ("ALTER TABLE cases ADD COLUMN claimed_by TEXT",)))
        assert db.execute("SELECT event_id, claimed_by FROM cases").fetchall() == [("e1", None)]
        assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS) + 1,)
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    with closing(CaseStore(path)) as store:
        assert store.queue() == before


def test_a_step_that_fails_leaves_the_file_as_it_was(path: Path) -> None:
    CaseStore(path).close()
    broken = (*MIGRATIONS, ("CREATE TABLE claims (x) STRICT", "CREATE TABLE claims (x)"))
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        with pytest.raises(sqlite3.OperationalError):
            migrate(db, broken)
        assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
        assert db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'claims'").fetchone() == (0,)


def test_a_file_of_a_newer_version_is_refused_and_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(NewerFile, match="99 steps"):
        CaseStore(path)


def test_two_that_open_a_new_file_at_once_both_succeed(path: Path) -> None:
    failures: list[BaseException] = []

    def open_it() -> None:
        try:
            CaseStore(path).close()
        except BaseException as error:
            failures.append(error)

    threads = [Thread(target=open_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
