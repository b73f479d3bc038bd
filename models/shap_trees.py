"""Exact Shapley values of a tree ensemble against a reference, and what making features usual changes.

For one leaf, what counts is where the paths of `x` and of the reference part: `x` must decide in some features (A) and
the reference in others (B). The leaf's value is won by a coalition that holds all of A and none of B, so each feature
of A gets `value * (|A|-1)! |B|! / (|A|+|B|)!` and each of B loses `value * |A|! (|B|-1)! / (|A|+|B|)!`. One walk over
the leaves that either can reach gives the exact values, whatever the number of features.

Source: H. Chen, S. Lundberg, S. Lee, "Explaining a series of models by propagating Shapley values", 2022, on the
interventional values of S. Lundberg et al., "From local explanations to global understanding", 2020.

What is compiled is in `models/shap_kernel.py`, which a process loads (most of a second) once it reads a model.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.contract import Vector

LEAF = -1
UNDECIDED, BY_X, BY_REFERENCE = 0, 1, 2
MAX_DEPTH = 64
"""How deep a tree may be: the factorials of the weights stay exact enough far beyond any that is served."""


class Trees(NamedTuple):
    """All trees of an ensemble, node by node: children as indices into the same arrays.

    `feature` is `LEAF` at a leaf, whose `value` is what it adds to the margin; elsewhere `value` is the threshold
    (float32, kept as float64): at most that goes `left`, more goes `right`, NaN goes left where `nan_left` says so.
    """

    roots: NDArray[np.int64]
    feature: NDArray[np.int64]
    value: NDArray[np.float64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    nan_left: NDArray[np.bool_]
    depth: int


def margin(trees: Trees, x: Vector) -> float:
    """The sum of the leaves that a row of shape (n_features,), already rounded to float32, falls into."""
    from models import shap_kernel

    return float(shap_kernel.margin(*trees[:6], x))


def tree_values(trees: Trees, x: Vector, reference: Vector) -> Vector:
    """What each feature adds to the margin of `x`, shape (n_features,).

    They sum to `margin(x) - margin(reference)`. Both rows are already rounded to float32.
    """
    from models import shap_kernel

    return np.asarray(shap_kernel.values(*trees[:6], x, reference, _weights(trees.depth), trees.depth))


def tree_changes(trees: Trees, x: Vector, reference: Vector, group: NDArray[np.int64]) -> Vector:
    """What the margin of `x` changes by when all features of a group take their reference, shape (n_groups,).

    `group` has each feature's group, 0 to n_groups - 1, shape (n_features,); with `arange`, each feature alone. Only
    the trees' branches that a change turns into are walked, so all groups together cost a few ordinary margins.
    """
    from models import shap_kernel

    return np.asarray(shap_kernel.changes(*trees[:6], x, reference, group))


def _weights(depth: int) -> NDArray[np.float64]:
    """`a! b! / (a + b + 1)!` for all a, b up to the depth: the weight of a coalition."""
    table = np.ones((depth + 1, depth + 1))
    for a in range(depth + 1):
        for b in range(depth + 1):
            # As a product: a factorial of the sum would overflow long before this does.
            weight = 1.0 / (a + b + 1)
            for i in range(1, b + 1):
                weight *= i / (a + i)
            table[a, b] = weight
    return table
