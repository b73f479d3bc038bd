"""From the sequence to the state: what each record does, and that whoever applies the same knows the same."""

from __future__ import annotations

import random

import pytest

from features.view import member_hash
from scoring.sequenced import Applied, ContentMissing, RecommenderState
from stream.sequence import Sequenced, SequenceGap
from tests.training.shop_records import Record, a_day, a_fit, action, adoption, applied, item, nothing, sequenced, slate


def test_what_each_record_does() -> None:
    state = RecommenderState()
    given: list[Record] = [
        item(1),
        action(1, item="i1"),
        slate(1, ["i1"]),
        action(2, slate="s1", item="i1"),
        item(1, deleted=True),
    ]
    found = [state.apply(entry, nothing) for entry in sequenced(given)]
    assert found == [
        Applied("item", ("i1",)),
        Applied("learned", ("i1",)),
        Applied("shown", ("i1",)),
        Applied("learned", ("i1",)),
        Applied("item", ("i1",)),
    ]
    assert (state.number, state.counts.clicked) == (5, 1)
    assert state.recommender.index.hidden.tolist() == [True]


def test_the_same_entries_give_the_same_state_also_when_it_was_written_down_in_between() -> None:
    entries = sequenced(a_day())
    whole = applied(entries)
    broken = applied(entries[:150])
    broken = RecommenderState.decode(broken.encode())
    for entry in entries[150:]:
        broken.apply(entry, nothing)
    assert (whole.digest(), whole.encode()) == (broken.digest(), broken.encode())
    assert whole.digest() != applied(entries[:-1]).digest()


def test_records_that_come_twice_count_once() -> None:
    records = a_day()
    random.seed(4)
    doubled = [one for record in records for one in [record] * random.choice([1, 1, 2, 3])]
    again = applied(sequenced([*doubled, *records]))
    assert again.digest() == applied(sequenced(records)).digest()
    assert again.counts.repeated == len(doubled)


def test_an_entry_that_is_in_the_state_changes_nothing_and_one_too_far_on_is_refused() -> None:
    entries = sequenced(a_day())
    state = applied(entries[:10])
    before = state.encode()
    assert state.apply(entries[4], nothing) == Applied("repeated")
    with pytest.raises(SequenceGap, match="entry 12 came after 10"):
        state.apply(entries[11], nothing)
    assert state.encode() == before


def test_a_record_of_another_version_says_nothing_to_anybody() -> None:
    (entry,) = sequenced([action(1)])
    state = RecommenderState()
    assert state.apply(entry._replace(payload=b'{"type":"action","new":1}'), nothing).effect == "unreadable"
    assert state.apply(entry._replace(number=2, source="redis/moods/0"), nothing).effect == "unreadable"


def test_a_batch_fit_is_adopted_at_one_place_of_the_sequence_and_stays_in_the_state() -> None:
    content = a_fit()
    state = applied(sequenced([action(1, item="i1"), action(2, item="i2")]))
    before = state.digest()
    entry = Sequenced(b"3-0", "training/adoptions/0", 1, adoption(content), 3)
    with pytest.raises(ContentMissing, match="b1"):
        state.apply(entry, nothing)
    with pytest.raises(ContentMissing, match="b1"):
        state.apply(entry, lambda version: content + b"x")
    assert (state.number, state.digest()) == (2, before)
    assert state.apply(entry, lambda version: content).effect == "adopted"
    again = RecommenderState.decode(state.encode())
    assert (again.adopted, again.digest()) == ("b1", state.digest())
    assert again.digest() != before


def test_hashes_of_visitors_are_those_of_the_online_store() -> None:
    assert RecommenderState().recommender.hash_of is member_hash
