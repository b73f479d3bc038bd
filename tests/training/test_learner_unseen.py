from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest

from training.learner_store import LearnerStore
from training.learner_unseen import Unseen


@pytest.fixture
def store() -> Iterator[LearnerStore]:
    with closing(LearnerStore(":memory:")) as opened:
        yield opened


def keep(store: LearnerStore, unseen: Unseen, *decisions: tuple[str, int]) -> None:
    for event_id, at_us in decisions:
        store.add_decision(event_id, at_us, at_us, "h", np.zeros(1), {})
        unseen.add(at_us)


def given(unseen: Unseen, *times_us: int) -> list[str]:
    """What one transaction sees."""
    seen = [each.event_id for at_us in times_us for each in unseen.up_to(at_us)]
    unseen.save()
    return seen


@pytest.fixture(params=[1, 2, 200])
def unseen(store: LearnerStore, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Unseen:
    monkeypatch.setattr("training.learner_unseen.READ_AT_ONCE", request.param)
    return Unseen(store)


def test_each_is_given_once_in_turn_up_to_the_time(store: LearnerStore, unseen: Unseen) -> None:
    keep(store, unseen, ("d", 9), ("b", 5), ("a", 5), ("c", 7))
    assert given(unseen, 4) == []
    assert given(unseen, 5, 4, 7) == ["a", "b", "c"]
    assert given(unseen, 9) == ["d"]
    assert given(unseen, 99) == []


def test_what_comes_late_is_given_before_what_was_read_ahead(store: LearnerStore, unseen: Unseen) -> None:
    keep(store, unseen, ("a", 1), ("b", 2), ("d", 8), ("e", 9))
    assert given(unseen, 2) == ["a", "b"]
    keep(store, unseen, ("late", 1), ("c", 3))
    assert given(unseen, 8) == ["late", "c", "d"]


def test_what_was_dropped_is_not_given(store: LearnerStore, unseen: Unseen) -> None:
    keep(store, unseen, ("a", 1), ("b", 2))
    store.drop_decisions(older_than_us=2, up_to_arrival=0)
    assert given(unseen, 1) == []
    assert given(unseen, 2) == ["b"]


def test_another_over_the_same_file_goes_on_where_the_last_saved(store: LearnerStore, unseen: Unseen) -> None:
    keep(store, unseen, ("a", 1), ("b", 2))
    assert given(unseen, 1) == ["a"]
    assert [each.event_id for each in unseen.up_to(2)] == ["b"]  # and never saved
    assert given(Unseen(store), 2) == ["b"]
