"""Boosted trees that are asked of many rows at once, for the ranker: some fifteen times faster than onnxruntime.

Each leaf of a tree is a bit. A split takes the leaves at its left from all rows that it sends right, eight or sixteen
rows in one instruction; when all splits of a tree were asked, in any order, the lowest bit that a row has left is its
leaf. Leaves are added in float32 in the order of the trees, as onnxruntime does it, so the answers are the same bit for
bit; `quick_trees` asks both and gives nothing where they are not.

Source: C. Lucchese et al., "QuickScorer: a fast algorithm to rank documents with additive ensembles of regression
trees", 2015, and "Exploiting CPU SIMD extensions to speed-up document scoring with tree ensembles", 2016.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.contract import Vector
from models.onnx import OnnxModel
from models.shap import ShapModel
from models.shap_trees import LEAF, Trees

LEAVES_LIMIT = 32
"""Of one tree: a leaf is a bit of a number of 32."""
ALL_LEAVES = 2**LEAVES_LIMIT - 1
DE_BRUIJN = 0x077CB531
"""A lowest bit times this has a place of its own among 32 in its five highest bits."""
PLACE_SHIFT = 27
TOGETHER = 64
"""Rows that a compiled loop takes in one go."""
COMPARED_ROWS = 256

Float32s = NDArray[np.float32]


class NotQuick(ValueError):
    """The model has a form that only onnxruntime answers. It names what is in the way."""


class QuickTrees:
    """What `OnnxModel.score_many` answers, from the trees themselves. Raises `NotQuick` for what are none.

    For any number of threads; it holds no lock, and what it takes grows with rows times splits alone.
    """

    def __init__(self, read: ShapModel) -> None:
        if read.boosted is None:
            raise NotQuick(f"model {read.manifest.name!r} {read.manifest.version!r} is not boosted trees alone")
        self.manifest = read.manifest
        trees, base = read.boosted
        splits = _Splits(trees)
        self._base = np.float32(base)
        self._starts = np.array(splits.starts, dtype=np.int64)
        self._feature = np.array(splits.feature, dtype=np.int64)
        self._threshold = np.array(splits.threshold, dtype=np.float32)
        self._nan_left = np.array(splits.nan_left, dtype=np.bool_)
        self._kept = np.array(splits.kept, dtype=np.uint32)
        self._values = splits.values

    @property
    def name(self) -> str:
        """The name it is registered under."""
        return self.manifest.name

    @property
    def version(self) -> str:
        """The registered version."""
        return self.manifest.version

    def score_many(self, rows: Float32s) -> Vector:
        """Calibrated probabilities, shape (n_rows,), of float32 rows of shape (n_rows, n_features), C-contiguous."""
        found = np.empty(rows.shape[0], dtype=np.float32)
        _answer(
            rows, self._starts, self._feature, self._threshold, self._nan_left, self._kept, self._values, self._base,
            found,
        )  # fmt: skip
        return self.manifest.calibration.apply_many(found.astype(np.float64))

    def answers_as(self, model: OnnxModel) -> bool:
        """Whether both give the same numbers, bit for bit, on rows that lie on thresholds, beside them, and nowhere."""
        rng = np.random.default_rng(0)
        shape = (COMPARED_ROWS, len(self.manifest.feature_names))
        on = rng.choice(self._threshold, shape) if len(self._threshold) else np.zeros(shape, dtype=np.float32)
        with np.errstate(over="ignore"):
            above, below = (np.nextafter(on, np.float32(to)) for to in (np.inf, -np.inf))
        kinds = [on, above, below, np.full(shape, np.nan), np.full(shape, np.inf), np.full(shape, -np.inf)]
        rows = np.choose(rng.choice(len(kinds), shape, p=(0.3, 0.2, 0.2, 0.2, 0.05, 0.05)), kinds).astype(np.float32)
        return bool(np.array_equal(self.score_many(rows), model.score_many(rows.astype(np.float64))))


def quick_trees(read: ShapModel, model: OnnxModel) -> QuickTrees:
    """The trees of this model, which answer as it does. Raises `NotQuick`."""
    quick = QuickTrees(read)
    if not quick.answers_as(model):
        raise NotQuick(f"the trees of model {model.name!r} {model.version!r} do not answer as onnxruntime does")
    return quick


class _Splits:
    """The splits of all trees, tree by tree, each with the bits of the leaves that it keeps on its way right."""

    def __init__(self, trees: Trees) -> None:
        self._trees = trees
        self.starts = [0]
        self.feature: list[int] = []
        self.threshold: list[float] = []
        self.nan_left: list[bool] = []
        self.kept: list[int] = []
        self.values = np.zeros((len(trees.roots), LEAVES_LIMIT), dtype=np.float32)
        for tree, root in enumerate(trees.roots.tolist()):
            self._walk(tree, root, 0)
            self.starts.append(len(self.feature))

    def _walk(self, tree: int, node: int, first: int) -> int:
        """Take in what is below a node, whose leftmost leaf has the place `first`; the place after its last leaf."""
        trees = self._trees
        if trees.feature[node] == LEAF:
            if first >= LEAVES_LIMIT:
                raise NotQuick(f"tree {tree} has more than {LEAVES_LIMIT} leaves")
            self.values[tree, ((DE_BRUIJN << first) & ALL_LEAVES) >> PLACE_SHIFT] = trees.value[node]
            return first + 1
        middle = self._walk(tree, int(trees.left[node]), first)
        self.feature.append(int(trees.feature[node]))
        self.threshold.append(float(trees.value[node]))
        self.nan_left.append(bool(trees.nan_left[node]))
        self.kept.append(ALL_LEAVES & ~((1 << middle) - (1 << first)))
        return self._walk(tree, int(trees.right[node]), middle)


def _answer_py(
    rows: Float32s,
    starts: NDArray[np.int64],
    feature: NDArray[np.int64],
    threshold: Float32s,
    nan_left: NDArray[np.bool_],
    kept: NDArray[np.uint32],
    values: Float32s,
    base: float,
    out: Float32s,
) -> None:
    """Write the probability of each row: the logistic function of `base` and the row's leaves, all in float32."""
    # Rounded up, so that no rows are left over to be compared one by one.
    n = (rows.shape[0] + TOGETHER - 1) // TOGETHER * TOGETHER
    columns = np.zeros((rows.shape[1], n), dtype=np.float32)
    for i in range(rows.shape[0]):
        for f in range(rows.shape[1]):
            columns[f, i] = rows[i, f]
    every = np.uint32(ALL_LEAVES)
    leaves = np.empty(n, dtype=np.uint32)
    sums = np.zeros(n, dtype=np.float32)
    for tree in range(values.shape[0]):
        leaves[:] = every
        for split in range(starts[tree], starts[tree + 1]):
            f, bar, keep = feature[split], threshold[split], kept[split]
            # What goes right: NaN is neither above nor at most anything.
            if nan_left[split]:
                for i in range(n):
                    leaves[i] &= keep if columns[f, i] > bar else every
            else:
                for i in range(n):
                    leaves[i] &= every if columns[f, i] <= bar else keep
        for i in range(n):
            lowest = leaves[i] & (~leaves[i] + np.uint32(1))
            sums[i] += values[tree, np.uint32(lowest * np.uint32(DE_BRUIJN)) >> np.uint32(PLACE_SHIFT)]
    for i in range(rows.shape[0]):
        sum_ = sums[i] + base
        odds = np.float32(1.0) / (np.float32(1.0) + np.float32(np.exp(-abs(sum_))))
        out[i] = np.float32(1.0) - odds if sum_ < 0.0 else odds


_answer: Callable[..., None] = njit(
    "void(float32[:,::1], int64[::1], int64[::1], float32[::1], boolean[::1], uint32[::1], float32[:,::1], float32,"
    " float32[::1])",
    cache=True,
    nogil=True,
)(_answer_py)
