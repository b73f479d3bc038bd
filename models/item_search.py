"""The nearest item vectors to a vector by inner product: exact for small catalogues, approximate beyond.

faiss is imported when the first large catalogue is: its import takes most of a second, and small ones need none of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.best_of import best
from models.compiled import FAST_SUMS

Floats = NDArray[np.float32]
Numbers = NDArray[np.int32]
Mask = NDArray[np.bool_]

EXACT_ITEMS_MOST = 30_000
"""Up to so many items every vector is looked at: at 64 dimensions a few tenths of a millisecond."""
PROBED_PART = 1 / 10
"""Of the cells of the approximate search, how many are looked at: recall against time."""
POINTS_PER_CELL = 128
"""How many items a cell of the approximate search has on average."""
TRAINING_POINTS_PER_CELL = 64
FETCHED_MOST = 4096
"""How many items the approximate search takes at most, to find as many that are not excluded as were asked for."""
SEED = 20260131


def _best_rows_py(vectors: Floats, vector: Floats, limit: int, excluded: Mask) -> tuple[Numbers, Floats]:
    rows, scores = np.empty(vectors.shape[0], dtype=np.int32), np.empty(vectors.shape[0], dtype=np.float32)
    found = 0
    for row in range(vectors.shape[0]):
        if not excluded[row]:
            total = np.float32(0.0)
            for d in range(vectors.shape[1]):
                total += vectors[row, d] * vector[d]
            rows[found], scores[found] = row, total
            found += 1
    return best(rows[:found], scores[:found], limit)  # type: ignore[no-any-return]


_best_rows: Callable[..., tuple[Numbers, Floats]] = njit(
    "Tuple((int32[::1], float32[::1]))(float32[:,::1], float32[::1], int64, boolean[::1])",
    cache=True,
    nogil=True,
    fastmath=FAST_SUMS,
)(_best_rows_py)
"""The best rows by inner product. Not BLAS: its threads would wait for a processor among requests."""


class ItemSearch(Protocol):
    """Rows of a matrix of vectors, float32 (n, d), by inner product with a vector."""

    def top(self, vector: Floats, limit: int, excluded: Mask) -> tuple[Numbers, Floats]:
        """The best rows that are not excluded and their products, best first; equal ones by row.

        Fewer than `limit` where there are no more. `excluded` is bool (n,).
        """
        ...


class ExactSearch:
    """Looks at every vector."""

    def __init__(self, vectors: Floats) -> None:
        self._vectors = np.ascontiguousarray(vectors, dtype=np.float32)

    def top(self, vector: Floats, limit: int, excluded: Mask) -> tuple[Numbers, Floats]:
        """The best rows. Never wrong."""
        return _best_rows(self._vectors, np.ascontiguousarray(vector, dtype=np.float32), limit, excluded)


class ApproximateSearch:
    """faiss, inverted lists over clusters: looks at the clusters nearest to the vector. Deterministic, one thread.

    Some of the best rows may be missing: nine of ten are found where vectors have clusters, fewer where they have none.
    """

    def __init__(self, vectors: Floats) -> None:
        import faiss

        faiss.omp_set_num_threads(1)
        vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        count, dimensions = vectors.shape
        cells = max(1, count // POINTS_PER_CELL)
        quantizer = faiss.IndexFlatIP(dimensions)
        index: Any = faiss.IndexIVFFlat(quantizer, dimensions, cells, faiss.METRIC_INNER_PRODUCT)
        index.cp.seed = SEED
        index.cp.niter = 8
        index.cp.min_points_per_centroid = 1
        index.cp.max_points_per_centroid = TRAINING_POINTS_PER_CELL
        index.cp.spherical = False
        index.train(vectors)
        index.add(vectors)
        index.nprobe = max(1, round(cells * PROBED_PART))
        self._index, self._quantizer, self._count = index, quantizer, count

    def top(self, vector: Floats, limit: int, excluded: Mask) -> tuple[Numbers, Floats]:
        """The best rows of the nearest clusters; takes more as long as too many of them are excluded."""
        query = np.ascontiguousarray(vector, dtype=np.float32).reshape(1, -1)
        wanted = min(limit, self._count)
        fetched = max(1, min(2 * wanted, FETCHED_MOST, self._count))
        while True:
            scores, rows = self._index.search(query, fetched)
            found = rows[0] >= 0
            kept = found.copy()
            kept[found] = ~excluded[rows[0][found]]
            if kept.sum() >= wanted or not found.all() or fetched >= min(FETCHED_MOST, self._count):
                return _best(rows[0][kept].astype(np.int32), scores[0][kept], limit)
            fetched = min(fetched * 4, FETCHED_MOST, self._count)


def search_over(vectors: Floats) -> ItemSearch:
    """The search that fits the number of vectors."""
    return ExactSearch(vectors) if len(vectors) <= EXACT_ITEMS_MOST else ApproximateSearch(vectors)


def _best(rows: Numbers, scores: Floats, limit: int) -> tuple[Numbers, Floats]:
    order = np.lexsort((rows, -scores))[:limit]
    order = order[scores[order] > -np.inf]
    return rows[order], scores[order].astype(np.float32)
