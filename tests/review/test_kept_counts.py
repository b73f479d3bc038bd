"""What the store keeps beside its cases, to be quick: it says what the cases say, whatever was done to them."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta

import pytest
from sqlalchemy import text

from review.case_filter import QueueFilter
from review.case_store import CaseStore
from review.schema import stamp
from review.terms import terms_of
from review.verdict_figures import verdicts_a_day
from stream.records import Decision, decode
from tests.review.cases import NOON, Make

DAY = timedelta(days=1)
WAITING = "SELECT cases.case_id, rank, decision FROM cases JOIN flags ON flags.case_id = cases.case_id WHERE "
OF_CLOSED = "SELECT terms.case_id, term FROM terms JOIN cases ON cases.case_id = terms.case_id WHERE status = 'decided'"


def words_are_right(store: CaseStore) -> int:
    """The words of each case are those of its flags: with its place while it waits, among those of closed ones then."""
    with store.database.reading() as db:
        kept = db.execute(text("SELECT case_id, kind, word, rank FROM waiting_words")).all()
        kept_of_closed = db.execute(text(OF_CLOSED)).all()
        waiting = db.execute(text(f"{WAITING} status <> 'decided'")).all()
        closed = db.execute(text(f"{WAITING} status = 'decided'")).all()
    told = {
        (case_id, kind, word, rank)
        for case_id, rank, content in waiting
        for kind, word in words_of(decode(content, Decision), case_id)
    }
    assert sorted(map(tuple, kept)) == sorted(told)
    told_of_closed = {
        (case_id, word) for case_id, _, content in closed for word in terms_of(decode(content, Decision), case_id)
    }
    assert sorted(map(tuple, kept_of_closed)) == sorted(told_of_closed)
    return len(kept)


def words_of(decision: Decision, case_id: str) -> set[tuple[str, str]]:
    return {("term", term) for term in terms_of(decision, case_id)} | {("rule", rule) for rule in decision.rules}


@pytest.fixture
def flags(decision: Make) -> list[Decision]:
    return [decision(f"e{n}", f"card-{n}", 0.2 + n / 10, rules=["night"] if n % 2 else []) for n in range(6)]


def test_words_of_waiting_cases_come_and_go_with_them(store: CaseStore, flags: list[Decision], decision: Make) -> None:
    store.take_in(flags, {})
    every = words_are_right(store)
    ids = [case.case_id for case in store.queue()]
    store.decide_many(ids[:4], "fraud", "ann", NOON, undo_s=20.0)
    assert words_are_right(store) < every
    assert len(store.queue(filter=QueueFilter(text="card"))) == 2
    store.undo(ids[0], "ann", NOON)
    store.reopen(ids[1], "ann", NOON)
    words_are_right(store)
    assert {case.case_id for case in store.queue(filter=QueueFilter(text="card"))} == set(ids) - set(ids[2:4])
    store.take_in([decision("e9", "card-0", 1.0, 9000.0, merchant_id="bazaar", rules=["rich"])], {})
    words_are_right(store)
    first, *_ = store.queue(filter=QueueFilter(text="card"))
    assert first.entity == "card-0", "by its place of now"
    (found,) = store.queue(filter=QueueFilter(text="bazaar", rule="rich"))
    assert found.entity == "card-0"
    store.erase(lambda one: isinstance(one, Decision) and one.key == "card-0")
    words_are_right(store)
    assert store.queue(filter=QueueFilter(text="bazaar")) == []


def test_days_that_were_counted_are_counted_anew_once_a_verdict_of_theirs_changes(
    store: CaseStore, flags: list[Decision]
) -> None:
    store.take_in(flags, {})
    ids = [case.case_id for case in store.queue()]
    for case_id, days in zip(ids, (0, 0, 1, 3, 5), strict=False):
        store.decide(case_id, "fraud", "ann", NOON + days * DAY)

    def seen() -> tuple[dict[str, int], dict[str, int], list[int]]:
        by_day = verdicts_a_day(store.database, NOON - DAY, NOON + 9 * DAY)
        names = {f"{by} {one.name}": one.decided for by in ("rule", "analyst") for one in store.precision(by)}
        some = {one.name: one.decided for one in store.precision("analyst", NOON + DAY)}
        return names, some, [one.fraud + one.legit for one in by_day]

    def anew() -> tuple[dict[str, int], dict[str, int], list[int]]:
        with store.database.writing() as db:
            db.execute(text("DELETE FROM verdict_days"))
        return seen()

    assert seen() == seen() == anew()
    assert seen()[2] == [0, 2, 1, 0, 1, 0, 1, 0, 0, 0, 0]
    with store.database.reading() as db:
        kept = db.execute(text("SELECT count(DISTINCT day) FROM verdict_days")).scalar()
    assert kept == 5, "all days but that of the last verdict"
    store.reopen(ids[0], "bob", NOON + 6 * DAY)
    assert seen()[2] == [0, 1, 1, 0, 1, 0, 1, 0, 0, 0, 0]
    store.decide(ids[2], "legit", "bob", NOON + 6 * DAY)
    assert seen() == anew()
    assert seen()[2] == [0, 1, 0, 0, 1, 0, 1, 1, 0, 0, 0]
    store.erase(lambda one: isinstance(one, Decision) and one.key == store.case(ids[3]).entity)
    assert seen()[2] == [0, 1, 0, 0, 0, 0, 1, 1, 0, 0, 0]
    assert seen() == anew()


AS_BEFORE = {
    "sqlite": (
        "DROP TRIGGER cases_wait_no_more",
        "CREATE TRIGGER cases_wait_no_more AFTER UPDATE OF status ON cases WHEN OLD.status <> 'decided' "
        "AND NEW.status = 'decided' BEGIN DELETE FROM waiting_words WHERE case_id = NEW.case_id; END",
    ),
    "postgresql": (
        "CREATE OR REPLACE FUNCTION cases_wait_no_more() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "DELETE FROM waiting_words WHERE case_id = NEW.case_id; RETURN NULL; END $$",
        "DROP TRIGGER terms_wait ON terms",
        "CREATE TRIGGER terms_wait AFTER INSERT ON terms FOR EACH ROW EXECUTE FUNCTION terms_wait()",
    ),
}
WORDS_TWICE = "INSERT INTO terms (term, case_id) SELECT word, case_id FROM waiting_words WHERE kind = 'term'"


def test_cases_of_a_store_that_had_the_words_twice_are_found_whatever_becomes_of_them(
    place: str, store: CaseStore, flags: list[Decision], decision: Make
) -> None:
    store.take_in(flags, {})
    ids = [case.case_id for case in store.queue()]
    with store.database.writing() as db:
        for statement in (WORDS_TWICE, *AS_BEFORE[db.dialect.name]):
            db.exec_driver_sql(statement)
        stamp(db, "0007")
    store.decide(ids[0], "fraud", "ann", NOON)
    with closing(CaseStore(place)) as stepped:
        words_are_right(stepped)
        stepped.take_in([decision("e9", "card-0", merchant_id="bazaar"), decision("e10", "card-10")], {})
        words_are_right(stepped)
        # The version before may go on: it writes the words of its flags among those of closed cases.
        with stepped.database.writing() as db:
            db.exec_driver_sql(f"{WORDS_TWICE} ON CONFLICT DO NOTHING")
        words_are_right(stepped)
        bazaar = QueueFilter(text="bazaar")
        (found,) = stepped.queue(filter=bazaar)
        stepped.decide_many([*ids[1:], found.case_id], "legit", "ann", NOON)
        words_are_right(stepped)
        assert stepped.queue(filter=bazaar) == []
        assert [case.entity for case in stepped.queue(filter=QueueFilter(text="bazaar", status="decided"))] == [
            "card-0"
        ]
        stepped.reopen(found.case_id, "bob", NOON)
        assert [case.entity for case in stepped.queue(filter=bazaar)] == ["card-0"]
        words_are_right(stepped)
