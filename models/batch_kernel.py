"""The loops of `models/batch_items.py`, compiled. Numbers are those of a state, rows those of a fit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.compiled import FAST_SUMS

Floats = NDArray[np.float32]
Numbers = NDArray[np.int32]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Marks = NDArray[np.uint8]

TOUCHED, EXCLUDED = 1, 2
"""Marks of an item: it has a score, or must not be an answer."""


def _accumulate(
    first: Ints,
    targets: Numbers,
    strengths: Floats,
    row_of: Numbers,
    items: Numbers,
    weights: Floats,
    seen: Numbers,
    hidden: Mask,
    total: Floats,
    mark: Marks,
) -> Numbers:
    count = total.shape[0]
    for k in range(seen.shape[0]):
        if 0 <= seen[k] < count:
            mark[seen[k]] = EXCLUDED
    room = 0
    for k in range(items.shape[0]):
        if 0 <= items[k] < count and row_of[items[k]] >= 0:
            row = row_of[items[k]]
            room += first[row + 1] - first[row]
    touched = np.empty(min(room, count), dtype=np.int32)
    found = 0
    for k in range(items.shape[0]):
        weight = weights[k]
        if not (0 <= items[k] < count) or row_of[items[k]] < 0 or weight == 0.0:
            continue
        row = row_of[items[k]]
        for at in range(first[row], first[row + 1]):
            target = targets[at]
            if target < 0 or mark[target] == EXCLUDED:
                continue
            if mark[target] == 0:
                if target < hidden.shape[0] and hidden[target]:
                    mark[target] = EXCLUDED
                    continue
                mark[target] = TOUCHED
                touched[found] = target
                found += 1
            total[target] += weight * strengths[at]
    return touched[:found]


accumulate: Callable[..., Numbers] = njit(
    "int32[::1](int64[::1], int32[::1], float32[::1], int32[::1], int32[::1], float32[::1], int32[::1], boolean[::1],"
    " float32[::1], uint8[::1])",
    cache=True,
    nogil=True,
)(_accumulate)
"""Add the weights of the visit's items into `total` and `mark` (both by number); gives the numbers it touched."""


def _add_products(
    vectors: Floats, vector: Floats, numbers: Numbers, hidden: Mask, total: Floats, mark: Marks
) -> Numbers:
    kept = np.empty(vectors.shape[0], dtype=np.int32)
    found = 0
    for row in range(vectors.shape[0]):
        number = numbers[row]
        if number < 0 or mark[number] == EXCLUDED or (number < hidden.shape[0] and hidden[number]):
            continue
        mark[number] = TOUCHED
        product = np.float32(0.0)
        for d in range(vector.shape[0]):
            product += vectors[row, d] * vector[d]
        total[number] += product
        kept[found] = number
        found += 1
    return kept[:found]


add_products: Callable[..., Numbers] = njit(
    "int32[::1](float32[:,::1], float32[::1], int32[::1], boolean[::1], float32[::1], uint8[::1])",
    cache=True,
    nogil=True,
    fastmath=FAST_SUMS,
)(_add_products)
"""Add each row's product with a vector to `total`, but for what must not be an answer; gives the numbers left."""


def _known_rows(row_of: Numbers, numbers: Numbers, weights: Floats) -> tuple[Numbers, Floats]:
    rows, kept = np.empty(numbers.shape[0], dtype=np.int32), np.empty(numbers.shape[0], dtype=np.float32)
    found = 0
    for k in range(numbers.shape[0]):
        if 0 <= numbers[k] < row_of.shape[0] and row_of[numbers[k]] >= 0:
            rows[found], kept[found] = row_of[numbers[k]], weights[k]
            found += 1
    return rows[:found], kept[:found]


known_rows: Callable[..., tuple[Numbers, Floats]] = njit(
    "Tuple((int32[::1], float32[::1]))(int32[::1], int32[::1], float32[::1])", cache=True, nogil=True
)(_known_rows)
"""The rows of those numbers that have one, and their weights."""


def _totals_of(total: Floats, mark: Marks, numbers: Numbers) -> Floats:
    out = np.empty(numbers.shape[0], dtype=np.float32)
    for k in range(numbers.shape[0]):
        known = 0 <= numbers[k] < total.shape[0] and mark[numbers[k]] == TOUCHED
        out[k] = total[numbers[k]] if known else np.nan
    return out


totals_of: Callable[..., Floats] = njit("float32[::1](float32[::1], uint8[::1], int32[::1])", cache=True, nogil=True)(
    _totals_of
)
"""The totals of some numbers; NaN for those that were not touched."""


def _products_of(vectors: Floats, vector: Floats, row_of: Numbers, numbers: Numbers) -> Floats:
    out = np.empty(numbers.shape[0], dtype=np.float32)
    for k in range(numbers.shape[0]):
        if not 0 <= numbers[k] < row_of.shape[0] or row_of[numbers[k]] < 0:
            out[k] = np.nan
            continue
        row = row_of[numbers[k]]
        product = np.float32(0.0)
        for d in range(vector.shape[0]):
            product += vectors[row, d] * vector[d]
        out[k] = product
    return out


products_of: Callable[..., Floats] = njit(
    "float32[::1](float32[:,::1], float32[::1], int32[::1], int32[::1])", cache=True, nogil=True, fastmath=FAST_SUMS
)(_products_of)
"""The products of some numbers' rows with a vector; NaN for numbers without a row."""


def _excluded_rows(numbers: Numbers, row_of: Numbers, seen: Numbers, hidden: Mask) -> Mask:
    excluded = np.empty(numbers.shape[0], dtype=np.bool_)
    for row in range(numbers.shape[0]):
        excluded[row] = numbers[row] < 0 or (numbers[row] < hidden.shape[0] and hidden[numbers[row]])
    for k in range(seen.shape[0]):
        if 0 <= seen[k] < row_of.shape[0] and row_of[seen[k]] >= 0:
            excluded[row_of[seen[k]]] = True
    return excluded


excluded_rows: Callable[..., Mask] = njit(
    "boolean[::1](int32[::1], int32[::1], int32[::1], boolean[::1])", cache=True, nogil=True
)(_excluded_rows)
"""Which rows must not be an answer: unknown to the state, seen or hidden."""
