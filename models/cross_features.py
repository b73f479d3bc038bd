"""What a ranker knows of a candidate for this visitor: each source's word, and how it fits what the visitor did last.

All candidates of one answer in one compiled call. Unknown is NaN, which trees take. Nothing here knows at which place
an item will be shown: that is recorded with a slate, and weighs its rows in training, but is no feature.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.candidates import FACTORS, SOURCES
from models.cross_kernel import fill_cross

Float32s = NDArray[np.float32]
NO_VECTORS = np.zeros((0, 0), dtype=np.float32)

OF_A_SOURCE = ("score", "share", "nearness")
"""Of each source: its score, that beside its best of this answer, and one over the rank it gives."""
OF_THE_SOURCES = ("sources", "blend", "blend_nearness", "popularity_nearness")
OF_THE_VISIT = (
    "recents_log",
    "since_last_log_s",
    "category_share",
    "category_recency",
    "category_last",
    "category_session",
    "category_crowd",
    "likeness_last",
    "likeness_best",
    "likeness_mean",
)
OF_THE_ITEM = ("price_log", "price_ratio_log", "popularity_log", "age_log_h", "shown_log", "click_rate")
CROSS_FEATURES = (
    *(f"cross_{source}_{name}" for source in SOURCES for name in OF_A_SOURCE),
    *(f"cross_{name}" for name in (*OF_THE_SOURCES, *OF_THE_VISIT, *OF_THE_ITEM)),
)
"""The columns of `cross_features`."""
UNLIFTED = len(SOURCES)
"""In the place of a source: none knows the item, or all find it unrelated."""


class CandidateFacts(NamedTuple):
    """What is known of n candidates, in their order.

    `categories` are codes, int32[n], -1 unknown; `prices` float32[n], NaN unknown; `popularity` float32[n], decayed
    interactions; `first_us` int64[n], since when the item is known, 0 or below where nobody knows; `impressions` and
    `clicks` float32[n]. `vectors`, float32[n, d], have length 1, or 0 where unknown; none at all is fine too.
    """

    categories: NDArray[np.int32]
    prices: Float32s
    popularity: Float32s
    first_us: NDArray[np.int64]
    impressions: Float32s
    clicks: Float32s
    vectors: Float32s = NO_VECTORS


class Recents(NamedTuple):
    """What is known of the visitor's m recent items, newest first; those of weight 0 are no sign of liking.

    Columns as those of `CandidateFacts`; `times_us` is when the visitor was there.
    """

    categories: NDArray[np.int32]
    prices: Float32s
    weights: Float32s
    times_us: NDArray[np.int64]
    vectors: Float32s = NO_VECTORS


def cross_features(scores: Float32s, blend: Float32s, facts: CandidateFacts, recents: Recents, at_us: int) -> Float32s:
    """The cross features of n candidates, float32[n, len(CROSS_FEATURES)]; never infinite.

    `scores` and `blend` are those of `Candidates`. Vectors of candidates and of recent items are compared where both
    have some, of the same width.
    """
    out = np.empty((len(blend), len(CROSS_FEATURES)), dtype=np.float32)
    put_cross_features(scores, blend, facts, recents, at_us, out)
    return out


def put_cross_features(
    scores: Float32s, blend: Float32s, facts: CandidateFacts, recents: Recents, at_us: int, out: Float32s
) -> NDArray[np.int8]:
    """As `cross_features`, written into `out`, which may be columns of a wider array.

    Gives the source that lifted each candidate most, int8[n]: the one that ranks it highest, of several the first;
    `UNLIFTED` where none did. A source lifts nothing that it does not know, or finds unrelated (0 or below, but for the
    factors, whose logits have no such bound).
    """
    n, m = len(blend), len(recents.categories)
    if out.shape != (n, len(CROSS_FEATURES)):
        raise ValueError(f"out has the shape {out.shape} for {n} candidates; it has {len(CROSS_FEATURES)} columns")
    own, others = facts.vectors, recents.vectors
    if len(own) != n or len(others) != m or not n * m:
        own = others = NO_VECTORS
    if own.shape[1] != others.shape[1]:
        raise ValueError(
            f"vectors of candidates have {own.shape[1]} dimensions, those of recent items {others.shape[1]}; "
            "take both from one model"
        )
    lifted = np.empty(n, dtype=np.int8)
    fill_cross(
        _packed(scores, np.float32),
        _packed(blend, np.float32),
        _packed(facts.categories, np.int32),
        _packed(facts.prices, np.float32),
        _packed(facts.popularity, np.float32),
        _packed(facts.first_us, np.int64),
        _packed(facts.impressions, np.float32),
        _packed(facts.clicks, np.float32),
        _packed(own, np.float32),
        _packed(recents.categories, np.int32),
        _packed(recents.prices, np.float32),
        _packed(recents.weights, np.float32),
        _packed(recents.times_us, np.int64),
        _packed(others, np.float32),
        at_us,
        FACTORS,
        out,
        lifted,
    )
    return lifted


_packed = np.ascontiguousarray
