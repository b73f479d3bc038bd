"""The loops of `models/slate.py`, compiled: choosing ranked places one by one, and drawing those that explore."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from models.compiled import read_only
from models.exploration import draw_of, shares_of
from models.products import add_products

Floats = NDArray[np.float64]
Numbers = NDArray[np.int32]
TOGETHER = 64
"""Candidates that a compiled loop takes in one go."""


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _choose(
    items: Numbers,
    scores: Floats,
    categories: Numbers,
    vectors: NDArray[np.float32],
    cap: int,
    mmr_lambda: float,
    count: int,
    taken: NDArray[np.bool_],
    alike: Numbers,
    chosen: Numbers,
) -> None:
    """Choose `count` candidates one by one; at least as many must be free."""
    n = items.shape[0]
    low, high = np.inf, -np.inf
    for i in range(n):
        if not taken[i]:
            low, high = min(low, scores[i]), max(high, scores[i])
    # Halved, so that no two finite scores are infinitely far apart.
    span = high / 2.0 - low / 2.0
    relevance = np.ones(n)
    if span > 0.0:
        for i in range(n):
            relevance[i] = (scores[i] / 2.0 - low / 2.0) / span
    likeness = np.zeros(n)
    compared = vectors.shape[0] > 0
    # By dimension, for `add_products`. Rounded up, so that no rest of a loop over candidates goes one by one.
    columns = np.zeros((vectors.shape[1], (n + TOGETHER - 1) // TOGETHER * TOGETHER), dtype=np.float32)
    if mmr_lambda < 1.0 and compared:
        for i in range(n):
            for d in range(vectors.shape[1]):
                columns[d, i] = vectors[i, d]
    products = np.empty(columns.shape[1], dtype=np.float32)
    for place in range(count):
        best, best_value, best_over = -1, 0.0, True
        for i in range(n):
            if taken[i]:
                continue
            over = cap > 0 and alike[i] >= cap
            if best >= 0 and over and not best_over:
                continue
            value = mmr_lambda * relevance[i] - (1.0 - mmr_lambda) * likeness[i]
            if (
                best < 0
                or (best_over and not over)
                or value > best_value
                or (
                    value == best_value
                    and (scores[i] > scores[best] or (scores[i] == scores[best] and items[i] < items[best]))
                )
            ):
                best, best_value, best_over = i, value, over
        chosen[place] = best
        taken[best] = True
        for i in range(n):
            same = categories[best] >= 0 and categories[i] == categories[best]
            alike[i] += same
            if not compared and same:
                likeness[i] = 1.0
        if mmr_lambda < 1.0 and compared and place + 1 < count:
            add_products(columns, vectors[best], products)
            for i in range(n):
                likeness[i] = max(likeness[i], products[i])


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _pick_arms(
    items: Numbers,
    scores: Floats,
    known: Floats,
    cap: int,
    least: int,
    taken: NDArray[np.bool_],
    alike: Numbers,
    arms: Numbers,
) -> int:
    """Fill `arms` with places of free candidates, and say how many: the best half first, then the least known.

    Only those below the cap, but for as many others as are missing to `least`.
    """
    n, found = items.shape[0], 0
    free = ~taken
    if cap > 0:
        free &= alike < cap
    while found < arms.shape[0]:
        by_score = found < arms.shape[0] - arms.shape[0] // 2
        best = -1
        for i in range(n):
            if not free[i]:
                continue
            better = best < 0
            if best >= 0:
                if not by_score and known[i] != known[best]:
                    better = known[i] < known[best]
                elif scores[i] != scores[best]:
                    better = scores[i] > scores[best]
                else:
                    better = items[i] < items[best]
            if better:
                best = i
        if best < 0 and found < least:
            free = ~taken
            for arm in arms[:found]:
                free[arm] = False
            cap, least = 0, 0
            continue
        if best < 0:
            break
        arms[found] = best
        free[best] = False
        found += 1
    return found


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _fill(
    items: Numbers,
    scores: Floats,
    categories: Numbers,
    vectors: NDArray[np.float32],
    barred: NDArray[np.bool_],
    known: Floats,
    cap: int,
    mmr_lambda: float,
    k: int,
    explores: int,
    chosen: Numbers,
    arms: Numbers,
    alike: Numbers,
) -> tuple[int, int]:
    """Fill `chosen` with the places of the ranked candidates, and `arms` with those that exploration draws from.

    Gives how many of each. `explores` places of `k` are left to exploration where there are more candidates than
    places; `alike` says afterwards how many of each candidate's category were chosen.
    """
    n = items.shape[0]
    taken = np.empty(n, dtype=np.bool_)
    usable = 0
    for i in range(n):
        taken[i] = barred[i] or not math.isfinite(scores[i])
        usable += not taken[i]
        alike[i] = 0
    if usable <= k:
        explores = 0
    ranked = min(k, usable) - explores
    _choose(items, scores, categories, vectors, cap, mmr_lambda, ranked, taken, alike, chosen)
    if explores == 0:
        return ranked, 0
    return ranked, _pick_arms(items, scores, known, cap, explores, taken, alike, arms)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _explore(
    arms: Numbers, shares: Floats, categories: Numbers, alike: Numbers, cap: int, units: Floats
) -> tuple[Numbers, Floats, Numbers, Numbers]:
    """Draw one arm for each of `units`, none twice; of the arms below the cap, or of all where none is.

    Gives the drawn candidates, the probability of each given those before it, a row of what each was drawn from, and
    how many those are. `alike` is how many of each candidate's category were chosen, and is kept up.
    """
    steps = units.shape[0]
    drawn, propensities = np.empty(steps, dtype=np.int32), np.empty(steps)
    drawn_from, sizes = np.empty((steps, arms.shape[0]), dtype=np.int32), np.empty(steps, dtype=np.int32)
    is_left = np.ones(arms.shape[0], dtype=np.bool_)
    open_, of_open = np.empty(arms.shape[0], dtype=np.int32), np.empty(arms.shape[0])
    for step in range(steps):
        size = 0
        for is_capped in (cap > 0, False):
            for arm in range(arms.shape[0]):
                if size < arms.shape[0] and is_left[arm] and not (is_capped and alike[arms[arm]] >= cap):
                    open_[size], of_open[size] = arm, shares[arm]
                    size += 1
            if size > 0:
                break
        place, propensities[step] = draw_of(of_open[:size], units[step])
        arm = open_[place]
        for i in range(size):
            drawn_from[step, i] = arms[open_[i]]
        sizes[step], drawn[step], is_left[arm] = size, arms[arm], False
        category = categories[arms[arm]]
        for other in arms:
            alike[other] += category >= 0 and categories[other] == category
    return drawn, propensities, drawn_from, sizes


def _compose_py(
    items: Numbers,
    scores: Floats,
    sources: NDArray[np.int8],
    categories: Numbers,
    vectors: NDArray[np.float32],
    barred: NDArray[np.bool_],
    impressions: Floats,
    clicks: Floats,
    interactions: Floats,
    seed: int,
    cap: int,
    mmr_lambda: float,
    k: int,
    exploring: Numbers,
    units: Floats,
    exploration: tuple[int, int, float, float, float],
) -> tuple[Numbers, Numbers, Floats, NDArray[np.int8], Floats, Numbers, Numbers]:
    """All of a slate at once: the candidate in each place, its number, score and source, and how probable it was there.

    `exploring` are the places that explore, counted from 1, in order, and `units` the number in [0, 1) that draws for
    each. `exploration` is arms, draws, floor and the prior clicks and misses. The probability is 1 in a ranked place;
    after those come, for each place that explored, the numbers that it was drawn from, and how many those are.
    """
    arms_most, draws, floor, prior_clicks, prior_misses = exploration
    n, explores = items.shape[0], exploring.shape[0]
    chosen, alike = np.empty(min(k, n), dtype=np.int32), np.empty(n, dtype=np.int32)
    arms = np.empty(arms_most if explores > 0 else 0, dtype=np.int32)
    # How much is known of each candidate.
    known = impressions.copy()
    for i in range(interactions.shape[0]):
        known[i] += interactions[i]
    ranked, found = _fill(
        items, scores, categories, vectors, barred, known, cap, mmr_lambda, k, explores, chosen, arms, alike
    )
    arms = arms[:found]
    shares = np.empty(found)
    if found > 0:
        shares_of(impressions[arms], clicks[arms], prior_clicks, prior_misses, np.uint64(seed), draws, floor, shares)
    drawn, of_drawn, drawn_from, sizes = _explore(
        arms, shares, categories, alike, cap, units[: explores if found > 0 else 0]
    )
    at = np.empty(ranked + drawn.shape[0], dtype=np.int32)
    propensities = np.ones(at.shape[0])
    explored = 0
    for place in range(at.shape[0]):
        if explored < drawn.shape[0] and exploring[explored] == place + 1:
            at[place], propensities[place] = drawn[explored], of_drawn[explored]
            explored += 1
        else:
            at[place] = chosen[place - explored]
    for step in range(drawn.shape[0]):
        drawn_from[step, : sizes[step]] = items[drawn_from[step, : sizes[step]]]
    return at, items[at], scores[at], sources[at], propensities, drawn_from, sizes


_FLOATS = read_only(types.float64)
_NUMBERS = types.int32[::1]
compose_places: Callable[..., tuple[Numbers, Numbers, Floats, NDArray[np.int8], Floats, Numbers, Numbers]] = njit(
    types.Tuple(
        (_NUMBERS, _NUMBERS, types.float64[::1], types.int8[::1], types.float64[::1], types.int32[:, ::1], _NUMBERS)
    )(
        *(read_only(types.int32), _FLOATS, read_only(types.int8), read_only(types.int32), read_only(types.float32, 2)),
        *(read_only(types.boolean), _FLOATS, _FLOATS, _FLOATS),
        *(types.uint64, types.int64, types.float64, types.int64, read_only(types.int32), _FLOATS),
        types.Tuple((types.int64, types.int64, types.float64, types.float64, types.float64)),
    ),
    cache=True,
    nogil=True,
)(_compose_py)
