"""What the ranker is told of candidates is what the recommender's state says of them."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from models.candidate_facts import facts_of, recents_of
from models.cross_features import cross_features
from models.interaction import Interaction
from models.item_index import ItemFacts
from models.ranker import Ranker
from models.recommender import Recommender

AT_US = 1_700_000_000_000_000


def hash_of(text: str) -> int:
    return zlib.crc32(text.encode()) + 1


@pytest.fixture
def recommender() -> Recommender:
    found = Recommender(hash_of)
    for n in range(30):
        found.put_item(ItemFacts(f"i{n}", None, f"c{n % 3}" if n else None, (), 10.0 * n or None, AT_US - n))
    for n in range(300):
        found.learn_one(Interaction(f"u{n % 20}", f"i{n * n % 30}", "click", None, AT_US + n * 1_000_000))
    return found


def test_facts_come_in_the_order_of_the_numbers(recommender: Recommender) -> None:
    recommender.shown("s", "u", [("i4", True), ("i0", False)], AT_US)
    recommender.clicked("s", "i4")
    facts = facts_of(recommender, np.array([4, 0], dtype=np.int32), AT_US + 400_000_000)
    assert facts.categories.tolist() == [recommender.index.code_of("c1"), -1]
    assert facts.prices.tolist() == pytest.approx([40.0, np.nan], nan_ok=True)
    assert facts.first_us.tolist() == [AT_US - 4, AT_US]
    assert facts.impressions.tolist() == [1.0, 1.0]
    assert facts.clicks.tolist() == [1.0, 0.0]
    assert np.linalg.norm(facts.vectors, axis=1) == pytest.approx([1.0, 1.0], abs=1e-5)
    assert facts.popularity[0] > 0.0


def test_a_whole_answer_can_be_ranked(recommender: Recommender) -> None:
    visit = recommender.visit("u3", AT_US + 400_000_000)
    candidates = recommender.candidates(visit)
    facts, recents = facts_of(recommender, candidates.items, visit.at_us), recents_of(recommender, visit)
    cross = cross_features(candidates.scores, candidates.blend, facts, recents, visit.at_us)
    ranker = Ranker()
    ranked = ranker.rank(ranker.rows(np.zeros(0), np.zeros((len(cross), 0)), cross), candidates.blend)
    assert len(ranked.scores) == len(candidates.items) > 0
    assert not np.isinf(cross).any()


def test_of_an_item_that_nobody_knows_nothing_is_known(recommender: Recommender) -> None:
    facts = facts_of(recommender, np.array([999, -1], dtype=np.int32), AT_US)
    assert facts.categories.tolist() == [-1, -1]
    assert np.isnan(facts.prices).all()
    assert facts.vectors.tolist() == np.zeros((2, facts.vectors.shape[1])).tolist()


def test_an_empty_state_has_no_facts() -> None:
    empty = Recommender(hash_of)
    visit = empty.visit("u", AT_US)
    candidates = empty.candidates(visit)
    facts, recents = facts_of(empty, candidates.items, AT_US), recents_of(empty, visit)
    assert len(cross_features(candidates.scores, candidates.blend, facts, recents, AT_US)) == 0
