"""The best of many by their scores, for callers in Python and in other compiled loops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Numbers = NDArray[np.int32]


def _best_py(numbers: Numbers, scores: Floats, limit: int) -> tuple[Numbers, Floats]:
    """Of numbers and their scores, one for each, the `limit` best, best first; of equal scores the lower number.

    What is best so far is kept in order. Of many few get in, and to move up a hundred that lie side by side takes less
    time than to go through a heap, whose branches no processor foresees.
    """
    most = max(0, min(limit, numbers.shape[0]))
    best, of_best = np.empty(most, dtype=np.int32), np.empty(most, dtype=scores.dtype)
    size = 0
    for i in range(numbers.shape[0] if most > 0 else 0):
        score, number = scores[i], numbers[i]
        if size == most:
            last = of_best[size - 1]
            if score < last or (score == last and number > best[size - 1]):
                continue
            size -= 1
        place = size
        while place > 0 and (of_best[place - 1] < score or (of_best[place - 1] == score and best[place - 1] > number)):
            of_best[place], best[place] = of_best[place - 1], best[place - 1]
            place -= 1
        of_best[place], best[place] = score, number
        size += 1
    return best, of_best


best: Any = njit(_best_py)
"""The same for compiled callers, with scores of any kind."""


def _best_of_py(numbers: Numbers, scores: Floats, limit: int) -> tuple[Numbers, Floats]:
    own = np.empty(numbers.shape[0], dtype=np.float32)
    for i in range(numbers.shape[0]):
        own[i] = scores[numbers[i]]
    return best(numbers, own, limit)  # type: ignore[no-any-return]


best_of: Callable[[Numbers, Floats, int], tuple[Numbers, Floats]] = njit(
    "Tuple((int32[::1], float32[::1]))(int32[::1], float32[::1], int64)", cache=True, nogil=True
)(_best_of_py)
"""Of some numbers the `limit` best by `scores` (dense, by number), best first, and their scores."""
