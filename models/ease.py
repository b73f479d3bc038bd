"""Item-to-item weights in closed form: EASE (H. Steck, "Embarrassingly shallow autoencoders for sparse data", 2019).

A visitor's score of an item is the sum of the weights from the visitor's items to it. Weights may be negative: an item
that usually comes instead. They take the inverse of one matrix of all items by all items, so there is a limit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.als import rows_of
from models.batch_items import Neighbours

Floats = NDArray[np.float32]
Numbers = NDArray[np.int32]
Ints = NDArray[np.int64]

ITEMS_MOST = 12_000
"""Beyond so many items the fit would take minutes and gigabytes; ALS takes its place."""
BYTES_PER_CELL = 12
"""Of memory, for each pair of items, at the peak of the fit."""
PENALTY = 500.0
"""Added to each item's count: how many users' word it takes to believe in a weight.

Taken over from earlier runs on MovieLens 100K, not chosen on a split of its own; 300 to 800 hardly differ there.
"""
NEIGHBOURS_MOST = 512
"""Weights kept of each item, the largest by amount."""
ENTRIES_MOST = 4_000_000
"""Weights kept in all: 32 MB. Beyond 8,000 items each keeps fewer."""
ITEMS_PER_USER = 2_000
"""Of a user with more items, only so many count, so that no single one costs more than the rest together."""


class TooManyItems(ValueError):
    """There are more items than EASE can fit. A retry cannot help; ALS can."""


def memory_bytes(n_items: int) -> int:
    """What a fit takes at its peak."""
    return n_items * n_items * BYTES_PER_CELL


def _count_pairs_py(first: Ints, items: Numbers, gram: Floats) -> None:
    """Add, for each row, one to every pair of its items, the item with itself too: the lower triangle."""
    for row in range(first.shape[0] - 1):
        for a in range(first[row], first[row + 1]):
            for b in range(first[row], a + 1):  # ascending within a row, so b's item is not beyond a's
                gram[items[a], items[b]] += np.float32(1.0)


_count_pairs: Callable[..., None] = njit("void(int64[::1], int32[::1], float32[:,:])", cache=True, nogil=True)(
    _count_pairs_py
)


def fit_ease(
    users: Numbers, items: Numbers, n_items: int, *, penalty: float = PENALTY, most: int = NEIGHBOURS_MOST
) -> Neighbours:
    """The largest weights of each item, at most `most`. Pairs (user, item) are distinct, numbers from 0.

    Raises `TooManyItems` beyond `ITEMS_MOST` items.
    """
    if n_items > ITEMS_MOST:
        raise TooManyItems(f"EASE of {n_items} items, at most {ITEMS_MOST}: fit ALS, or fewer items")
    if penalty <= 0.0:
        raise ValueError(f"the penalty is {penalty}: give a number above 0, or the matrix may have no inverse")
    n_users = int(users.max()) + 1 if len(users) else 0
    first, columns, _ = rows_of(users, items, np.ones(len(items), dtype=np.float32), n_users)
    first, columns = _bounded(first, columns)
    most = max(1, min(most, n_items - 1, ENTRIES_MOST // max(n_items, 1)))
    if n_items < 2:
        return Neighbours(np.zeros(n_items + 1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))
    weights = ease_weights(first, columns, n_items, penalty)
    return strongest(weights, most)


def ease_weights(first: Ints, columns: Numbers, n_items: int, penalty: float) -> Floats:
    """All weights, float32 (n, n): `[j, i]` from item j to item i, the diagonal zero."""
    from scipy.linalg import lapack

    gram = np.zeros((n_items, n_items), dtype=np.float32, order="F")
    _count_pairs(first, columns, gram)
    gram[np.diag_indices(n_items)] += np.float32(penalty)
    lower: Any
    lower, failed = lapack.spotrf(gram, lower=1, overwrite_a=1)
    inverse: Any = None
    if not failed:
        inverse, failed = lapack.spotri(lower, lower=1, overwrite_c=1)
    if failed:
        raise ValueError(f"the counts of {n_items} items have no inverse at penalty {penalty}: give a larger penalty")
    inverse = np.tril(inverse) if n_items <= 1 else _mirrored(inverse)
    weights = np.empty((n_items, n_items), dtype=np.float32)
    np.divide(inverse, -np.diag(inverse)[None, :], out=weights)
    np.fill_diagonal(weights, 0.0)
    return weights


def strongest(weights: Floats, most: int) -> Neighbours:
    """The `most` largest weights by amount of each row, those of zero left out, items ascending."""
    n = len(weights)
    kept_items, kept_weights, counts = [], [], np.zeros(n, dtype=np.int64)
    for row in range(n):
        amounts = np.abs(weights[row])
        chosen = np.argsort(-amounts, kind="stable")[:most] if most < n else np.arange(n)
        chosen = np.sort(chosen[amounts[chosen] > 0.0])
        kept_items.append(chosen.astype(np.int32))
        kept_weights.append(weights[row, chosen])
        counts[row] = len(chosen)
    first = np.zeros(n + 1, dtype=np.int64)
    np.cumsum(counts, out=first[1:])
    return Neighbours(first, np.concatenate(kept_items), np.concatenate(kept_weights))


def _mirrored(inverse: Floats) -> Floats:
    """The whole of a symmetric matrix of which the lower triangle is set."""
    lower = np.tril(inverse)
    return lower + np.tril(inverse, -1).T


def _bounded(first: Ints, columns: Numbers) -> tuple[Ints, Numbers]:
    """Rows of at most `ITEMS_PER_USER` columns, evenly taken of longer ones."""
    counts = np.diff(first)
    if not len(counts) or counts.max() <= ITEMS_PER_USER:
        return first, columns
    kept = np.ones(len(columns), dtype=np.bool_)
    for row in np.flatnonzero(counts > ITEMS_PER_USER).tolist():
        kept[first[row] : first[row + 1]] = False
        kept[first[row] + np.linspace(0, counts[row] - 1, ITEMS_PER_USER).astype(np.int64)] = True
    bounded = np.zeros_like(first)
    np.cumsum(np.minimum(counts, ITEMS_PER_USER), out=bounded[1:])
    return bounded, columns[kept]
