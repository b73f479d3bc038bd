"""What is left of a case when somebody is forgotten, and what of the policy's ranks when it changes."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from review.alert_silence import Silences
from review.alert_tables import HISTORY
from review.case_filter import QueueFilter
from review.case_store import CaseStore
from review.engine import CasesUnavailable, InvalidStoreUrl, open_engine
from review.review_policy import FILE, InvalidReviewPolicy, ReviewPolicy, Sla, load_policy
from review.sql_book import SavedQuery, SqlBook
from review.sql_tables import RUNS
from review.tables import METADATA
from stream.records import Decision, Label
from tests.review.cases import HOUR, LATER, NOON, Make, only

SECRET = "device-to-forget"


def about(record: Decision | Label) -> bool:
    return SECRET in str(record)


def test_a_forgotten_device_leaves_the_case_as_if_the_others_alone_had_come(store: CaseStore, decision: Make) -> None:
    kept = decision("e1", amount=50.0, rules=["night"])
    store.take_in(
        [kept, decision("e2", amount=9000.0, device_id=SECRET, rules=["rich"], reason="large", vector=(7.0,))], {}
    )
    store.take_in([decision("e3", "other", device_id=SECRET)], {})
    mixed = next(case for case in store.queue() if case.entity == "card")
    gone = next(case for case in store.queue() if case.entity == "other")
    store.note(mixed.case_id, f"asked about {SECRET}", "ann", NOON)
    store.note(gone.case_id, "called", "ann", NOON)
    store.save_view("ann", "them", QueueFilter(text=SECRET.upper()))
    store.save_view("ann", "some", QueueFilter(text="card"))
    store.decide(gone.case_id, "fraud", "ann", NOON)
    assert [flag.event_id for flag in store.flagged(about)] == ["e2", "e3"]
    assert store.erase(about) == 3
    assert store.erase(about) == 0
    with closing(CaseStore(":memory:")) as fresh:
        fresh.take_in([kept], {})
        assert only(store) == only(fresh)
        assert store.linked(mixed.case_id) == fresh.linked(mixed.case_id)
    assert (store.unsent(10, LATER), [view.name for view in store.views("ann")]) == ([], ["some"])
    assert store.audit(gone.case_id)[1].text is None
    with store.database.reading() as db:
        for table in METADATA.tables:
            assert SECRET not in str(db.execute(text(f'SELECT * FROM "{table}"')).all()).lower()


def without(text: str) -> str:
    return text.replace(SECRET, "forgotten-1")


def test_where_people_wrote_the_value_there_is_another_word_and_nothing_else_changes(
    store: CaseStore, decision: Make
) -> None:
    store.take_in([decision("e1", "other")], {})
    case_id = only(store).case_id
    store.note(case_id, f"the same phone as {SECRET}", "ann", NOON)
    store.add_evidence(case_id, f"https://example.org/{SECRET}", "what the shop said", "ann", NOON)
    store.save_view("ann", f"with {SECRET}", QueueFilter(text=SECRET, outcome="review"))
    book, silences = SqlBook(store.database), Silences(store.database)
    book.save(SavedQuery(owner="ann", name="it", text=f"SELECT '{SECRET}'", shared=False), NOON)
    run = book.begin(f"SELECT * FROM labels WHERE device_id = '{SECRET}'", "ann", NOON)
    kept = book.begin("SELECT 1", "ann", NOON)
    silences.make("*", NOON + HOUR, f"because of {SECRET}", "ann", NOON)
    assert store.named(without) == 7, "history says why it is silent, too"
    assert store.erase(about, without) == 7
    assert (store.named(without), store.erase(about, without)) == (0, 0)
    assert [note.text for note in store.notes(case_id)] == ["the same phone as forgotten-1"]
    assert [one.url for one in store.evidence(case_id)] == ["https://example.org/forgotten-1"]
    (view,) = store.views("ann")
    assert (view.name, view.filter) == ("with forgotten-1", QueueFilter(text="forgotten-1", outcome="review"))
    assert book.text_of(run, "ann") == "SELECT * FROM labels WHERE device_id = 'forgotten-1'"
    assert [one.text for one in book.saved("ann")] == ["SELECT 'forgotten-1'"]
    assert book.text_of(kept, "ann") == "SELECT 1"
    assert [one.why for one in silences.all(NOON)] == ["because of forgotten-1"]
    with store.database.reading() as db:
        for table in METADATA.tables:
            assert SECRET not in str(db.execute(text(f'SELECT * FROM "{table}"')).all()).lower()
    for grown in (RUNS, HISTORY):  # As before.
        with pytest.raises(DBAPIError, match="append-only"), store.database.writing() as db:
            db.execute(grown.update().values(text=""))


def test_nothing_that_was_forgotten_is_left_in_the_file(path: Path, decision: Make) -> None:
    with closing(CaseStore(path)) as store:
        store.take_in([decision(f"e{n}", f"c{n}", device_id=SECRET) for n in range(50)], {})
        store.take_in([decision("kept")], {})
        store.erase(about)
        assert only(store).event_id == "kept"
        for file in path.parent.glob("review.sqlite*"):
            assert SECRET.encode() not in file.read_bytes()


def test_another_policy_ranks_the_waiting_cases_anew_once(place: str, store: CaseStore, decision: Make) -> None:
    store.take_in([decision("e1", "a", amount=200.0, hour=5), decision("e2", "b", amount=100.0)], {})
    assert store.rank_anew() == 2
    assert store.rank_anew() == 0
    assert [case.entity for case in store.queue()] == ["b", "a"]
    patient = ReviewPolicy(halving_s=1e6, sla_s=Sla(review=3600.0))
    with closing(CaseStore(place, policy=patient)) as other:
        assert other.rank_anew() == 2
        assert [case.entity for case in other.queue()] == ["a", "b"]
        case = other.queue()[0]
        assert (case.due_at - case.opened_at).total_seconds() == 3600.0
        assert case.rank == patient.rank(
            case.expected_loss, patient.due_at_us(int(case.opened_at.timestamp() * 1e6), "review")
        )


def test_the_policy_file_says_what_the_code_says_and_mistakes_are_named(tmp_path: Path) -> None:
    assert load_policy() == load_policy(FILE) == ReviewPolicy()
    own = tmp_path / "own.toml"
    own.write_text("four_eyes_above = 5000.0\n[sla_s]\nreview = 60\n")
    assert load_policy(own) == ReviewPolicy(four_eyes_above=5000.0, sla_s=Sla(review=60.0))
    for content in ("halving_s = 0", "audit_share = 1.5", "undo = 3", "[sla_s]\napprove = 3", "= nonsense"):
        own.write_text(content)
        with pytest.raises(InvalidReviewPolicy, match=r"own\.toml cannot be used"):
            load_policy(own)
    with pytest.raises(InvalidReviewPolicy, match="absent"):
        load_policy(tmp_path / "absent.toml")
    assert msgspec.toml.decode(FILE.read_bytes(), type=ReviewPolicy) == ReviewPolicy()


def test_a_database_that_cannot_be_used_is_named_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(CasesUnavailable, match=r"ann:\*\*\*@127\.0\.0\.1:1/cases cannot be used"):
        CaseStore("postgresql://ann:s3cret@127.0.0.1:1/cases")
    with pytest.raises(CasesUnavailable, match="cannot be used"):
        CaseStore(tmp_path / "absent" / "review.sqlite")
    for url in ("mysql://host/db", "postgresql://host:port/db"):
        with pytest.raises(InvalidStoreUrl):
            open_engine(url)


def test_without_the_driver_of_postgresql_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(InvalidStoreUrl, match=r"needs a driver.*psycopg\[binary\]") as refused:
        CaseStore("postgresql://ann:s3cret@127.0.0.1:1/cases")
    assert "s3cret" not in str(refused.value)


def test_what_goes_wrong_in_a_statement_is_told_without_its_values(path: Path) -> None:
    with closing(CaseStore(path)) as store:
        book = SqlBook(store.database)
        with pytest.raises(DBAPIError) as error, store.database.writing() as db:
            db.execute(RUNS.insert().values(run="r", at_us=0, by=SECRET, deed="no deed", text=SECRET))
        assert SECRET not in str(error.value) and "sql_runs" in str(error.value)
        assert book.history(SECRET) == []


def test_a_new_file_is_its_owners_alone_and_an_older_one_stays_as_it_was(tmp_path: Path) -> None:
    new, shared = tmp_path / "new.sqlite", tmp_path / "shared.sqlite"
    shared.touch()
    shared.chmod(0o660)
    with closing(CaseStore(new)) as store, closing(CaseStore(shared)):
        store.save_view("ann", "it", QueueFilter())
        modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert {mode for name, mode in modes.items() if name.startswith("new")} == {0o600}
    assert "new.sqlite-wal" in modes and modes["shared.sqlite"] == 0o660
