"""The loops with which `models/covisitation.py` answers, compiled: sums of rows of neighbours."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import njit
from numpy.typing import NDArray

Numbers = NDArray[np.int32]
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]


def _sum_py(
    items: Numbers, weights: Floats, total: Floats, divisors: Floats, wanted: Numbers, amounts: Floats,
    barred: Mask, out_power: float, prior: float, out: Floats, touched: Numbers,
) -> int:  # fmt: skip
    """Sum the rows of the wanted items into `out`, zeros by item number; gives how many items were touched."""
    found = 0
    reach = min(out.shape[0], barred.shape[0])
    for i in range(amounts.shape[0]):
        row = wanted[i]
        if row < 0 or row >= items.shape[0] or amounts[i] <= 0.0:
            continue
        by = amounts[i] / (prior + total[row]) ** out_power
        for slot in range(items.shape[1]):
            item = items[row, slot]
            if item < 0:
                break
            if item < reach and not barred[item] and weights[row, slot] > 0.0:
                if out[item] == 0.0 and found < touched.shape[0]:
                    touched[found] = item
                    found += 1
                out[item] += np.float32(by * weights[row, slot])
    for i in range(found):
        out[touched[i]] /= divisors[touched[i]]
    return found


add_rows: Callable[..., int] = njit(
    "int64(int32[:,::1], float32[:,::1], float32[::1], float32[::1], int32[::1], float32[::1], boolean[::1], float64,"
    " float64, float32[::1], int32[::1])",
    cache=True,
    nogil=True,
)(_sum_py)


def _divide_py(popularity: Floats, in_power: float, prior: float, divisors: Floats) -> None:
    for item in range(popularity.shape[0]):
        divisors[item] = np.float32((prior + popularity[item]) ** in_power)


divide_for: Callable[..., None] = njit("void(float32[::1], float64, float64, float32[::1])", cache=True, nogil=True)(
    _divide_py
)


def _said_py(sums: Floats, numbers: Numbers) -> Floats:
    said = np.empty(numbers.shape[0], dtype=np.float32)
    for i in range(numbers.shape[0]):
        said[i] = sums[numbers[i]] if sums[numbers[i]] > 0.0 else np.nan
    return said


said_of: Callable[[Floats, Numbers], Floats] = njit("float32[::1](float32[::1], int32[::1])", cache=True, nogil=True)(
    _said_py
)


def _amounts_py(times: Ints, weights: Floats, at_us: int, power: float, half_life_us: float, out: Floats) -> None:
    for i in range(out.shape[0]):
        gap = 2.0 ** (-max(at_us - times[i], 0) / half_life_us)
        out[i] = np.float32(weights[i] * gap * (1.0 + i) ** -power)


amounts_of: Callable[..., None] = njit(
    "void(int64[::1], float32[::1], int64, float64, float64, float32[::1])", cache=True, nogil=True
)(_amounts_py)
