"""Item vectors by implicit alternating least squares, and a visitor's vector from what was just visited.

Hu, Koren and Volinsky, "Collaborative filtering for implicit feedback datasets", 2008: each pair of user and item that
was seen has preference 1 with confidence `1 + confidence * weight`, every other pair preference 0 with confidence 1.
Each least-squares problem is solved by conjugate gradients from the last solution (Takács, Pilászy and Tikk, 2011).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.compiled import FAST_SUMS
from models.packed import Arrays

Floats = NDArray[np.float32]
Numbers = NDArray[np.int32]
Ints = NDArray[np.int64]

DIMENSIONS = 64
SWEEPS = 12
CONFIDENCE = 1.0
REGULARISATION = 20.0
"""Chosen on a further split of the train part of MovieLens 100K."""
FIT_STEPS = 3
FOLD_IN_STEPS = 24
"""Conjugate gradient steps: few where the next sweep goes on, more where the answer is used. They stop when exact."""
BLOCKS = 8
SEED = 20260131


class ItemFactors(NamedTuple):
    """What a fit leaves of the items: enough to find any visitor's vector.

    `vectors` is float32 (n, d) and `gram` their `V.T @ V`, float32 (d, d), of the items of the fit.
    """

    vectors: Floats
    gram: Floats
    regularisation: float
    confidence: float

    def arrays(self) -> Arrays:
        """As named arrays."""
        numbers = np.array([self.regularisation, self.confidence], dtype=np.float64)
        return {"vectors": self.vectors, "gram": self.gram, "als": numbers}


def factors_from(arrays: Arrays) -> ItemFactors:
    """What `ItemFactors.arrays` gave."""
    regularisation, confidence = arrays["als"].tolist()
    return ItemFactors(arrays["vectors"], arrays["gram"], regularisation, confidence)


def _solve_py(
    vectors: Floats,
    gram: Floats,
    regularisation: float,
    confidence: float,
    items: Numbers,
    weights: Floats,
    steps: int,
    x: Floats,
) -> None:
    """Improve `x` towards `(G + r + V.T C V) x = V.T (1 + C)`, over some items; r is regularisation."""
    d = x.shape[0]
    r = np.zeros(d, dtype=np.float32)
    ap = np.zeros(d, dtype=np.float32)
    for a in range(d):
        total = np.float32(0.0)
        for b in range(d):
            total += gram[a, b] * x[b]
        r[a] = -total - regularisation * x[a]
    for k in range(items.shape[0]):
        v = vectors[items[k]]
        product = np.float32(0.0)
        for a in range(d):
            product += v[a] * x[a]
        c = np.float32(confidence * weights[k])
        scale = np.float32(1.0) + c - c * product
        for a in range(d):
            r[a] += scale * v[a]
    p = r.copy()
    old = np.float64(0.0)
    for a in range(d):
        old += r[a] * r[a]
    least = old * 1e-10
    for _ in range(steps):
        if old <= least or old < 1e-20:
            return
        for a in range(d):
            total = np.float32(0.0)
            for b in range(d):
                total += gram[a, b] * p[b]
            ap[a] = total + regularisation * p[a]
        for k in range(items.shape[0]):
            v = vectors[items[k]]
            product = np.float32(0.0)
            for a in range(d):
                product += v[a] * p[a]
            scale = np.float32(confidence * weights[k]) * product
            for a in range(d):
                ap[a] += scale * v[a]
        curve = np.float64(0.0)
        for a in range(d):
            curve += p[a] * ap[a]
        if curve <= 0.0:
            return
        alpha = np.float32(old / curve)
        new = np.float64(0.0)
        for a in range(d):
            x[a] += alpha * p[a]
            r[a] -= alpha * ap[a]
            new += r[a] * r[a]
        beta = np.float32(new / old)
        for a in range(d):
            p[a] = r[a] + beta * p[a]
        old = new


_SOLVE = "void(float32[:,::1], float32[:,::1], float32, float32, int32[::1], float32[::1], int64, float32[::1])"
_solve: Any = njit(_SOLVE, cache=True, nogil=True, fastmath=FAST_SUMS)(_solve_py)


def _sweep_py(
    vectors: Floats,
    gram: Floats,
    regularisation: float,
    confidence: float,
    first: Ints,
    others: Numbers,
    weights: Floats,
    steps: int,
    start: int,
    end: int,
    out: Floats,
) -> None:
    for row in range(start, end):
        low, high = first[row], first[row + 1]
        if low == high:
            out[row] = np.float32(0.0)
        else:
            _solve(vectors, gram, regularisation, confidence, others[low:high], weights[low:high], steps, out[row])


_SWEEP = (
    "void(float32[:,::1], float32[:,::1], float32, float32, int64[::1], int32[::1], float32[::1], int64, int64, int64,"
    " float32[:,::1])"
)
_sweep: Callable[..., None] = njit(_SWEEP, cache=True, nogil=True)(_sweep_py)


def fit_als(
    users: Numbers,
    items: Numbers,
    weights: Floats,
    n_items: int,
    *,
    dimensions: int = DIMENSIONS,
    regularisation: float = REGULARISATION,
    confidence: float = CONFIDENCE,
    sweeps: int = SWEEPS,
) -> ItemFactors:
    """Vectors of `n_items` items; those nobody visited are zero.

    Pairs (user, item) are distinct, numbers from 0; weights at least 0. The same input gives the same vectors, whatever
    the number of threads: each row is a problem of its own.
    """
    if len(items) and (items.min() < 0 or items.max() >= n_items):
        raise ValueError(f"items are {items.min()} to {items.max()}, and there are {n_items}: number them from 0")
    n_users = int(users.max()) + 1 if len(users) else 0
    by_user, by_item = rows_of(users, items, weights, n_users), rows_of(items, users, weights, n_items)
    random = np.random.default_rng(SEED)
    vectors = (random.standard_normal((n_items, dimensions)) * 0.1).astype(np.float32)
    people = np.zeros((n_users, dimensions), dtype=np.float32)
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        for _ in range(sweeps):
            _half_sweep(pool, vectors, by_user, regularisation, confidence, people)
            _half_sweep(pool, people, by_item, regularisation, confidence, vectors)
    return ItemFactors(vectors, np.ascontiguousarray(vectors.T @ vectors), regularisation, confidence)


def _half_sweep(
    pool: ThreadPoolExecutor,
    fixed: Floats,
    pairs: tuple[Ints, Numbers, Floats],
    regularisation: float,
    confidence: float,
    out: Floats,
) -> None:
    """Improve every row of `out`, the other side fixed; in blocks of equal numbers of pairs."""
    first, others, weights = pairs
    gram = np.ascontiguousarray(fixed.T @ fixed)
    edges = np.searchsorted(first, np.linspace(0, first[-1], BLOCKS + 1)[1:-1]).tolist()

    def block(start: int, end: int) -> None:
        _sweep(fixed, gram, regularisation, confidence, first, others, weights, FIT_STEPS, start, end, out)

    list(pool.map(block, [0, *edges], [*edges, len(first) - 1]))


def rows_of(rows: Numbers, columns: Numbers, weights: Floats, n_rows: int) -> tuple[Ints, Numbers, Floats]:
    """Pairs as compressed rows: where each row begins (n_rows + 1), then columns and weights row by row, ascending."""
    order = np.lexsort((columns, rows))
    first = np.zeros(n_rows + 1, dtype=np.int64)
    np.cumsum(np.bincount(rows, minlength=n_rows), out=first[1:])
    return first, columns[order].astype(np.int32), weights[order].astype(np.float32)


def fold_in(factors: ItemFactors, rows: Numbers, weights: Floats) -> Floats:
    """The vector of a visitor of some items (rows of `vectors`, their weights), float32 (d,); zeros for none."""
    vector = np.zeros(factors.vectors.shape[1], dtype=np.float32)
    if len(rows):
        _solve(
            factors.vectors,
            factors.gram,
            factors.regularisation,
            factors.confidence,
            np.ascontiguousarray(rows, dtype=np.int32),
            np.ascontiguousarray(weights, dtype=np.float32),
            FOLD_IN_STEPS,
            vector,
        )
    return vector
