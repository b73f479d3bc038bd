"""From recorded interactions to item weights and vectors: what a recommender adopts between its own lessons.

Up to a number of items, and as far as memory goes, EASE and ALS together; beyond, ALS alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import psutil
from numpy.typing import NDArray

from models.als import fit_als
from models.batch_items import BatchItems
from models.ease import ITEMS_MOST, fit_ease, memory_bytes

MEMORY_SHARE = 0.5
"""Of the memory that is free, how much EASE may take."""
ALS_WEIGHT_MOST = 10.0
"""The most that one user's interactions with one item count together."""


class Interactions(NamedTuple):
    """Recorded interactions in any order, one for each place of four arrays of the same length.

    `user` is any numbering of users, int64; `item` is a place in `item_ids`; `weight` is `interaction.weight_of`, 0 for
    what was not wanted; `at_us` is microseconds since 1970.
    """

    user: NDArray[np.int64]
    item: NDArray[np.int32]
    weight: NDArray[np.float32]
    at_us: NDArray[np.int64]
    item_ids: Sequence[str]


class NothingToFit(ValueError):
    """No interaction is before the cut-off. A retry can help when there are some."""


class Pairs(NamedTuple):
    """Distinct pairs of user and item, both numbered from 0 without gaps, with summed weights; ids of those items."""

    user: NDArray[np.int32]
    item: NDArray[np.int32]
    weight: NDArray[np.float32]
    item_ids: tuple[str, ...]


def fit_items(
    interactions: Interactions, until_us: int, version: str, *, ease_items_most: int = ITEMS_MOST
) -> BatchItems:
    """Fit what was before `until_us`. The same interactions in another order give the same bytes.

    Raises
    ------
    NothingToFit
        When no wanted interaction is before `until_us`.
    """
    pairs = pairs_before(interactions, until_us)
    n_items = len(pairs.item_ids)
    small = n_items <= ease_items_most and memory_bytes(n_items) <= MEMORY_SHARE * psutil.virtual_memory().available
    neighbours = fit_ease(pairs.user, pairs.item, n_items) if small else None
    factors = fit_als(pairs.user, pairs.item, pairs.weight, n_items)
    return BatchItems(version, until_us, pairs.item_ids, neighbours, factors)


def pairs_before(interactions: Interactions, until_us: int) -> Pairs:
    """What users wanted before a time. A pair whose last interaction has weight 0 is no longer wanted."""
    before = interactions.at_us < until_us
    user, item = interactions.user[before], interactions.item[before]
    weight, at_us = interactions.weight[before], interactions.at_us[before]
    # The newest of each pair last; of equal times the heavier, so that the order of the input does not matter.
    order = np.lexsort((weight, at_us, item, user))
    user, item, weight = user[order], item[order], weight[order]
    ends = np.flatnonzero(np.r_[(user[1:] != user[:-1]) | (item[1:] != item[:-1]), np.ones(min(1, len(user)), bool)])
    starts = np.r_[0, ends[:-1] + 1] if len(ends) else ends
    summed = np.add.reduceat(weight.astype(np.float64), starts) if len(ends) else np.zeros(0)
    wanted = weight[ends] > 0.0
    if not wanted.any():
        raise NothingToFit(
            f"of {len(before)} interactions none that was wanted is before {until_us} us; take a later time"
        )
    kept = ends[wanted]
    numbers, items = np.unique(item[kept], return_inverse=True)
    ids = [interactions.item_ids[n] for n in numbers.tolist()]
    # By id, not by the caller's numbering.
    by_id = sorted(range(len(ids)), key=ids.__getitem__)
    place = np.empty(len(ids), dtype=np.int32)
    place[by_id] = np.arange(len(ids), dtype=np.int32)
    return Pairs(
        np.unique(user[kept], return_inverse=True)[1].astype(np.int32),
        place[items],
        np.minimum(summed[wanted], ALS_WEIGHT_MOST).astype(np.float32),
        tuple(ids[n] for n in by_id),
    )
