"""Exact Shapley values of a tree ensemble against a reference, and what making features usual changes, compiled.

For one leaf, what counts is where the paths of `x` and of the reference part: `x` must decide in some features (A) and
the reference in others (B). The leaf's value is won by a coalition that holds all of A and none of B, so each feature
of A gets `value * (|A|-1)! |B|! / (|A|+|B|)!` and each of B loses `value * |A|! (|B|-1)! / (|A|+|B|)!`. One walk over
the leaves that either can reach gives the exact values, whatever the number of features.

Source: H. Chen, S. Lundberg, S. Lee, "Explaining a series of models by propagating Shapley values", 2022, on the
interventional values of S. Lundberg et al., "From local explanations to global understanding", 2020.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
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
    return float(_margin(*trees[:6], x))


def tree_values(trees: Trees, x: Vector, reference: Vector) -> Vector:
    """What each feature adds to the margin of `x`, shape (n_features,).

    They sum to `margin(x) - margin(reference)`. Both rows are already rounded to float32.
    """
    return np.asarray(_values(*trees[:6], x, reference, _weights(trees.depth), trees.depth))


def tree_changes(trees: Trees, x: Vector, reference: Vector, group: NDArray[np.int64]) -> Vector:
    """What the margin of `x` changes by when all features of a group take their reference, shape (n_groups,).

    `group` has each feature's group, 0 to n_groups - 1, shape (n_features,); with `arange`, each feature alone. Only
    the trees' branches that a change turns into are walked, so all groups together cost a few ordinary margins.
    """
    return np.asarray(_changes(*trees[:6], x, reference, group))


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


def _goes_left_py(value: float, threshold: float, nan_left: bool) -> bool:
    return nan_left if value != value else value <= threshold  # noqa: PLR0124


_goes_left: Any = njit(inline="always")(_goes_left_py)


@njit(cache=True, nogil=True)
def _margin(roots, feature, value, left, right, nan_left, x):  # type: ignore[no-untyped-def]  # pragma: no cover
    total = 0.0
    for root in roots:
        node = root
        while feature[node] != LEAF:
            node = left[node] if _goes_left(x[feature[node]], value[node], nan_left[node]) else right[node]
        total += value[node]
    return total


@njit(cache=True, nogil=True)
def _values(  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    roots, feature, value, left, right, nan_left, x, reference, weights, depth
):
    found = np.zeros(len(x))
    decided = np.zeros(len(x), dtype=np.int8)
    # The way from the root: what still waits at each step, and which feature that step decided (LEAF: none).
    waiting = np.empty(depth + 2, dtype=np.int64)
    chosen = np.empty(depth + 2, dtype=np.int64)
    for root in roots:
        node, steps, a, b = root, 0, 0, 0
        while True:
            while feature[node] != LEAF:
                f = feature[node]
                x_next = left[node] if _goes_left(x[f], value[node], nan_left[node]) else right[node]
                r_next = left[node] if _goes_left(reference[f], value[node], nan_left[node]) else right[node]
                if decided[f] == BY_X:
                    node = x_next
                elif decided[f] == BY_REFERENCE or x_next == r_next:
                    node = r_next
                else:
                    waiting[steps], chosen[steps] = r_next, f
                    steps += 1
                    decided[f] = BY_X
                    a += 1
                    node = x_next
            leaf = value[node]
            for step in range(steps):
                if decided[chosen[step]] == BY_X:
                    found[chosen[step]] += leaf * weights[a - 1, b]
                else:
                    found[chosen[step]] -= leaf * weights[a, b - 1]
            # Back to the newest choice that has not been tried the other way.
            while steps and decided[chosen[steps - 1]] == BY_REFERENCE:
                steps -= 1
                decided[chosen[steps]] = UNDECIDED
                b -= 1
            if not steps:
                break
            decided[chosen[steps - 1]] = BY_REFERENCE
            a -= 1
            b += 1
            node = waiting[steps - 1]
    return found


@njit(cache=True, nogil=True)
def _changes(  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    roots, feature, value, left, right, nan_left, x, reference, group
):
    found = np.zeros(group.max() + 1)
    asked_in = np.full(len(found), -1, dtype=np.int64)
    turned = np.empty(len(found), dtype=np.int64)
    asked = np.empty(len(found), dtype=np.int64)
    for number in range(len(roots)):
        # 1. The way of x, and where each group would leave it first.
        # 2. From there, the way of x with that group usual.
        node, count = roots[number], 0
        while feature[node] != LEAF:
            f = feature[node]
            next_node = left[node] if _goes_left(x[f], value[node], nan_left[node]) else right[node]
            g = group[f]
            if asked_in[g] != number:
                other = left[node] if _goes_left(reference[f], value[node], nan_left[node]) else right[node]
                if other != next_node:
                    asked_in[g] = number
                    turned[count], asked[count] = other, g
                    count += 1
            node = next_node
        leaf = value[node]
        for i in range(count):
            node, g = turned[i], asked[i]
            while feature[node] != LEAF:
                f = feature[node]
                at = reference[f] if group[f] == g else x[f]
                node = left[node] if _goes_left(at, value[node], nan_left[node]) else right[node]
            found[g] += value[node] - leaf
    return found
