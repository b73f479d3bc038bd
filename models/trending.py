"""What is popular now: exponentially decayed counts of each item's interactions, at several half-lives at once.

Counts are kept as if all were taken at one fixed moment, the landmark: an interaction adds `weight * 2 ** (age of the
landmark)`, so nothing needs to be decayed, and the order of items at any time is the order of these numbers. The
landmark moves up before they overflow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.best_of import best
from models.growing import grown
from models.packed import Arrays

Numbers = NDArray[np.int32]
Floats = NDArray[np.float32]
Counts = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

DAY_US = 86_400 * 1_000_000
HALF_LIVES_US = (DAY_US // 24, DAY_US, 7 * DAY_US, 60 * DAY_US)
CANDIDATES_AT = 2
"""Which half-life candidates and `top` go by, unless told."""
LEADERS = 256
"""How many items of each half-life are kept in order."""
EXPONENT_LIMIT = 300.0
SCORE_LIMIT = 1e30


def _learn_py(
    counts: Counts, leaders: Numbers, lengths: Numbers, item: int, weight: float, exponents: Counts, hidden: bool
) -> None:
    for h in range(counts.shape[1]):
        counts[item, h] += weight * 2.0 ** exponents[h]
        if hidden:
            continue
        # Others do not change, so the item can only move up from its place, or come in at the end.
        length = lengths[h]
        place = 0
        while place < length and leaders[h, place] != item:
            place += 1
        if place == length:
            if length < leaders.shape[1]:
                lengths[h] += 1
            elif counts[item, h] > counts[leaders[h, length - 1], h]:
                place = length - 1
            else:
                continue
        while place > 0 and counts[leaders[h, place - 1], h] < counts[item, h]:
            leaders[h, place] = leaders[h, place - 1]
            place -= 1
        leaders[h, place] = item


_learn: Callable[..., None] = njit(
    "void(float64[:,::1], int32[:,::1], int32[::1], int64, float64, float64[::1], boolean)", cache=True, nogil=True
)(_learn_py)


def _leading_py(leaders: Numbers, length: int, barred: Mask, limit: int) -> Numbers:
    """Of leaders in order the first `limit` that are not barred."""
    found = np.empty(max(0, min(limit, length)), dtype=np.int32)
    size = 0
    for i in range(length):
        if size == found.shape[0]:
            break
        if not barred[leaders[i]]:
            found[size] = leaders[i]
            size += 1
    return found[:size]


leading: Callable[..., Numbers] = njit("int32[::1](int32[::1], int64, boolean[::1], int64)", cache=True, nogil=True)(
    _leading_py
)


def _leading_of_all_py(counts: Counts, half_life: int, barred: Mask, limit: int) -> Numbers:
    """Of all items with a count the best `limit` that are not barred, best first, equal ones by number."""
    length = min(barred.shape[0], counts.shape[0])
    found, own = np.empty(length, dtype=np.int32), np.empty(length, dtype=np.float64)
    size = 0
    for item in range(length):
        if not barred[item] and counts[item, half_life] > 0.0:
            found[size], own[size] = item, counts[item, half_life]
            size += 1
    return best(found[:size], own[:size], limit)[0]  # type: ignore[no-any-return]


leading_of_all: Callable[..., Numbers] = njit(
    "int32[::1](float64[:,::1], int64, boolean[::1], int64)", cache=True, nogil=True
)(_leading_of_all_py)


def _any_leaders_py(leaders: Numbers, lengths: Numbers, items: int) -> Numbers:
    """The leaders of all half-lives, each once."""
    found = np.empty(leaders.size, dtype=np.int32)
    is_found = np.zeros(items, dtype=np.bool_)
    size = 0
    for h in range(leaders.shape[0]):
        for place in range(lengths[h]):
            item = leaders[h, place]
            if not is_found[item]:
                is_found[item] = True
                found[size] = item
                size += 1
    return found[:size]


any_leaders: Callable[..., Numbers] = njit("int32[::1](int32[:,::1], int32[::1], int64)", cache=True, nogil=True)(
    _any_leaders_py
)


def _decayed_py(counts: Counts, landmarks_us: Ints, half_life: int, numbers: Numbers, at_us: int) -> Floats:
    elapsed = (at_us - landmarks_us[half_life]) / HALF_LIVES_US[half_life]
    factor = 2.0 ** -min(max(elapsed, -EXPONENT_LIMIT), 1000.0)
    found = np.zeros(numbers.shape[0], dtype=np.float32)
    for i in range(numbers.shape[0]):
        if 0 <= numbers[i] < counts.shape[0]:
            found[i] = np.float32(min(counts[numbers[i], half_life] * factor, SCORE_LIMIT))
    return found


decayed: Callable[..., Floats] = njit(
    "float32[::1](float64[:,::1], int64[::1], int64, int32[::1], int64)", cache=True, nogil=True
)(_decayed_py)
"""The counts of some items as they have decayed until a time, by the half-life at a place of `HALF_LIVES_US`."""


class Trending:
    """Decayed counts by item number, and the leaders of each half-life in order."""

    def __init__(self) -> None:
        kinds = len(HALF_LIVES_US)
        self._half_lives_us = np.array(HALF_LIVES_US, dtype=np.float64)
        self._counts = np.zeros((0, kinds), dtype=np.float64)
        self._leaders = np.zeros((kinds, LEADERS), dtype=np.int32)
        self._lengths = np.zeros(kinds, dtype=np.int32)
        self._landmarks_us = np.zeros(kinds, dtype=np.int64)
        self._length = 0

    def reserve(self, length: int) -> None:
        """Have a place for each of so many items."""
        if length > self._length:
            self._counts = grown(self._counts, length)
            self._length = length

    def learn_one(self, item: int, weight: float, at_us: int, hidden: bool = False) -> None:
        """Count an interaction. A hidden item's are counted too, for the day it returns; it leads no list."""
        exponents = (at_us - self._landmarks_us) / self._half_lives_us
        if exponents.max() > EXPONENT_LIMIT:
            self._move_landmarks(at_us, exponents)
            exponents = (at_us - self._landmarks_us) / self._half_lives_us
        _learn(self._counts, self._leaders, self._lengths, item, weight, exponents, hidden)

    def changed(self, hidden: Mask) -> None:
        """Find the leaders anew, after an item was hidden or returned. A pass over all items."""
        for h in range(len(HALF_LIVES_US)):
            leading = _best(self._counts[: self._length, h], hidden[: self._length], LEADERS)
            self._lengths[h] = leading.shape[0]
            self._leaders[h] = 0
            self._leaders[h, : leading.shape[0]] = leading

    def top(self, limit: int, half_life: int = CANDIDATES_AT) -> Numbers:
        """The leading items, best first, at most `LEADERS`; none is hidden."""
        return self._leaders[half_life, : min(limit, int(self._lengths[half_life]))].copy()

    def top_within(self, limit: int, allowed: Mask, half_life: int = CANDIDATES_AT) -> Numbers:
        """The leading items among those allowed, by item number; a pass over all items."""
        return leading_of_all(self._counts, half_life, ~allowed[: self._length], limit)

    def top_without(self, limit: int, barred: Mask) -> Numbers:
        """The leaders that are not barred, best first."""
        return leading(self._leaders[CANDIDATES_AT], self._lengths[CANDIDATES_AT], barred, limit)

    def scores(self, numbers: Numbers, at_us: int, half_life: int = CANDIDATES_AT) -> Floats:
        """The decayed counts of items at a time: float32, 0 for an item without interactions."""
        return decayed(self._counts, self._landmarks_us, half_life, numbers, at_us)

    def _move_landmarks(self, at_us: int, exponents: Counts) -> None:
        for h, exponent in enumerate(exponents.tolist()):
            if exponent > EXPONENT_LIMIT:
                self._counts[:, h] *= 2.0 ** -min(exponent, 2000.0)
                self._landmarks_us[h] = at_us

    @property
    def columns(self) -> tuple[Any, ...]:
        """What candidates are made from, for compiled loops (`models/gather_kernel.py`). Views: do not write."""
        return self._counts, self._leaders, self._lengths, self._landmarks_us, CANDIDATES_AT

    def arrays(self) -> Arrays:
        """All that it knows."""
        return {
            "trending.counts": self._counts[: self._length],
            "trending.leaders": self._leaders,
            "trending.lengths": self._lengths,
            "trending.landmarks_us": self._landmarks_us,
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Trending:
        """What `arrays` was taken from."""
        found = cls()
        found._counts, found._leaders = arrays["trending.counts"], arrays["trending.leaders"]
        found._lengths, found._landmarks_us = arrays["trending.lengths"], arrays["trending.landmarks_us"]
        found._length = found._counts.shape[0]
        return found


def _best(counts: Counts, hidden: Mask, limit: int) -> Numbers:
    shown = np.flatnonzero((counts > 0.0) & ~hidden)
    if shown.shape[0] > limit:
        shown = shown[np.argpartition(-counts[shown], limit - 1)[:limit]] if limit else shown[:0]
    return shown[np.lexsort((shown, -counts[shown]))].astype(np.int32)
