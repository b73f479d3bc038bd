"""Which of a visitor's items is behind each of some others: by the rows of neighbours, or as the newest of its kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.covisitation_kernel import amounts_of

Numbers = NDArray[np.int32]
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
MARKS = 1024


def _most_py(
    items: Numbers,
    weights: Floats,
    total: Floats,
    wanted: Numbers,
    amounts: Floats,
    out_power: float,
    prior: float,
    numbers: Numbers,
    places: Numbers,
) -> None:
    """Write the place in `wanted` of the row that says most for each of `numbers`, -1 where none says anything."""
    best = np.zeros(numbers.shape[0], dtype=np.float32)
    places[:] = -1
    # Most neighbours are none of the numbers: one look at a mark says so.
    marks = np.zeros(MARKS, dtype=np.bool_)
    for j in range(numbers.shape[0]):
        marks[numbers[j] & (MARKS - 1)] = True
    for i in range(wanted.shape[0]):
        row = wanted[i]
        if row < 0 or row >= min(items.shape[0], weights.shape[0], total.shape[0]) or amounts[i] <= 0.0:
            continue
        by = amounts[i] / (prior + total[row]) ** out_power
        for slot in range(items.shape[1]):
            if items[row, slot] < 0:
                break
            if not marks[items[row, slot] & (MARKS - 1)]:
                continue
            for j in range(numbers.shape[0]):
                if items[row, slot] == numbers[j] and by * weights[row, slot] > best[j]:
                    best[j] = np.float32(by * weights[row, slot])
                    places[j] = i


says_most: Callable[..., None] = njit(
    "void(int32[:,::1], float32[:,::1], float32[::1], int32[::1], float32[::1], float64, float64, int32[::1],"
    " int32[::1])",
    cache=True,
    nogil=True,
)(_most_py)


def _behind_py(
    visit: tuple[Numbers, Ints, Floats, int],
    covisitation: Any,
    categories: Numbers,
    numbers: Numbers,
    says: NDArray[np.bool_],
    is_alike: NDArray[np.bool_],
) -> Numbers:
    """The visitor's item behind each number, -1 where there is none or none is asked for.

    `visit` has items, times and weights, newest first, and the time; `covisitation` are that model's `columns`. Of
    those that it `says`, the item that says most; of those that are `is_alike`, the newest liked one of that category.
    """
    items, times_us, weights, at_us = visit
    rows, row_weights, total, _, _, asked_most, power, gap_us, out_power, prior = covisitation
    found = np.full(numbers.shape[0], -1, dtype=np.int32)
    asked = numbers[says]
    if asked.shape[0] > 0:
        amounts = np.empty(min(asked_most, items.shape[0]), dtype=np.float32)
        amounts_of(times_us, weights, at_us, power, gap_us, amounts)
        places = np.empty(asked.shape[0], dtype=np.int32)
        says_most(rows, row_weights, total, items[: amounts.shape[0]], amounts, out_power, prior, asked, places)
        at = 0
        for j in range(numbers.shape[0]):
            if says[j]:
                found[j] = items[places[at]] if places[at] >= 0 else -1
                at += 1
    for j in range(numbers.shape[0]):
        kind = categories[numbers[j]] if is_alike[j] else -1
        for i in range(items.shape[0] if kind >= 0 else 0):
            if weights[i] > 0.0 and categories[items[i]] == kind:
                found[j] = items[i]
                break
    return found


_VISIT = "Tuple((int32[::1], int64[::1], float32[::1], int64))"
_ROWS = "int32[:,::1], float32[:,::1], float32[::1], float32[::1]"
_COVISITATION = f"Tuple(({_ROWS}, int64, int64, float64, float64, float64, float64))"
behind: Callable[..., Numbers] = njit(
    f"int32[::1]({_VISIT}, {_COVISITATION}, int32[::1], int32[::1], boolean[::1], boolean[::1])", cache=True, nogil=True
)(_behind_py)
