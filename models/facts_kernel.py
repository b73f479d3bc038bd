"""The loops of `models/candidate_facts.py`, compiled: what columns by item number say of some items."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.compiled import FAST_SUMS
from models.trending import decayed

Floats = NDArray[np.float32]
Numbers = NDArray[np.int32]
Ints = NDArray[np.int64]


def _described_py(
    numbers: Numbers, category: Numbers, price: Floats, vectors: Floats
) -> tuple[Numbers, Floats, Floats]:
    n, width = numbers.shape[0], vectors.shape[1]
    categories, prices = np.full(n, -1, dtype=np.int32), np.full(n, np.nan, dtype=np.float32)
    units = np.zeros((n, width), dtype=np.float32)
    for i in range(n):
        number = numbers[i]
        if 0 <= number < category.shape[0]:
            categories[i], prices[i] = category[number], price[number]
        if 0 <= number < vectors.shape[0]:
            square = np.float32(0.0)
            for d in range(width):
                square += vectors[number, d] * vectors[number, d]
            length = np.sqrt(square) if square > 0.0 else np.float32(1.0)
            for d in range(width):
                units[i, d] = vectors[number, d] / length
    return categories, prices, units


described: Callable[..., tuple[Numbers, Floats, Floats]] = njit(
    "Tuple((int32[::1], float32[::1], float32[:,::1]))(int32[::1], int32[::1], float32[::1], float32[:,::1])",
    cache=True,
    nogil=True,
    fastmath=FAST_SUMS,
)(_described_py)
"""Of n items the categories (-1: unknown), the prices (NaN: unknown), and the vectors with length 1 (0: unknown)."""


def _told_py(
    numbers: Numbers, first_us: Ints, exposures: Floats, shown: int, clicked: int
) -> tuple[Ints, Floats, Floats]:
    n = numbers.shape[0]
    since_us = np.zeros(n, dtype=np.int64)
    impressions, clicks = np.zeros(n, dtype=np.float32), np.zeros(n, dtype=np.float32)
    for i in range(n):
        number = numbers[i]
        if 0 <= number < first_us.shape[0]:
            since_us[i] = first_us[number]
        if 0 <= number < exposures.shape[0]:
            impressions[i], clicks[i] = exposures[number, shown], exposures[number, clicked]
    return since_us, impressions, clicks


told: Callable[..., tuple[Ints, Floats, Floats]] = njit(
    "Tuple((int64[::1], float32[::1], float32[::1]))(int32[::1], int64[::1], float32[:,::1], int64, int64)",
    cache=True,
    nogil=True,
)(_told_py)
"""Of n items since when they are known (0: nobody knows), impressions and clicks."""


def _known_py(
    numbers: Numbers, category: Numbers, price: Floats, vectors: Floats, first_us: Ints, exposures: Floats, shown: int,
    clicked: int, counts: NDArray[np.float64], landmarks_us: Ints, half_life: int, at_us: int,
) -> tuple[Numbers, Floats, Floats, Ints, Floats, Floats, Floats]:  # fmt: skip
    categories, prices, units = described(numbers, category, price, vectors)
    since_us, impressions, clicks = told(numbers, first_us, exposures, shown, clicked)
    popularity = decayed(counts, landmarks_us, half_life, numbers, at_us)
    return categories, prices, popularity, since_us, impressions, clicks, units


known: Callable[..., tuple[Numbers, Floats, Floats, Ints, Floats, Floats, Floats]] = njit(
    "Tuple((int32[::1], float32[::1], float32[::1], int64[::1], float32[::1], float32[::1], float32[:,::1]))("
    "int32[::1], int32[::1], float32[::1], float32[:,::1], int64[::1], float32[:,::1], int64, int64, float64[:,::1],"
    " int64[::1], int64, int64)",
    cache=True,
    nogil=True,
)(_known_py)
"""All of that, and the counts as they have decayed, in the order of `CandidateFacts`."""
