"""The loops of `models/cross_features.py`, compiled: one call fills all candidates' rows where they are wanted."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from models.compiled import read_only
from models.products import add_products

Float32s = NDArray[np.float32]
Floats = NDArray[np.float64]
Numbers = NDArray[np.int32]
Times = NDArray[np.int64]
SESSION_US = 30 * 60 * 1_000_000
"""What is less old than this belongs to the visitor's session."""
RECENCY = 0.8
"""How much less each older recent item counts than the one after it."""
PRIOR_CLICKS, PRIOR_IMPRESSIONS = 1.0, 20.0
TOGETHER = 64
"""Numbers that a compiled loop takes in one go."""
US_PER_S, US_PER_H = 1e6, 3.6e9


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _rounded_up(length: int) -> int:
    """So many and some more, that no rest of a compiled loop goes one by one."""
    return (length + TOGETHER - 1) // TOGETHER * TOGETHER


def _fill_py(
    scores: Float32s,
    blend: Float32s,
    categories: Numbers,
    prices: Float32s,
    popularity: Float32s,
    first_us: Times,
    impressions: Float32s,
    clicks: Float32s,
    vectors: Float32s,
    recent_categories: Numbers,
    recent_prices: Float32s,
    recent_weights: Float32s,
    recent_times_us: Times,
    recent_vectors: Float32s,
    at_us: int,
    logits: int,
    out: Float32s,
    lifted: NDArray[np.int8],
) -> None:
    """Fill the row of each candidate, and write which source lifted it (the number of sources where none did)."""
    n, n_sources = scores.shape
    columns = np.full((n_sources + 2, _rounded_up(n)), np.float32(np.nan), dtype=np.float32)
    for i in range(n):
        for source in range(n_sources):
            columns[source, i] = scores[i, source]
        columns[n_sources, i], columns[n_sources + 1, i] = blend[i], popularity[i]
    by_visit = n_sources * 3 + 4
    by_item = by_visit + 10
    _fill_of_sources(columns, n_sources, logits, out, lifted)
    worth, last = _worths(recent_weights)
    of_visit = out[:, by_visit:by_item]
    _fill_of_visit(categories, recent_categories, recent_times_us, worth, last, at_us, of_visit)
    if last >= 0 and vectors.shape[0] == n and recent_vectors.shape[0] == worth.shape[0]:
        _fill_likeness(vectors, recent_vectors, worth, last, of_visit)
    _fill_of_items(
        prices, popularity, first_us, impressions, clicks, recent_prices, recent_weights, at_us, out[:, by_item:]
    )


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _fill_ranks(column: Float32s, n: int, ranks: Numbers) -> float:
    """Write the rank of each number among the first `n`, from 1 on, equal ones alike; give the largest finite one.

    Four are compared in each pass. NaN is above nothing, and four of it are skipped.
    """
    most = -math.inf
    ranks[:] = 1
    for j in range(0, n, 4):
        a, b, c, d = column[j], column[j + 1], column[j + 2], column[j + 3]
        if math.isnan(a) and math.isnan(b) and math.isnan(c) and math.isnan(d):
            continue
        for other in (a, b, c, d):
            if math.isfinite(other) and other > most:
                most = other
        for i in range(column.shape[0]):
            value = column[i]
            ranks[i] += np.int32(a > value) + np.int32(b > value) + np.int32(c > value) + np.int32(d > value)
    return most


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _fill_of_sources(columns: Float32s, n_sources: int, logits: int, out: Float32s, lifted: NDArray[np.int8]) -> None:
    """What the sources say. One row of `columns` for each of them, then the blend, then the popularity.

    The source `logits` scores by logits, whose differences count; of the others, the ratios do. A candidate is lifted
    by the source that ranks it highest, of several the first; not by one that finds it unrelated (0 or below, but for
    the logits, which have no such bound).
    """
    n, first = lifted.shape[0], n_sources * 3
    ranks = np.empty(columns.shape[1], dtype=np.int32)
    highest = np.full(n, n + 1, dtype=np.int32)
    for i in range(n):
        out[i, first] = 0.0
        lifted[i] = n_sources
    for row in range(n_sources + 2):
        column = columns[row]
        most = _fill_ranks(column, n, ranks)
        for i in range(n):
            value = column[i]
            if row < n_sources and ranks[i] < highest[i] and (value > 0.0 or (row == logits and math.isfinite(value))):
                highest[i], lifted[i] = ranks[i], row
            nearness = math.nan if math.isnan(value) else 1.0 / ranks[i]
            value = value if math.isfinite(value) else math.nan
            if row < n_sources:
                out[i, row * 3] = value
                if row == logits:
                    out[i, row * 3 + 1] = math.exp(value - most)
                else:
                    # Far below 0 is far enough, and not infinitely far.
                    out[i, row * 3 + 1] = max(value / most, -1.0) if most > 0.0 else value * 0.0
                out[i, row * 3 + 2] = nearness
                out[i, first] += 0.0 if math.isnan(value) else 1.0
            elif row == n_sources:
                out[i, first + 1], out[i, first + 2] = value, nearness
            else:
                out[i, first + 3] = nearness


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _worths(weights: Float32s) -> tuple[Floats, int]:
    """How much each recent item counts, 0 for those not liked, and the place of the newest that was (-1: none)."""
    worth, liked, last = np.zeros(weights.shape[0]), 0, -1
    for j in range(weights.shape[0]):
        if weights[j] > 0.0:
            worth[j] = RECENCY**liked
            last = j if last < 0 else last
            liked += 1
    return worth, last


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _fill_likeness(vectors: Float32s, recent_vectors: Float32s, worth: Floats, last: int, out: Float32s) -> None:
    """How alike each candidate's vector is to those of the liked items: the newest, the best and the mean.

    Each product is added in the order of the dimensions, on every machine: the inner loops go over candidates.
    """
    n, width = vectors.shape
    columns = np.zeros((width, _rounded_up(n)), dtype=np.float32)
    for i in range(n):
        for d in range(width):
            columns[d, i] = vectors[i, d]
    products = np.empty(columns.shape[1], dtype=np.float32)
    best, mean = np.full(columns.shape[1], -math.inf), np.zeros(columns.shape[1])
    total = 0.0
    for j in range(worth.shape[0]):
        if worth[j] <= 0.0:
            continue
        total += worth[j]
        add_products(columns, recent_vectors[j], products)
        for i in range(columns.shape[1]):
            best[i] = max(best[i], products[i])
            mean[i] += worth[j] * products[i]
        if j == last:
            for i in range(n):
                out[i, 7] = products[i]
    for i in range(n):
        out[i, 8], out[i, 9] = best[i], mean[i] / total


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _kinds(categories: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """The distinct known categories, how many candidates are of each, and each candidate's place there (-1: none)."""
    n, found = categories.shape[0], 0
    kinds, crowds = np.empty(n, dtype=np.int32), np.zeros(n, dtype=np.int32)
    kind_of = np.full(n, -1, dtype=np.int32)
    for i in range(n):
        if categories[i] < 0:
            continue
        at = 0
        while at < found and kinds[at] != categories[i]:
            at += 1
        if at == found:
            kinds[at] = categories[i]
            found += 1
        crowds[at] += 1
        kind_of[i] = at
    return kinds[:found], crowds[:found], kind_of


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _fill_of_visit(
    categories: Numbers,
    recent_categories: Numbers,
    recent_times_us: Times,
    worth: Floats,
    last: int,
    at_us: int,
    out: Float32s,
) -> None:
    """How candidates fit what the visitor liked, but for their likeness: the same for all of one category."""
    n, m = categories.shape[0], recent_categories.shape[0]
    liked, total = 0, 0.0
    for j in range(m):
        liked += worth[j] > 0.0
        total += worth[j]
    since_s = max(0.0, (at_us - recent_times_us[0]) / US_PER_S) if m > 0 else math.nan
    liked_log, since_log = math.log1p(liked), math.log1p(since_s)
    kinds, crowds, kind_of = _kinds(categories)
    of_kind = np.full((kinds.shape[0], 5), np.float32(np.nan), dtype=np.float32)
    for kind in range(kinds.shape[0]):
        of_kind[kind, 4] = crowds[kind] / n
        if liked == 0:
            continue
        same, share, session = 0, 0.0, 0.0
        for j in range(m):
            if worth[j] > 0.0 and kinds[kind] == recent_categories[j]:
                same += 1
                share += worth[j]
                session = 1.0 if at_us - recent_times_us[j] <= SESSION_US else session
        of_kind[kind, 0], of_kind[kind, 1] = same / liked, share / total
        of_kind[kind, 2], of_kind[kind, 3] = 1.0 if kinds[kind] == recent_categories[last] else 0.0, session
    for i in range(n):
        out[i, 0], out[i, 1] = liked_log, since_log
        out[i, 2:] = math.nan
        if kind_of[i] >= 0:
            out[i, 2:7] = of_kind[kind_of[i]]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _fill_of_items(
    prices: Float32s,
    popularity: Float32s,
    first_us: Times,
    impressions: Float32s,
    clicks: Float32s,
    recent_prices: Float32s,
    recent_weights: Float32s,
    at_us: int,
    out: Float32s,
) -> None:
    """What is known of each item by itself, and its price beside those that the visitor looked at."""
    logs, priced = 0.0, 0
    for j in range(recent_prices.shape[0]):
        if recent_weights[j] > 0.0 and 0.0 < recent_prices[j] < math.inf:
            logs += math.log(recent_prices[j])
            priced += 1
    for i in range(prices.shape[0]):
        out[i, :] = math.nan
        if 0.0 < prices[i] < math.inf:
            price_log = math.log(prices[i])
            out[i, 0] = price_log
            if priced > 0:
                out[i, 1] = price_log - logs / priced
        if 0.0 <= popularity[i] < math.inf:
            out[i, 2] = math.log1p(popularity[i])
        if first_us[i] > 0:
            out[i, 3] = math.log1p(max(0.0, (at_us - first_us[i]) / US_PER_H))
        if 0.0 <= impressions[i] < math.inf and 0.0 <= clicks[i] < math.inf:
            out[i, 4] = math.log1p(impressions[i])
            out[i, 5] = (clicks[i] + PRIOR_CLICKS) / (max(impressions[i], clicks[i]) + PRIOR_IMPRESSIONS)


_F, _F2, _I, _L = read_only(types.float32), read_only(types.float32, 2), read_only(types.int32), read_only(types.int64)
fill_cross: Callable[..., None] = njit(
    types.void(
        *(_F2, _F, _I, _F, _F, _L, _F, _F, _F2),  # of candidates
        *(_I, _F, _F, _L, _F2),  # of recent items
        *(types.int64, types.int64, types.Array(types.float32, 2, "A"), types.int8[::1]),
    ),
    cache=True,
    nogil=True,
)(_fill_py)
