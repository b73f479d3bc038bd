"""The loops of `models/item_index.py`, compiled: which items may be an answer to a visit, and which are the newest."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import njit
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Numbers = NDArray[np.int32]
Floats = NDArray[np.float32]


def _barred_py(hidden: Mask, category: Numbers, length: int, seen: Numbers, items: Numbers, within: int) -> Mask:
    barred = hidden[:length].copy()
    if within >= 0:
        for number in range(length):
            barred[number] |= category[number] != within
    for i in range(seen.shape[0]):
        if 0 <= seen[i] < length:
            barred[seen[i]] = True
    for i in range(items.shape[0]):
        if 0 <= items[i] < length:
            barred[items[i]] = True
    return barred


barred_items: Callable[..., Mask] = njit(
    "boolean[::1](boolean[::1], int32[::1], int64, int32[::1], int32[::1], int64)", cache=True, nogil=True
)(_barred_py)
"""By number: what is hidden, seen, visited, or outside a category (-1: any)."""


def _newest_py(
    hidden: Mask,
    is_described: Mask,
    category: Numbers,
    length: int,
    count: int,
    looked_at: int,
    taken: Numbers,
    seen: Numbers,
    items: Numbers,
    within: int,
) -> Numbers:
    first = max(0, length - looked_at)
    barred = hidden[first:length].copy()
    for i in range(taken.shape[0]):
        if first <= taken[i] < length:
            barred[taken[i] - first] = True
    for i in range(seen.shape[0]):
        if first <= seen[i] < length:
            barred[seen[i] - first] = True
    for i in range(items.shape[0]):
        if first <= items[i] < length:
            barred[items[i] - first] = True
    found = np.empty(max(0, count), dtype=np.int32)
    size = 0
    for number in range(length - 1, first - 1, -1):
        if size == found.shape[0]:
            break
        if is_described[number] and not barred[number - first] and (within < 0 or category[number] == within):
            found[size] = number
            size += 1
    return found[:size]


newest_items: Callable[..., Numbers] = njit(
    "int32[::1](boolean[::1], boolean[::1], int32[::1], int64, int64, int64, int32[::1], int32[::1], int32[::1],"
    " int64)",
    cache=True,
    nogil=True,
)(_newest_py)
"""Of the last `looked_at` items the newest `count` that are described, not barred as above, and not taken."""


def _with_newest_py(
    items: Numbers, scores: Floats, blend: Floats, hidden: Mask, is_described: Mask, category: Numbers, length: int,
    count: int, looked_at: int, seen: Numbers, visited: Numbers, within: int,
) -> tuple[Numbers, Floats, Floats]:  # fmt: skip
    newest = newest_items(
        hidden, is_described, category, length, count, looked_at, items, seen, visited, within
    )  # fmt: skip
    n = items.shape[0]
    more = n + newest.shape[0]
    numbers, blended = np.empty(more, dtype=np.int32), np.zeros(more, dtype=np.float32)
    said = np.full((more, scores.shape[1]), np.float32(np.nan), dtype=np.float32)
    numbers[:n], said[:n], blended[:n] = items, scores, blend
    numbers[n:] = newest
    return numbers, said, blended


with_newest_items: Callable[..., tuple[Numbers, Floats, Floats]] = njit(
    "Tuple((int32[::1], float32[:,::1], float32[::1]))(int32[::1], float32[:,::1], float32[::1], boolean[::1],"
    " boolean[::1], int32[::1], int64, int64, int64, int32[::1], int32[::1], int64)",
    cache=True,
    nogil=True,
)(_with_newest_py)
"""Candidates (numbers, scores, blend), and after them the newest as above, of which nothing is said (NaN, blend 0)."""
