"""Ratings predicted while they come in: biases and factors of users and items, learned by small steps.

Each rating is one step for itself and some for ratings of the past: the same user's, the same item's, anybody's, in
turn. Small steps many times over find what large ones once would jump over. All draws are hashes of a counter.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.covisitation import draw
from models.growing import grown

Floats = NDArray[np.float64]
Numbers = NDArray[np.int32]

DIMENSIONS = 32
AGAIN = 24
"""How many past ratings are learned again with each."""
KEPT = 256
"""How many ratings of one user, and of one item, are kept to be learned again: the newest."""
RING = 65_536
"""The same of all."""
LEARNING_RATE = 0.01
BIAS_RATE = 0.002
SHRINKAGE = 0.06
USER_PRIOR = 6.0
ITEM_PRIOR = 5.0
"""The first ratings move a bias by `1 / (count + prior)`, as a mean that begins with so many ratings of 0 would."""
USER_LIMIT = ITEM_LIMIT = 1_000_000


def _begin_py(rows: Floats, row: int, seed: int) -> None:
    for d in range(rows.shape[1]):
        rows[row, d] = (draw(row, d, seed) - 0.5) * 0.1


_begin: Callable[..., None] = njit("void(float64[:,::1], int64, int64)", cache=True, nogil=True)(_begin_py)


def _learn_py(
    users: Floats, items: Floats, user_bias: Floats, item_bias: Floats, user_count: NDArray[np.int64],
    item_count: NDArray[np.int64], user_kept: Numbers, item_kept: Numbers, ring: Numbers, stars: Floats,
    user: int, item: int, rating: float, mean: float, count: int, again: int,
) -> float:  # fmt: skip
    """Learn one rating and some past ones; gives the new mean."""
    place = count % ring.shape[0]
    ring[place, 0], ring[place, 1], stars[place] = user, item, rating
    mean += (rating - mean) / (count + 1)
    kept = user_kept.shape[1]
    user_kept[user, user_count[user] % kept] = place
    item_kept[item, item_count[item] % kept] = place
    user_count[user] += 1
    item_count[item] += 1
    used = min(count + 1, ring.shape[0])
    for n in range(again + 1):
        at = np.int64(place)
        if n > 0 and n % 3 == 1:
            at = np.int64(user_kept[user, np.int64(draw(count, n, 3) * min(user_count[user], kept))])
        elif n > 0 and n % 3 == 2:
            at = np.int64(item_kept[item, np.int64(draw(count, n, 4) * min(item_count[item], kept))])
        elif n > 0:
            at = np.int64(draw(count, n, 5) * used)
        u, i = ring[at, 0], ring[at, 1]
        error = stars[at] - mean - user_bias[u] - item_bias[i]
        for d in range(users.shape[1]):
            error -= users[u, d] * items[i, d]
        first = 1.0 if n == 0 else 0.0
        user_bias[u] += max(BIAS_RATE, first / (user_count[u] + USER_PRIOR)) * (error - SHRINKAGE * user_bias[u])
        item_bias[i] += max(BIAS_RATE, first / (item_count[i] + ITEM_PRIOR)) * (error - SHRINKAGE * item_bias[i])
        for d in range(users.shape[1]):
            p, q = users[u, d], items[i, d]
            users[u, d] += LEARNING_RATE * (error * q - SHRINKAGE * p)
            items[i, d] += LEARNING_RATE * (error * p - SHRINKAGE * q)
    return mean


_learn: Callable[..., float] = njit(
    "float64(float64[:,::1], float64[:,::1], float64[::1], float64[::1], int64[::1], int64[::1], int32[:,::1],"
    " int32[:,::1], int32[:,::1], float64[::1], int64, int64, float64, float64, int64, int64)",
    cache=True,
    nogil=True,
)(_learn_py)


class _Side:
    """The users, or the items: a row each in the order of first appearance."""

    def __init__(self, seed: int, limit: int) -> None:
        self.numbers: dict[Hashable, int] = {}
        self.rows = np.zeros((0, DIMENSIONS), dtype=np.float64)
        self.bias = np.zeros(0, dtype=np.float64)
        self.count = np.zeros(0, dtype=np.int64)
        self.kept = np.zeros((0, KEPT), dtype=np.int32)
        self._seed, self._limit = seed, limit

    def add(self, name: Hashable) -> int:
        number = self.numbers.get(name)
        if number is None and len(self.numbers) < self._limit:
            number = self.numbers[name] = len(self.numbers)
            self.rows, self.bias = grown(self.rows, number + 1), grown(self.bias, number + 1)
            self.count, self.kept = grown(self.count, number + 1), grown(self.kept, number + 1)
            _begin(self.rows, number, self._seed)
        return -1 if number is None else number


class RatingFactors:
    """Predicts stars from one to five. Ratings that are not finite teach nothing, others are held to that range."""

    def __init__(self, lowest: float = 1.0, highest: float = 5.0) -> None:
        self._lowest, self._highest = lowest, highest
        self._users, self._items = _Side(1, USER_LIMIT), _Side(2, ITEM_LIMIT)
        self._ring = np.zeros((RING, 2), dtype=np.int32)
        self._stars = np.zeros(RING, dtype=np.float64)
        self._mean = 0.0
        self._count = 0

    def predict_one(self, user: Hashable, item: Hashable) -> float:
        """The stars this user would give; the mean of all for two strangers, the middle before the first rating."""
        if not self._count:
            return (self._lowest + self._highest) / 2.0
        predicted = self._mean
        u, i = self._users.numbers.get(user, -1), self._items.numbers.get(item, -1)
        if u >= 0:
            predicted += float(self._users.bias[u])
        if i >= 0:
            predicted += float(self._items.bias[i])
        if u >= 0 and i >= 0:
            predicted += float(self._users.rows[u] @ self._items.rows[i])
        return min(max(predicted, self._lowest), self._highest)

    def learn_one(self, user: Hashable, item: Hashable, rating: float) -> None:
        """One rating, and some of the past once more."""
        if not np.isfinite(rating):
            return
        u, i = self._users.add(user), self._items.add(item)
        if u < 0 or i < 0:
            return
        users, items = self._users, self._items
        held = min(max(rating, self._lowest), self._highest)
        self._mean = _learn(
            users.rows, items.rows, users.bias, items.bias, users.count, items.count, users.kept, items.kept,
            self._ring, self._stars, u, i, held, self._mean, self._count, AGAIN,
        )  # fmt: skip
        self._count += 1
