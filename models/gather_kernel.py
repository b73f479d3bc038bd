"""The loops of `models/candidates.py`, compiled: what the sources of a state propose to a visit, in one call.

Asked one by one, in Python, five sources cost a request more between their loops than within them, and each call is a
place where another thread may take the interpreter. Each source is a tuple of its columns here: see their `columns`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.best_of import best_of
from models.content_kernel import asked_terms, best_alike, cosines
from models.covisitation_kernel import add_rows, amounts_of, said_of
from models.factors import logits_of, searched_best, user_of
from models.trending import any_leaders, decayed, leading, leading_of_all

Floats = NDArray[np.float32]
Numbers = NDArray[np.int32]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
OF_COVISITATION, OF_FACTORS, OF_CONTENT, OF_BATCH, OF_TRENDING, OF_NEWCOMERS = range(6)
"""The rows of the proposals, in which they take turns."""
PROPOSALS = 6


@njit("int32[::1](int32[:,::1], int64[::1], boolean[::1])", cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _take_turns(proposed: Numbers, counts: Ints, taken: Mask) -> Numbers:
    """The proposals take turns: each source's best are in, however the blend ranks them. Marks in `taken` who is in."""
    limit = proposed.shape[1]
    found = np.empty(limit, dtype=np.int32)
    count = 0
    for place in range(limit):
        for source in range(proposed.shape[0]):
            if place < counts[source] and count < limit and not taken[proposed[source, place]]:
                taken[proposed[source, place]] = True
                found[count] = proposed[source, place]
                count += 1
    return found[:count]


@njit(  # type: ignore[untyped-decorator]
    "int32[::1](float32[:,::1], int64, boolean[::1], int64, int64, float64)", cache=True, nogil=True
)
def _newcomers(exposures: Floats, shown: int, barred: Mask, most: int, among: int, enough: float) -> Numbers:
    """Of the last `among` items the newest `most` that were shown less often than is enough; none barred."""
    found = np.empty(max(0, most), dtype=np.int32)
    size = 0
    for item in range(barred.shape[0] - 1, max(0, barred.shape[0] - among) - 1, -1):
        if size == found.shape[0]:
            break
        if not barred[item] and exposures[item, shown] < enough:
            found[size] = item
            size += 1
    return found[:size]


@njit("void(int32[:,::1], int64[::1], int64, int32[::1])", cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _put(proposed: Numbers, counts: Ints, row: int, top: Numbers) -> None:
    counts[row] = min(top.shape[0], proposed.shape[1])
    for i in range(counts[row]):
        proposed[row, i] = top[i]


def _propose_py(
    visit: Any,
    barred: Mask,
    covisitation: Any,
    factors: Any,
    content: Any,
    trends: Any,
    exposures: Any,
    of_batch: Numbers,
    columns: tuple[int, int, int, int],
    limit: int,
) -> tuple[Numbers, Floats]:
    """Items in the order of their turns, at most `limit`, and what each source says of them, a row for each source.

    The row of the batch is left unknown (NaN): it has proposed `of_batch`, best first, and is asked by the caller.
    `columns` are the rows of co-visitation, factors, trending and content; `barred` is marked by whoever is in.
    """
    items, times_us, weights, at_us, category = visit
    proposed, counts = np.empty((PROPOSALS, limit), dtype=np.int32), np.zeros(PROPOSALS, dtype=np.int64)
    _put(proposed, counts, OF_BATCH, of_batch)
    # 1. What visitors of these items went on to.
    co_items, co_weights, co_total, divisors, length, asked_most, power, gap_us, out_power, prior = covisitation
    amounts = np.empty(min(asked_most, items.shape[0]), dtype=np.float32)
    amounts_of(times_us, weights, at_us, power, gap_us, amounts)
    sums = np.zeros(length, dtype=np.float32)
    touched = np.empty(min(length, co_items.shape[1] * amounts.shape[0]), dtype=np.int32)
    reached = add_rows(
        co_items, co_weights, co_total, divisors, items, amounts, barred, out_power, prior, sums, touched
    )
    _put(proposed, counts, OF_COVISITATION, best_of(touched[:reached], sums, limit)[0])
    # 2. What follows these items by their vectors; nothing before anything was learned, and for a stranger.
    before, after, bias, learned, by_rank, searched_most = factors
    context = items[: by_rank.shape[0]]
    shares = by_rank[: context.shape[0]] * weights[: context.shape[0]]
    user = np.empty(after.shape[1], dtype=np.float32)
    is_known = learned > 0 and user_of(before, context, shares, user) > 0.0
    counts_of, leaders, leading_lengths, landmarks_us, half_life = trends
    if is_known:
        if barred.shape[0] <= searched_most:
            searched = np.arange(barred.shape[0]).astype(np.int32)
        else:
            searched = any_leaders(leaders, leading_lengths, counts_of.shape[0])
        _put(proposed, counts, OF_FACTORS, searched_best(after, bias, user, searched, barred, limit)[0])
    # 3. What is like these items.
    terms, term_weights, rarity, list_of, lists, size, items_most, terms_most = content
    asked, worth = asked_terms(items[:items_most], weights[:items_most], terms, term_weights, rarity, size, terms_most)
    none = np.empty(0, dtype=np.int32)
    alike = best_alike(asked, worth, list_of, lists, terms, term_weights, rarity, none, barred, size, limit)[0]
    _put(proposed, counts, OF_CONTENT, alike)
    # 4. What leads now: of one category, few of the leaders of all may be.
    if category < 0:
        leads = leading(leaders[half_life], leading_lengths[half_life], barred, limit)
    else:
        leads = leading_of_all(counts_of, half_life, barred, limit)
    _put(proposed, counts, OF_TRENDING, leads)
    # 5. For a visitor of whom content says nothing: what few have seen.
    if alike.shape[0] == 0:
        shown_by_item, shown, most, among, enough = exposures
        _put(proposed, counts, OF_NEWCOMERS, _newcomers(shown_by_item, shown, barred, most, among, enough))
    found = _take_turns(proposed, counts, barred)
    said = np.full((len(columns) + 1, found.shape[0]), np.float32(np.nan), dtype=np.float32)
    said[columns[0]] = said_of(sums, found)
    if is_known:
        said[columns[1]] = logits_of(after, bias, user, found)
    said[columns[2]] = decayed(counts_of, landmarks_us, half_life, found, at_us)
    said[columns[3]] = cosines(found, asked, worth, terms, term_weights, rarity, size)
    return found, said


_ROWS, _NUMBERS, _AMOUNTS, _TIMES = "float32[:,::1]", "int32[::1]", "float32[::1]", "int64[::1]"
_VISIT = f"Tuple(({_NUMBERS}, {_TIMES}, {_AMOUNTS}, int64, int64))"
_COVISITATION = (
    f"Tuple((int32[:,::1], {_ROWS}, {_AMOUNTS}, {_AMOUNTS}, int64, int64, float64, float64, float64, float64))"
)
_FACTORS = f"Tuple(({_ROWS}, {_ROWS}, {_AMOUNTS}, int64, {_AMOUNTS}, int64))"
_CONTENT = f"Tuple((int32[:,::1], {_ROWS}, {_AMOUNTS}, {_NUMBERS}, int32[:,::1], int64, int64, int64))"
_TRENDS = f"Tuple((float64[:,::1], int32[:,::1], {_NUMBERS}, {_TIMES}, int64))"
_EXPOSURES = f"Tuple(({_ROWS}, int64, int64, int64, float64))"
propose: Callable[..., tuple[Numbers, Floats]] = njit(
    f"Tuple(({_NUMBERS}, {_ROWS}))({_VISIT}, boolean[::1], {_COVISITATION}, {_FACTORS}, {_CONTENT}, {_TRENDS},"
    f" {_EXPOSURES}, {_NUMBERS}, UniTuple(int64, 4), int64)",
    cache=True,
    nogil=True,
)(_propose_py)
