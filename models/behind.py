"""Which of a visitor's items says most for each of some others: one compiled pass over the rows of neighbours."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import njit
from numpy.typing import NDArray

Numbers = NDArray[np.int32]
Floats = NDArray[np.float32]
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
