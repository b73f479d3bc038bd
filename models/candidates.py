"""Candidates: the union of what the sources propose, each with every source's score."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.exposure import SHOWN
from models.gather_kernel import propose
from models.visit import Visit

if TYPE_CHECKING:
    from models.recommender import Recommender

Floats = NDArray[np.float32]

SOURCES = ("covisitation", "factors", "batch", "trending", "content")
"""The columns of `Candidates.scores`."""
COVISITATION, FACTORS, BATCH, TRENDING, CONTENT = range(len(SOURCES))
NOTHING: NDArray[np.int32] = np.zeros(0, dtype=np.int32)
CANDIDATES_LIMIT = 100
NEWCOMERS_MOST = 8
NEWCOMERS_AMONG = 512
"""Newcomers are looked for among so many of the newest items."""
NEWCOMER_IMPRESSIONS = 100.0
"""Shown so often, an item is no newcomer: its clicks speak for it."""


class Candidates(NamedTuple):
    """Items that may be recommended, best first by `blend`; none is hidden or seen.

    `items` are numbers of `ItemIndex`, int32[n]. `scores` is float32[n, S] in the order of `SOURCES`; larger is better
    within a column, and columns have different scales. NaN means that the source has nothing to say of the item (no
    batch fit, no vector, not among the neighbours of the visitor's items), which is not the same as a low score.
    `blend` is float32[n], never NaN: the order where there is no ranker.
    """

    items: NDArray[np.int32]
    scores: NDArray[np.float32]
    blend: NDArray[np.float32]


def no_candidates() -> Candidates:
    """What an empty state answers."""
    none = np.zeros(0, dtype=np.float32)
    return Candidates(np.zeros(0, dtype=np.int32), np.zeros((0, len(SOURCES)), dtype=np.float32), none)


WEIGHTS = np.array([1.0, 0.4, 0.5, 0.1, 0.3], dtype=np.float32)
"""The power of each source in the blend."""
UNKNOWN = 0.05
"""What a source gives to items that it says nothing of, where its best has 1."""


def _blend_py(scores: NDArray[np.float32], weights: NDArray[np.float32], unknown: float, out: Floats) -> None:
    out[:] = np.float32(0.0)
    for source in range(scores.shape[1]):
        known = 0
        most = np.float32(0.0)
        least = np.float32(0.0)
        for i in range(scores.shape[0]):
            score = scores[i, source]
            if not np.isnan(score):
                most = score if known == 0 else max(most, score)
                least = score if known == 0 else min(least, score)
                known += 1
        if known == 0 or (most <= 0.0 and source != FACTORS):
            continue
        for i in range(scores.shape[0]):
            score = scores[i, source]
            if source == FACTORS:
                part = (least if np.isnan(score) else score) - most
            elif source == TRENDING:
                part = np.float32(0.0 if np.isnan(score) else np.log1p(max(score, np.float32(0.0))))
            else:
                share = np.float32(0.0 if np.isnan(score) else max(score, np.float32(0.0)) / most)
                part = np.float32(np.log(share + unknown))
            out[i] += weights[source] * part


_blend: Callable[..., None] = njit("void(float32[:,::1], float32[::1], float64, float32[::1])", cache=True, nogil=True)(
    _blend_py
)


def blend(scores: NDArray[np.float32]) -> Floats:
    """One score for each row of `Candidates.scores`, finite: a weighted sum on the scale of logarithms.

    Sums of weights count by their logarithm relative to the visit's best, trending by that of its count, factors by
    their logit. A source that has nothing to say of any item counts nothing.
    """
    out = np.empty(scores.shape[0], dtype=np.float32)
    _blend(np.ascontiguousarray(scores, dtype=np.float32), WEIGHTS, UNKNOWN, out)
    return out


def gather(recommender: Recommender, visit: Visit, limit: int = CANDIDATES_LIMIT) -> Candidates:
    """The union of what every source proposes to a visitor, at most `limit`, best first by `blend`.

    Which of them are in is decided by their places in the proposals, not by the blend: a ranker finds each source's
    best there. A visitor of whom content says nothing, a stranger, is proposed a few newcomers too, which no other
    source knows. A pure function of the state and the visit. Empty for an empty state, or where all are hidden or seen.
    """
    if not len(recommender.index) or limit <= 0:
        return no_candidates()
    barred = recommender.index.barred(visit.seen, visit.items, visit.category)
    of_batch = recommender.of_batch(visit, barred)
    items, said = propose(
        (visit.items, visit.times_us, visit.weights, visit.at_us, visit.category),
        barred,
        recommender.covisitation.columns,
        recommender.factors.columns,
        recommender.content.columns,
        recommender.trends.columns,
        (recommender.exposure.by_item, SHOWN, min(limit, NEWCOMERS_MOST), NEWCOMERS_AMONG, NEWCOMER_IMPRESSIONS),
        NOTHING if of_batch is None else of_batch.top(limit)[0],
        (COVISITATION, FACTORS, TRENDING, CONTENT),
        limit,
    )
    if of_batch is not None:
        said[BATCH] = of_batch.of(items)
    return Candidates(*_ordered(items, said, WEIGHTS, UNKNOWN))


def _ordered_py(
    items: NDArray[np.int32], said: Floats, weights: Floats, unknown: float
) -> tuple[NDArray[np.int32], Floats, Floats]:
    """Items, scores and blend, best first by the blend, equal ones as they came. `said` has a row for each source."""
    n = items.shape[0]
    scores = np.empty((n, said.shape[0]), dtype=np.float32)
    for i in range(n):
        for source in range(said.shape[0]):
            scores[i, source] = said[source, i]
    blended = np.empty(n, dtype=np.float32)
    _blend(scores, weights, unknown, blended)
    order = np.empty(n, dtype=np.int64)
    for i in range(n):
        at = i
        while at > 0 and blended[order[at - 1]] < blended[i]:
            order[at] = order[at - 1]
            at -= 1
        order[at] = i
    for place in range(n):
        for source in range(said.shape[0]):
            scores[place, source] = said[source, order[place]]
    return items[order], scores, blended[order]


_ordered: Callable[..., tuple[NDArray[np.int32], Floats, Floats]] = njit(
    "Tuple((int32[::1], float32[:,::1], float32[::1]))(int32[::1], float32[:,::1], float32[::1], float64)",
    cache=True,
    nogil=True,
)(_ordered_py)
