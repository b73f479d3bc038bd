"""The products of many vectors with one, compiled: of candidates with what a visitor liked, or with what was chosen."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from models.compiled import read_only

Float32s = NDArray[np.float32]


def _add_products_py(columns: Float32s, one: Float32s, out: Float32s) -> None:
    """Write `one @ columns`: `columns` has a row for each dimension and a column for each of many vectors.

    Every product is added up dimension by dimension, in one order on every machine. Four dimensions are added in one
    pass over the columns: their sums are read and written a quarter as often.
    """
    width = one.shape[0]
    for i in range(out.shape[0]):
        out[i] = np.float32(0.0)
    fours = width // 4 * 4
    for d in range(0, fours, 4):
        a, b, c, e = one[d], one[d + 1], one[d + 2], one[d + 3]
        for i in range(out.shape[0]):
            sum_ = out[i] + a * columns[d, i]
            sum_ += b * columns[d + 1, i]
            sum_ += c * columns[d + 2, i]
            out[i] = sum_ + e * columns[d + 3, i]
    for d in range(fours, width):
        for i in range(out.shape[0]):
            out[i] += one[d] * columns[d, i]


add_products: Callable[[Float32s, Float32s, Float32s], None] = njit(
    types.void(types.float32[:, ::1], read_only(types.float32), types.float32[::1]), cache=True, nogil=True
)(_add_products_py)
