"""Item vectors learned online: what a visitor's recent items say of the next one, by incremental matrix factorisation.

Each item has two vectors: one as a visited item, one as the item that comes next. A visitor is the weighted mean of
his recent items' first vectors, so a stranger's first click is enough, and no vector of a visitor can be stale. An
interaction is a step of logistic matrix factorisation: the item that came against items drawn from recent interactions
(source: Y. Koren's asymmetric factors, KDD 2008; negative sampling of T. Mikolov et al., NIPS 2013), with Adagrad's
step lengths. Some interactions of the past are learned again with each new one. All draws are hashes of a counter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.best_of import best
from models.compiled import FAST_SUMS
from models.covisitation import draw
from models.growing import grown
from models.packed import Arrays
from models.visit import Visit

Numbers = NDArray[np.int32]
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

DIMENSIONS = 32
CONTEXT_LIMIT = 20
"""How many recent items make a visitor."""
RANK_POWER = 0.5
"""An item that is `r` items back counts `1 / (1 + r) ** RANK_POWER`."""
BY_RANK = ((1.0 + np.arange(CONTEXT_LIMIT)) ** -RANK_POWER).astype(np.float32)
NEGATIVES = 16
AGAIN = 2
"""How many past interactions are learned again with each."""
RING = 32_768
"""How many past interactions are kept to be learned again and to draw negatives from."""
LEARNING_RATE = 0.2
SHRINKAGE = 0.002
UNIFORM_SHARE = 1.0
"""Of the negatives, how many are drawn from all items alike; the others are those of past interactions."""
VALUE_LIMIT = 10.0
SEARCHED_LIMIT = 4_096
"""Up to so many items, candidates are looked for among all of them; beyond, among those that lead lately."""


def _vector_py(rows: Floats, context: Numbers, amounts: Floats, out: Floats) -> float:
    """The weighted mean of the context's rows; gives the sum of the weights."""
    total = np.float32(0.0)
    out[:] = np.float32(0.0)
    for i in range(context.shape[0]):
        if 0 <= context[i] < rows.shape[0]:
            total += amounts[i]
            for d in range(out.shape[0]):
                out[d] += amounts[i] * rows[context[i], d]
    if total > 0.0:
        for d in range(out.shape[0]):
            out[d] /= total
    return total  # type: ignore[return-value]


_vector: Any = njit(_vector_py)


def _step_py(
    before: Floats, after: Floats, bias: Floats, lengths: Floats, target: int, context: Numbers, amounts: Floats,
    ring: Numbers, ring_used: int, items: int, count: int, rate: float, shrinkage: float, uniform_share: float,
    negatives: int,
) -> None:  # fmt: skip
    dimensions = before.shape[1]
    user = np.empty(dimensions, dtype=np.float32)
    slope = np.zeros(dimensions, dtype=np.float32)
    total = _vector(before, context, amounts, user)
    if total <= 0.0:
        return
    for n in range(negatives + 1):
        item = np.int64(target)
        if n > 0:
            if draw(count, n, 1) < uniform_share:
                item = np.int64(draw(count, n, 2) * items)
            else:
                item = np.int64(ring[np.int64(draw(count, n, 2) * ring_used), 0])
            if item == target:
                continue
        logit = bias[item]
        for d in range(dimensions):
            logit += user[d] * after[item, d]
        p = 1.0 / (1.0 + np.exp(-min(max(logit, -30.0), 30.0)))
        error = np.float32((1.0 if n == 0 else 0.0) - p)
        square = np.float32(0.0)
        for d in range(dimensions):
            slope[d] += error * after[item, d]
            gradient = error * user[d] - np.float32(shrinkage) * after[item, d]
            square += gradient * gradient
        lengths[item, 1] += square / dimensions
        step = np.float32(rate) / np.sqrt(lengths[item, 1] + np.float32(1e-6))
        for d in range(dimensions):
            moved = after[item, d] + step * (error * user[d] - np.float32(shrinkage) * after[item, d])
            after[item, d] = min(max(moved, np.float32(-10.0)), np.float32(10.0))
        lengths[item, 2] += error * error
        bias[item] += np.float32(rate) / np.sqrt(lengths[item, 2] + np.float32(1e-6)) * error
    for i in range(context.shape[0]):
        item = np.int64(context[i])
        share = amounts[i] / total
        square = np.float32(0.0)
        for d in range(dimensions):
            gradient = share * slope[d] - np.float32(shrinkage) * share * before[item, d]
            square += gradient * gradient
        lengths[item, 0] += square / dimensions
        step = np.float32(rate) / np.sqrt(lengths[item, 0] + np.float32(1e-6))
        for d in range(dimensions):
            moved = before[item, d] + step * share * (slope[d] - np.float32(shrinkage) * before[item, d])
            before[item, d] = min(max(moved, np.float32(-10.0)), np.float32(10.0))


_step: Any = njit(_step_py)


def _learn_py(
    before: Floats, after: Floats, bias: Floats, lengths: Floats, target: int, weight: float,
    context: Numbers, amounts: Floats, ring: Numbers, ring_amounts: Floats, items: int, count: int,
    rate: float, shrinkage: float, uniform_share: float, negatives: int, again: int,
) -> None:  # fmt: skip
    size = ring.shape[0]
    length = context.shape[0]
    place = count % size
    ring[place, 0] = target
    ring[place, 1] = length
    ring[place, 2 : 2 + length] = context
    ring_amounts[place, 0] = weight
    ring_amounts[place, 1 : 1 + length] = amounts
    used = min(count + 1, size)
    for n in range(again + 1):
        if n > 0:
            place = np.int64(draw(count, n, 3) * used)
        length = ring[place, 1]
        _step(
            before, after, bias, lengths, ring[place, 0], ring[place, 2 : 2 + length],
            ring_amounts[place, 1 : 1 + length], ring, used, items, count * (again + 1) + n,
            rate * ring_amounts[place, 0], shrinkage, uniform_share, negatives,
        )  # fmt: skip


_learn: Callable[..., None] = njit(
    "void(float32[:,::1], float32[:,::1], float32[::1], float32[:,::1], int64, float64, int32[::1], float32[::1],"
    " int32[:,::1], float32[:,::1], int64, int64, float64, float64, float64, int64, int64)",
    cache=True,
    nogil=True,
)(_learn_py)


def _begin_py(before: Floats, after: Floats, first: int, end: int) -> None:
    scale = 1.0 / before.shape[1] ** 0.5
    for row in range(first, end):
        for d in range(before.shape[1]):
            before[row, d] = np.float32((draw(row, d, 5) - 0.5) * scale)
            after[row, d] = np.float32((draw(row, d, 6) - 0.5) * scale * 0.1)


_begin: Callable[..., None] = njit("void(float32[:,::1], float32[:,::1], int64, int64)", cache=True, nogil=True)(
    _begin_py
)


def _score_py(after: Floats, bias: Floats, user: Floats, numbers: Numbers) -> Floats:
    out = np.empty(numbers.shape[0], dtype=np.float32)
    for i in range(numbers.shape[0]):
        if 0 <= numbers[i] < after.shape[0]:
            score = bias[numbers[i]]
            for d in range(user.shape[0]):
                score += user[d] * after[numbers[i], d]
            out[i] = score
        else:
            out[i] = np.nan
    return out


logits_of: Callable[..., Floats] = njit(
    "float32[::1](float32[:,::1], float32[::1], float32[::1], int32[::1])", cache=True, nogil=True
)(_score_py)


def _search_py(
    after: Floats, bias: Floats, user: Floats, searched: Numbers, barred: Mask, limit: int
) -> tuple[Numbers, Floats]:
    """The best of the searched items that are not barred, and their logits, best first."""
    numbers, logits = np.empty(searched.shape[0], dtype=np.int32), np.empty(searched.shape[0], dtype=np.float32)
    found = 0
    for i in range(searched.shape[0]):
        item = searched[i]
        if 0 <= item < after.shape[0] and not barred[item]:
            logit = np.float32(0.0)
            for d in range(user.shape[0]):
                logit += after[item, d] * user[d]
            numbers[found], logits[found] = item, logit + bias[item]
            found += 1
    return best(numbers[:found], logits[:found], limit)  # type: ignore[no-any-return]


searched_best: Callable[..., tuple[Numbers, Floats]] = njit(
    "Tuple((int32[::1], float32[::1]))(float32[:,::1], float32[::1], float32[::1], int32[::1], boolean[::1], int64)",
    cache=True,
    nogil=True,
    fastmath=FAST_SUMS,
)(_search_py)


class Factors:
    """Item vectors, float32. One writer; a reader beside it may see a vector in the middle of a step."""

    def __init__(self) -> None:
        self._before = np.zeros((0, DIMENSIONS), dtype=np.float32)
        self._after = np.zeros((0, DIMENSIONS), dtype=np.float32)
        self._bias = np.zeros(0, dtype=np.float32)
        self._lengths = np.zeros((0, 3), dtype=np.float32)
        self._ring = np.zeros((RING, 2 + CONTEXT_LIMIT), dtype=np.int32)
        self._ring_amounts = np.zeros((RING, 1 + CONTEXT_LIMIT), dtype=np.float32)
        self._count = 0
        self._length = 0

    @property
    def learned(self) -> int:
        """How many interactions were learned."""
        return self._count

    @property
    def vectors(self) -> Floats:
        """By number: the vectors of items that come next, shape (items, DIMENSIONS). A view: do not write."""
        return self._after[: self._length]

    def reserve(self, length: int) -> None:
        """Have vectors for so many items; new ones are small, and the same whenever they are made."""
        if length > self._length:
            self._before = grown(self._before, length)
            self._after = grown(self._after, length)
            self._bias = grown(self._bias, length)
            self._lengths = grown(self._lengths, length)
            _begin(self._before, self._after, self._length, length)
            self._length = length

    def learn_one(self, item: int, weight: float, visit: Visit) -> None:
        """Learn that a visitor, as he was just before, came to an item; nothing of one without recent items."""
        context = visit.items[:CONTEXT_LIMIT]
        amounts = _amounts(visit)
        if context.shape[0] == 0 or not amounts.any():
            return
        _learn(
            self._before, self._after, self._bias, self._lengths, item, min(weight, 2.0), context, amounts, self._ring,
            self._ring_amounts, self._length, self._count, LEARNING_RATE, SHRINKAGE, UNIFORM_SHARE, NEGATIVES, AGAIN,
        )  # fmt: skip
        self._count += 1

    @property
    def columns(self) -> tuple[Any, ...]:
        """What candidates are made from, for compiled loops (`models/gather_kernel.py`). Views: do not write."""
        return self._before, self._after, self._bias, self._count, BY_RANK, SEARCHED_LIMIT

    def arrays(self) -> Arrays:
        """All that it knows."""
        used = min(self._count, RING)
        return {
            "factors.before": self._before[: self._length],
            "factors.after": self._after[: self._length],
            "factors.bias": self._bias[: self._length],
            "factors.lengths": self._lengths[: self._length],
            "factors.ring": self._ring[:used],
            "factors.ring_amounts": self._ring_amounts[:used],
            "factors.count": np.array([self._count], dtype=np.int64),
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Factors:
        """What `arrays` was taken from."""
        found = cls()
        found._before, found._after = arrays["factors.before"], arrays["factors.after"]
        found._bias, found._lengths = arrays["factors.bias"], arrays["factors.lengths"]
        ring = arrays["factors.ring"]
        found._ring[: ring.shape[0]] = ring
        found._ring_amounts[: ring.shape[0]] = arrays["factors.ring_amounts"]
        found._count = int(arrays["factors.count"][0])
        found._length = found._bias.shape[0]
        return found


user_of: Callable[..., float] = njit("float64(float32[:,::1], int32[::1], float32[::1], float32[::1])", cache=True)(
    _vector_py
)
"""Writes a visitor's vector, from the recent items and what each counts; gives the sum of that, 0 for a stranger."""


def _amounts(visit: Visit) -> Floats:
    weights = visit.weights[:CONTEXT_LIMIT]
    return BY_RANK[: weights.shape[0]] * weights
