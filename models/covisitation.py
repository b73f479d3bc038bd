"""Which items are visited after which: time-decayed weights from item to item, a bounded row of neighbours each.

`w[j, i]` is how much, lately, visitors who had come by `j` went on to `i`. Each interaction adds to the rows of the
visitor's recent items (forwards) and, with a smaller weight, to its own row (backwards). A row is decayed when it is
touched. A full row gives the place of its lightest neighbour to a newcomer with the probability in proportion to their
weights, so each weight stays right on average (D. Ting, "Data sketches for disaggregated subset sum", 2018); the draw
is a hash of the two items and a counter, so the same sequence gives the same rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.best_of import best_of
from models.covisitation_kernel import add_rows, amounts_of, divide_for, said_of
from models.growing import grown
from models.packed import Arrays
from models.visit import Visit

Numbers = NDArray[np.int32]
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

SLOTS = 128
"""Neighbours kept of each item."""
CONTEXT_LIMIT = 10
"""How many recent items of the visitor an interaction is added to."""
HALF_LIFE_US = 180 * 86_400 * 1_000_000
"""In which time a weight halves."""
RANK_POWER = 0.75
"""What comes `r` items after another is due to it by `1 / (1 + r) ** RANK_POWER`."""
ASK_POWER = 1.0
"""The same for what a visitor is told: nearer to the last item than what is learned."""
ASK_LIMIT = 50
"""How many of a visitor's newest items are asked: what the others would say counts a hundredth."""
GAP_HALF_LIFE_US = 7.0 * 86_400 * 1_000_000
"""After which time between two visits the second is half as much due to the first."""
BACKWARD = 0.5
OUT_POWER = 0.25
"""The power of a row's total that its weights are divided by: 1 makes them probabilities."""
IN_POWER = 0.3
"""The power of an item's popularity that its score is divided by: 0 prefers the popular, 1 the rare."""
PRIOR = 5.0
"""Added to totals before they divide, so that one chance visit makes no strong neighbour."""


def _draw_py(a: int, b: int, count: int) -> float:
    """A number in [0, 1) that is a pure function of its arguments (splitmix64's finaliser)."""
    x = np.uint64(a) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(b) * np.uint64(0xBF58476D1CE4E5B9) + np.uint64(count)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.float64((x ^ (x >> np.uint64(31))) >> np.uint64(11)) / 9007199254740992.0


draw: Any = njit(inline="always")(_draw_py)


def _decay_py(
    weights: Floats, total: Floats, popularity: Floats, row_us: Ints, row: int, at_us: int, half_life_us: float
) -> None:
    elapsed = at_us - row_us[row]
    if elapsed > 0:
        if row_us[row] != 0:
            factor = np.float32(2.0 ** (-elapsed / half_life_us))
            for slot in range(weights.shape[1]):
                weights[row, slot] *= factor
            total[row] *= factor
            popularity[row] *= factor
        row_us[row] = at_us


_decay: Any = njit(_decay_py)


def _add_py(items: Numbers, weights: Floats, total: Floats, row: int, item: int, weight: float, count: int) -> None:
    total[row] += np.float32(weight)
    lightest = 0
    for slot in range(items.shape[1]):
        if items[row, slot] == item:
            weights[row, slot] += np.float32(weight)
            return
        if items[row, slot] < 0:
            items[row, slot] = item
            weights[row, slot] = np.float32(weight)
            return
        if weights[row, slot] < weights[row, lightest]:
            lightest = slot
    together = weights[row, lightest] + np.float32(weight)
    if draw(row, item, count) * together < weight:
        items[row, lightest] = item
    weights[row, lightest] = together


_add: Any = njit(_add_py)


def _learn_py(
    items: Numbers,
    weights: Floats,
    total: Floats,
    popularity: Floats,
    divisors: Floats,
    row_us: Ints,
    item: int,
    weight: float,
    context: Numbers,
    amounts: Floats,
    backward: float,
    half_life_us: float,
    in_power: float,
    prior: float,
    at_us: int,
    count: int,
) -> None:
    _decay(weights, total, popularity, row_us, item, at_us, half_life_us)
    popularity[item] += np.float32(weight)
    divisors[item] = np.float32((prior + popularity[item]) ** in_power)
    for i in range(context.shape[0]):
        row = context[i]
        if row == item or amounts[i] <= 0.0:
            continue
        _decay(weights, total, popularity, row_us, row, at_us, half_life_us)
        divisors[row] = np.float32((prior + popularity[row]) ** in_power)
        _add(items, weights, total, row, item, amounts[i], count)
        if backward > 0.0:
            _add(items, weights, total, item, row, amounts[i] * backward, count)


_learn: Callable[..., None] = njit(
    "void(int32[:,::1], float32[:,::1], float32[::1], float32[::1], float32[::1], int64[::1], int64, float64,"
    " int32[::1], float32[::1], float64, float64, float64, float64, int64, int64)",
    cache=True,
    nogil=True,
)(_learn_py)


class Sums:
    """A visit's scores: above 0 for items that were touched, and nothing to say of others."""

    def __init__(self, sums: Floats, touched: Numbers) -> None:
        self._sums, self._touched = sums, touched

    def top(self, limit: int) -> tuple[Numbers, Floats]:
        """The best items and their scores, best first; equal ones by number."""
        return best_of(self._touched, self._sums, limit)

    def of(self, numbers: Numbers) -> Floats:
        """The scores of some items, by number; NaN for those that were not touched."""
        return said_of(self._sums, numbers)


class CoVisitation:
    """Rows of neighbours by item number. One writer; a reader beside it may see a row half written.

    Memory is 8 bytes for each slot: 1 KiB an item with 128 slots.
    """

    def __init__(self) -> None:
        self._items = np.full((0, SLOTS), -1, dtype=np.int32)
        self._weights = np.zeros((0, SLOTS), dtype=np.float32)
        self._total = np.zeros(0, dtype=np.float32)
        self._row_us = np.zeros(0, dtype=np.int64)
        self._popularity = np.zeros(0, dtype=np.float32)
        # What scores are divided by for popularity: made when an item's changes, not for each that is touched.
        self._divisors = np.zeros(0, dtype=np.float32)
        self._length = 0
        self._count = 0

    def reserve(self, length: int) -> None:
        """Have a row for each of so many items."""
        if length > self._length:
            self._items = grown(self._items, length, -1)
            self._weights = grown(self._weights, length)
            self._total = grown(self._total, length)
            self._row_us = grown(self._row_us, length)
            self._popularity = grown(self._popularity, length)
            self._divisors = grown(self._divisors, length, PRIOR**IN_POWER)
            self._length = length

    def learn_one(self, item: int, weight: float, visit: Visit) -> None:
        """Learn that a visitor, as he was just before, came to an item. All numbers are below what is reserved."""
        self._count += 1
        amounts = _amounts(visit, CONTEXT_LIMIT, RANK_POWER) * np.float32(weight)
        _learn(
            self._items, self._weights, self._total, self._popularity, self._divisors, self._row_us, item, weight,
            visit.items[:CONTEXT_LIMIT], amounts, BACKWARD, HALF_LIFE_US, IN_POWER, PRIOR, visit.at_us, self._count,
        )  # fmt: skip

    def scores(self, visit: Visit, barred: Mask) -> Sums:
        """What visitors of the visit's items went on to, without the items that are barred, by number."""
        return self._sum(visit.items, _amounts(visit, ASK_LIMIT, ASK_POWER), barred)

    def neighbours(self, item: int, limit: int, barred: Mask) -> tuple[Numbers, Floats]:
        """The nearest neighbours of one item and their scores, best first, without those barred."""
        return self._sum(np.array([item], dtype=np.int32), np.ones(1, dtype=np.float32), barred).top(limit)

    @property
    def columns(self) -> tuple[Any, ...]:
        """What `scores` reads, for compiled loops (`models/gather_kernel.py`). Views: do not write."""
        rows = (self._items, self._weights, self._total, self._divisors, self._length)
        return (*rows, ASK_LIMIT, ASK_POWER, GAP_HALF_LIFE_US, OUT_POWER, PRIOR)

    def _sum(self, wanted: Numbers, amounts: Floats, barred: Mask) -> Sums:
        sums = np.zeros(self._length, dtype=np.float32)
        touched = np.empty(min(self._length, SLOTS * amounts.shape[0]), dtype=np.int32)
        found = add_rows(
            self._items, self._weights, self._total, self._divisors, wanted, amounts, barred,
            OUT_POWER, PRIOR, sums, touched,
        )  # fmt: skip
        return Sums(sums, touched[:found])

    def arrays(self) -> Arrays:
        """All that it knows: only the slots in use, row by row."""
        items = self._items[: self._length]
        used = items >= 0
        return {
            "covisitation.used": used.sum(axis=1, dtype=np.int32),
            "covisitation.items": items[used],
            "covisitation.weights": self._weights[: self._length][used],
            "covisitation.total": self._total[: self._length],
            "covisitation.row_us": self._row_us[: self._length],
            "covisitation.popularity": self._popularity[: self._length],
            "covisitation.count": np.array([self._count], dtype=np.int64),
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> CoVisitation:
        """What `arrays` was taken from."""
        found = cls()
        per_row = arrays["covisitation.used"]
        found.reserve(per_row.shape[0])
        used = np.arange(SLOTS) < per_row[:, None]
        found._items[: found._length][used] = arrays["covisitation.items"]
        found._weights[: found._length][used] = arrays["covisitation.weights"]
        found._total[: found._length] = arrays["covisitation.total"]
        found._row_us[: found._length] = arrays["covisitation.row_us"]
        found._popularity[: found._length] = arrays["covisitation.popularity"]
        divide_for(found._popularity, IN_POWER, PRIOR, found._divisors)
        found._count = int(arrays["covisitation.count"][0])
        return found


def _amounts(visit: Visit, limit: int, power: float) -> Floats:
    """How much each of the visit's newest items counts, by how many items and how long ago it was visited."""
    out = np.empty(min(limit, visit.items.shape[0]), dtype=np.float32)
    amounts_of(visit.times_us, visit.weights, visit.at_us, power, GAP_HALF_LIFE_US, out)
    return out
