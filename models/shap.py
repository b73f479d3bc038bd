"""Exact Shapley values of a served model, read from its ONNX form: the one file that reads with the `onnx` package.

For reasons and for the review page, not for the score; reading an artifact takes some milliseconds. A model is an
optional `Imputer` and `Scaler`, which treat each feature alone, and then either trees (boosted or a forest) or a linear
classifier.

The values are taken on the scale on which the model adds up: log-odds after calibration where it ends in a logistic
function, the raw probability where it does not (a forest). They are *interventional*: what replacing a feature by its
reference changes, averaged over all orders of replacing. That keeps them exact without knowing how the features hang
together, and it is the question that the reasons ask too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.contract import Vector
from models.manifest import Manifest, log_odds
from models.shap_trees import LEAF, MAX_DEPTH, Trees, margin, tree_changes, tree_values

Unit = Literal["log-odds", "probability"]
Attributes = dict[str, Any]


class NotExplainable(ValueError):
    """The model has a form that is not understood here. A retry cannot help; it names what is in the way."""


class ShapValues(NamedTuple):
    """What each feature adds, shape (n_features,), in `unit`: the values sum to `margin - base`."""

    unit: Unit
    values: Vector
    base: float
    margin: float


class Linear(NamedTuple):
    """A linear margin: weights of shape (n_features,) and what is added to their sum."""

    weights: Vector
    intercept: float


class ShapModel:
    """One artifact, read so that its margin can be shared out among its features.

    Parameters
    ----------
    artifact
        The ONNX bytes, or the file that holds them.
    manifest
        What was stored beside it: the features' names and the calibration.

    Raises
    ------
    NotExplainable
        When the graph has a step that this module does not know.
    """

    def __init__(self, artifact: bytes | Path, manifest: Manifest) -> None:
        self.manifest = manifest
        self._subject = f"model {manifest.name!r} version {manifest.version!r}"
        content = artifact if isinstance(artifact, bytes) else artifact.read_bytes()
        n_features = len(manifest.feature_names)
        self._imputed: NDArray[np.float32] | None = None
        self._scaling: NDArray[np.float32] | None = None
        self._base = 0.0
        core: Trees | Linear | None = None
        post = ""
        for step, named in _steps(content, self._subject):
            if core is None and step == "Imputer":
                self._imputed = np.array(named["imputed_value_floats"], dtype=np.float32)
            elif core is None and step == "Scaler":
                self._scaling = np.array([named["offset"], named["scale"]], dtype=np.float32)
            elif core is None and step == "TreeEnsembleClassifier":
                core, post = self._trees(named), named["post_transform"].decode()
            elif core is None and step == "LinearClassifier":
                core, post = _linear(named, n_features), named["post_transform"].decode()
            else:
                raise NotExplainable(f"{self._subject} has a step {step!r} that cannot be shared out exactly")
        if core is None or post not in ("LOGISTIC", "NONE"):
            raise NotExplainable(f"{self._subject} ends in {post or 'nothing'!r}, not in trees or a linear classifier")
        self._core = core
        self.unit: Unit = "log-odds" if post == "LOGISTIC" else "probability"
        # What is compiled is compiled, or loaded, here and not in somebody's request.
        nothing = np.zeros(n_features)
        self.drops(nothing, nothing, np.zeros(n_features, dtype=np.int64))
        self.explain(nothing, nothing)

    @property
    def used(self) -> frozenset[int]:
        """The positions of the features that the model looks at; the others' values are 0."""
        if isinstance(self._core, Linear):
            return frozenset(np.flatnonzero(self._core.weights).tolist())
        return frozenset(self._core.feature[self._core.feature != LEAF].tolist())

    @property
    def boosted(self) -> tuple[Trees, float] | None:
        """The trees and what their sum begins with, where the model is a logistic function of them and nothing else."""
        is_alone = self._imputed is None and self._scaling is None and self.unit == "log-odds"
        return (self._core, self._base) if is_alone and isinstance(self._core, Trees) else None

    def explain(self, x: Vector, reference: Vector) -> ShapValues:
        """Share out the difference between a vector and a reference, both of shape (n_features,) with NaN for unknown.

        A feature that is the same in both, or that the model does not look at, has 0.
        """
        seen, usual = self._prepared(x), self._prepared(reference)
        if isinstance(self._core, Linear):
            weights = self._core.weights
            values, base = weights * (seen - usual), self._core.intercept + float(weights @ usual)
            whole = self._core.intercept + float(weights @ seen)
        else:
            values = tree_values(self._core, seen, usual)
            base, whole = (self._base + margin(self._core, row) for row in (usual, seen))
        if self.unit == "log-odds":
            # Platt scaling is linear in the log-odds: it scales the values and moves both ends.
            slope, intercept = self.manifest.calibration.slope, self.manifest.calibration.intercept
            values, base, whole = values * slope, base * slope + intercept, whole * slope + intercept
        return ShapValues(self.unit, values, base, whole)

    def drops(self, x: Vector, reference: Vector, *groups: NDArray[np.int64]) -> list[Vector]:
        """By how much the calibrated log-odds fall when features take their reference; a rise is below 0.

        Each of `groups` has each feature's group, 0 to n_groups - 1, shape (n_features,), and gives one answer of shape
        (n_groups,): what happens when all features of a group take their reference. The same as to score a variant of
        `x` for each, and some ten times faster.
        """
        seen, usual = self._prepared(x), self._prepared(reference)
        changes: list[Vector]
        if isinstance(self._core, Linear):
            weighted = self._core.weights * (usual - seen)
            changes = [np.bincount(group, weighted).astype(np.float64) for group in groups]
        else:
            changes = [tree_changes(self._core, seen, usual, group) for group in groups]
        slope = self.manifest.calibration.slope
        if self.unit == "log-odds":
            return [-slope * change for change in changes]
        assert isinstance(self._core, Trees)
        whole = self._base + margin(self._core, seen)
        now = log_odds(np.array([whole]))
        return [slope * (now - log_odds(whole + change)) for change in changes]

    def _prepared(self, x: Vector) -> Vector:
        """What reaches the classifier: rounded, imputed and scaled in float32, as onnxruntime does it."""
        with np.errstate(over="ignore"):
            seen = x.astype(np.float32)
        if self._imputed is not None:
            seen = np.where(np.isnan(seen), self._imputed, seen)
        if self._scaling is not None:
            seen = (seen - self._scaling[0]) * self._scaling[1]
        return seen.astype(np.float64)

    def _trees(self, named: Attributes) -> Trees:
        from models import shap_kernel  # noqa: F401  loaded with the model, not within the first request that asks

        modes = named["nodes_modes"]
        if unknown := set(modes) - {b"BRANCH_LEQ", b"LEAF"}:
            raise NotExplainable(f"{self._subject} has tree nodes of mode {unknown.pop().decode()!r}, not BRANCH_LEQ")
        if len(set(named["class_ids"])) != 1:
            raise NotExplainable(f"{self._subject} has leaves for several classes; a binary model has one margin")
        self._base = float(sum(named.get("base_values", [])))
        keys = list(zip(named["nodes_treeids"], named["nodes_nodeids"], strict=True))
        at = {key: index for index, key in enumerate(keys)}
        leaf = np.array([mode == b"LEAF" for mode in modes])
        feature = np.where(leaf, LEAF, np.array(named["nodes_featureids"], dtype=np.int64))
        value = np.where(leaf, 0.0, np.array(named["nodes_values"], dtype=np.float32).astype(np.float64))
        for tree, node, weight in zip(
            named["class_treeids"], named["class_nodeids"], named["class_weights"], strict=True
        ):
            value[at[tree, node]] += weight
        left, right = (_children(named[f"nodes_{side}nodeids"], keys, at, leaf) for side in ("true", "false"))
        nan_left = np.array(named.get("nodes_missing_value_tracks_true", [0] * len(keys)), dtype=np.bool_)
        children = {*left[~leaf].tolist(), *right[~leaf].tolist()}
        roots = np.array([index for index in range(len(keys)) if index not in children], dtype=np.int64)
        depth = _depth(roots, left, right, leaf)
        if depth > MAX_DEPTH:
            raise NotExplainable(f"{self._subject} has a tree of depth {depth}; at most {MAX_DEPTH} can be explained")
        return Trees(roots, feature, value, left, right, nan_left, depth)


def _steps(content: bytes, subject: str) -> Iterator[tuple[str, Attributes]]:
    """The steps of a graph in order: what each does, and its attributes by name."""
    import onnx  # half a second, which those who only score need not wait for

    try:
        nodes = onnx.load_from_string(content).graph.node
    except Exception as error:  # protobuf's own, which has no public root
        raise NotExplainable(f"{subject} is not an ONNX file that loads: {error}") from error
    for node in nodes:
        yield node.op_type, {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}


def _children(
    ids: list[int], keys: list[tuple[int, int]], at: dict[tuple[int, int], int], leaf: NDArray[np.bool_]
) -> NDArray[np.int64]:
    pairs = zip(keys, ids, leaf.tolist(), strict=True)
    return np.array([0 if is_leaf else at[tree, child] for (tree, _), child, is_leaf in pairs], dtype=np.int64)


def _depth(roots: NDArray[np.int64], left: NDArray[np.int64], right: NDArray[np.int64], leaf: NDArray[np.bool_]) -> int:
    depth, level = 0, roots
    while len(level := level[~leaf[level]]):
        depth, level = depth + 1, np.concatenate([left[level], right[level]])
    return depth


def _linear(named: Attributes, n_features: int) -> Linear:
    # Both classes' scores are there, mirrored; the last row is class 1.
    weights = np.array(named["coefficients"]).reshape(-1, n_features)
    return Linear(weights[-1], float(named["intercepts"][-1]))
