"""What a soak compares with the log can fail: a state, a file of the archive or an entry of the chain that is wrong."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from bench.soak_count import Logged, entries, read_log
from bench.soak_stores import compare_archive, compare_chain, compare_states
from features.declared import all_views
from features.feature_set import EntityRef
from features.worker import Folder
from headrace.assembly import open_online_store, open_outbox
from headrace.audit import open_chain
from headrace.cold import open_archive
from headrace.settings import Settings
from stream.decision_keeper import keep
from stream.log import Entry, Message, Partition
from stream.records import Decision, Record, Transaction, encode
from tests.oracle import T0_US, payment
from tests.scoring.conftest import PLAN
from tests.stream.keeping import decided

CARD = EntityRef("card_id", "c")


@pytest.fixture
def settings(redis_db: str, tmp_path: Path) -> Settings:
    """A log with a few payments and decisions, folded, archived and kept in the chain."""
    PLAN.save(tmp_path / "plan.json")
    made = Settings({"home": tmp_path, "redis": redis_db, "partitions": 1}, {})
    records: list[Record] = [payment(number, T0_US + number * 1_000_000) for number in range(5)]
    records += [decided(number) for number in range(5)]
    with closing(open_outbox(made)) as log:
        log.append([Message(one.topic, "c", encode(one)) for one in records])
        found = {part: list(entries(log, part)) for part in map(_first, (Transaction.topic, Decision.topic))}
        fold(made, found[_first(Transaction.topic)])
        with open_archive(made) as archive:
            archive.write(log.name, found)
        with closing(open_chain(made)) as chain:
            keep(chain, log.name, {_first(Decision.topic): found[_first(Decision.topic)]}, lambda decisions: [])
    return made


def _first(topic: str) -> Partition:
    return Partition(topic, 0)


def fold(settings: Settings, found: list[Entry]) -> None:
    store = open_online_store(settings)
    with closing(store.connection):
        Folder(store, all_views(), "redis").fold({_first(Transaction.topic): found})


def test_what_agrees_with_the_log_is_found_clean(settings: Settings) -> None:
    logged = read_log(settings)
    assert len(logged.events) == len(logged.decisions) == 5
    states = compare_states(settings)
    assert states.entities >= 2
    assert (states.wrong, compare_archive(settings, logged), compare_chain(settings, logged)) == ([], [], [])


def test_a_state_that_lacks_an_event_or_has_one_too_many_is_found(settings: Settings) -> None:
    with closing(open_outbox(settings)) as log:
        log.append([Message(Transaction.topic, "c", encode(payment(9, T0_US)))])
    assert "holds 5 events, not 6" in str(compare_states(settings).wrong)
    later = 1 << 62
    fold(settings, [Entry(later + number, "c", encode(payment(number, T0_US))) for number in (9, 10)])
    assert "holds 7 events, not 6" in str(compare_states(settings).wrong)


def test_a_record_that_stays_pending_is_found(settings: Settings) -> None:
    store = open_online_store(settings)
    with closing(store.connection):
        store.add_pending([CARD], "e1", b"x")
    assert compare_states(settings).wrong == ["c has 1 pending records"]


def test_what_the_archive_or_the_chain_lacks_or_has_twice_is_found(settings: Settings) -> None:
    logged = read_log(settings)
    (gone,) = open_archive(settings).files(Transaction.topic)
    gone.path.unlink()
    assert len(compare_archive(settings, logged)) == 5
    event_id = next(iter(logged.decisions))
    fewer = Logged(logged.events, logged.labels, {key: of for key, of in logged.decisions.items() if key != event_id})
    assert compare_chain(settings, fewer) == [next(iter(compare_chain(settings, fewer)))]
    assert "1 times, not 0" in compare_chain(settings, fewer)[0]
    (segment,) = (settings.home / "audit").glob("*.chain")
    segment.write_bytes(segment.read_bytes()[:-100])
    assert compare_chain(settings, logged) != []
