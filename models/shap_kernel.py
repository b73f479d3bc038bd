"""The walks of `models.shap_trees`, compiled: margins, Shapley values, and what making groups usual changes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from models.shap_trees import BY_REFERENCE, BY_X, LEAF, UNDECIDED


def _goes_left_py(value: float, threshold: float, nan_left: bool) -> bool:
    return nan_left if value != value else value <= threshold  # noqa: PLR0124


_goes_left: Any = njit(inline="always")(_goes_left_py)


@njit(cache=True, nogil=True)
def margin(roots, feature, value, left, right, nan_left, x):  # type: ignore[no-untyped-def]  # pragma: no cover
    """As `models.shap_trees.margin`."""
    total = 0.0
    for root in roots:
        node = root
        while feature[node] != LEAF:
            node = left[node] if _goes_left(x[feature[node]], value[node], nan_left[node]) else right[node]
        total += value[node]
    return total


@njit(cache=True, nogil=True)
def values(  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    roots, feature, value, left, right, nan_left, x, reference, weights, depth
):
    """As `models.shap_trees.tree_values`, with the weight of each coalition."""
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
def changes(  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    roots, feature, value, left, right, nan_left, x, reference, group
):
    """As `models.shap_trees.tree_changes`."""
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
