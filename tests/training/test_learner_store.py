from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from stream.log import Partition
from stream.records import Label
from training.learner_store import LabelledScore, LearnerStore, StateMoved
from training.watch_store import WatchStore

HERE = Partition("labels", 1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LearnerStore]:
    with closing(LearnerStore(tmp_path / "learner.sqlite")) as opened:
        yield opened


def test_a_vector_comes_back_bit_for_bit_with_its_nulls(store: LearnerStore) -> None:
    vector = np.array([0.1, np.nan, -0.0, 1e300])
    store.add_decision("a", 1, 0, "h", vector, {"ensemble": 0.1 + 0.2})
    kept = store.decision("a")
    assert kept is not None
    assert kept.vector.tobytes() == vector.tobytes()
    assert kept.scores == {"ensemble": 0.1 + 0.2}


def test_an_event_s_decision_is_kept_once(store: LearnerStore) -> None:
    assert store.add_decision("a", 1, 0, "h", np.zeros(1), {})
    assert not store.add_decision("a", 2, 0, "h", np.ones(1), {})


def test_decisions_are_observed_once_by_time_and_then_id(store: LearnerStore) -> None:
    for arrival, (event_id, at_us) in enumerate([("c", 5), ("b", 7), ("a", 7), ("d", 9)]):
        store.add_decision(event_id, arrival, at_us, "h", np.array([float(arrival)]), {})
    assert store.oldest_unobserved_us() == 5
    first = store.unobserved(None, limit=2)
    assert [(seen.event_id, seen.vector[0]) for seen in first] == [("c", 0.0), ("a", 2.0)]
    assert [seen.event_id for seen in store.unobserved((7, "a"), limit=9)] == ["b", "d"]
    store.drop_unobserved((7, "a"))
    assert store.oldest_unobserved_us() == 7
    assert [seen.event_id for seen in store.unobserved(None, limit=9)] == ["b", "d"]


def test_a_dropped_decision_is_not_observed_any_more(store: LearnerStore) -> None:
    store.add_decision("a", 1, 5, "h", np.zeros(1), {})
    store.drop_decisions(older_than_us=6, up_to_arrival=0)
    assert store.oldest_unobserved_us() is None


def test_a_dropped_decision_takes_its_applied_labels_along(store: LearnerStore, label: Callable[..., Label]) -> None:
    store.add_decision("a", 1, 100, "h", np.zeros(1), {})
    assert store.add_applied(label("a", "fraud"))
    assert store.drop_decisions(older_than_us=101, up_to_arrival=0) == 1
    store.add_decision("a", 2, 200, "h", np.zeros(1), {})
    assert store.add_applied(label("a", "fraud"))


def test_early_labels_are_taken_once_in_the_order_they_came(store: LearnerStore, label: Callable[..., Label]) -> None:
    sent = [label("a", "legit", hour=2), label("a", "fraud", hour=1), label("b", "fraud")]
    assert all(store.add_early(each, arrival) for arrival, each in enumerate(sent))
    assert not store.add_early(sent[0], 3)
    assert store.take_early("a") == [(0, sent[0]), (1, sent[1])]
    assert store.take_early("a") == []


def test_labelled_scores_keep_their_place_when_corrected(store: LearnerStore) -> None:
    for arrival, name in enumerate(("a", "b")):
        assert store.put_labelled(LabelledScore(name, False, {"batch": 0.5}), arrival)
    assert not store.put_labelled(LabelledScore("a", True, {"batch": 0.5}), 9)
    assert [(each.event_id, each.is_fraud) for each in store.labelled()] == [("a", True), ("b", False)]
    assert store.drop_labelled(up_to_arrival=0) == ["a"]


def test_nothing_of_a_failed_transaction_stays(store: LearnerStore) -> None:
    with pytest.raises(KeyboardInterrupt), store.transaction():
        store.save_offsets("redis", {HERE: 7})
        store.save_state(0, b"{}", b"{}")
        raise KeyboardInterrupt
    assert store.offsets() == {}
    assert store.state() == (0, None, None)


def test_offsets_of_two_logs_do_not_meet(store: LearnerStore) -> None:
    store.save_offsets("redis", {HERE: 7})
    store.save_offsets("kafka-1", {HERE: 2**62})
    assert store.offsets() == {("redis", HERE): 7, ("kafka-1", HERE): 2**62}


def test_a_state_is_saved_only_over_the_one_it_follows_from(store: LearnerStore) -> None:
    store.save_state(0, b"first", b"")
    with pytest.raises(StateMoved):
        store.save_state(0, b"second", b"")
    assert store.state() == (1, b"first", b"")


def test_who_finds_the_file_held_waits_for_longer_than_a_busy_disk_takes(store: LearnerStore) -> None:
    with closing(WatchStore(":memory:")) as watched:
        for db in (store._db, watched.db):
            assert db.execute("PRAGMA busy_timeout").fetchone() == (30_000,)
