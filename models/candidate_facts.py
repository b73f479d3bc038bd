"""From a recommender's state to what the ranker and the slate know of candidates and of a visitor's recent items."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.cross_features import CandidateFacts, Recents
from models.exposure import CLICKS, SHOWN
from models.facts_kernel import described, known
from models.recommender import Recommender
from models.trending import HALF_LIVES_US
from models.visit import Visit

LONGEST = len(HALF_LIVES_US) - 1
"""Popularity goes by the longest half-life: how items trend, their source says."""
RECENTS = 50
"""How many of a visitor's newest items cross features look at."""
Numbers = NDArray[np.int32]


def facts_of(recommender: Recommender, numbers: Numbers, at_us: int) -> CandidateFacts:
    """What is known of items at a time, in the order of their numbers."""
    index = recommender.index
    counts, _, _, landmarks_us, _ = recommender.trends.columns
    return CandidateFacts(
        *known(
            numbers,
            index.category,
            index.price,
            recommender.factors.vectors,
            index.first_us,
            recommender.exposure.by_item,
            SHOWN,
            CLICKS,
            counts,
            landmarks_us,
            LONGEST,
            at_us,
        )
    )


def recents_of(recommender: Recommender, visit: Visit) -> Recents:
    """What is known of the visitor's newest items."""
    index = recommender.index
    categories, prices, vectors = described(
        visit.items[:RECENTS], index.category, index.price, recommender.factors.vectors
    )
    return Recents(categories, prices, visit.weights[:RECENTS], visit.times_us[:RECENTS], vectors)
