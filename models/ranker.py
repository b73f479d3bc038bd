"""The ranker: one call of one model over all candidates, and the fixed blend where there is none.

A row is the visitor's features, then the item's, then the cross features; the model says how probable it is that the
visitor acts on the item where it is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.contract import Vector
from models.cross_features import CROSS_FEATURES
from models.onnx import ModelAborted, OnnxModel
from models.quick_trees import QuickTrees

BLEND_VERSION = "blend-1"
LEAST_LOG = -700.0
"""A smaller logarithm has no exponential that is above 0."""
Float32s = NDArray[np.float32]


class Ranked(NamedTuple):
    """A finite score for each candidate, float64[n], larger is better, and the version of what gave it."""

    scores: Vector
    version: str


class UnfitRanker(ValueError):
    """The model was fitted on other features than those that are served. Train it again."""


class Ranker:
    """Scores candidates. Without a model, and where the model has no number, by the fixed blend of the sources.

    Parameters
    ----------
    model
        None until there is one. Its trees (`QuickTrees`) answer sooner than ONNX.
    visitor_names, item_names
        The features that `rank` will be given, before the cross features.

    Raises
    ------
    UnfitRanker
        When the model takes other features.
    """

    def __init__(
        self,
        model: OnnxModel | QuickTrees | None = None,
        visitor_names: Sequence[str] = (),
        item_names: Sequence[str] = (),
    ) -> None:
        self.names = (*visitor_names, *item_names, *CROSS_FEATURES)
        self._widths = (len(visitor_names), len(item_names), len(CROSS_FEATURES))
        if model is not None and model.manifest.feature_names != self.names:
            wrong = sorted(set(model.manifest.feature_names) ^ set(self.names)) or ["their order"]
            raise UnfitRanker(
                f"ranker {model.name!r} {model.version!r} takes other features than are served: {wrong[0]} and "
                f"{len(wrong) - 1} more differ; train it again"
            )
        self._model = model

    @property
    def version(self) -> str:
        """What ranks: the model's version, or `BLEND_VERSION`."""
        return BLEND_VERSION if self._model is None else self._model.version

    def rows(self, visitor: Vector | Float32s, items: NDArray[np.floating], cross: Float32s) -> Float32s:
        """What the model is asked, and what is logged: float32[n, len(names)].

        `visitor` has shape (n_visitor,), `items` (n, n_item) and `cross` (n, len(CROSS_FEATURES)). Shapes with no
        columns are fine.
        """
        n_visitor, n_item, _ = self._widths
        rows = np.empty((len(cross), len(self.names)), dtype=np.float32)
        with np.errstate(over="ignore"):  # beyond float32 is infinity, on the right side of every threshold
            rows[:, :n_visitor] = visitor
            rows[:, n_visitor : n_visitor + n_item] = items
        rows[:, n_visitor + n_item :] = cross
        return rows

    def rank(self, rows: Float32s, blend: Float32s) -> Ranked:
        """Scores of the candidates with these rows; `blend` is that of `Candidates`, for where the model cannot answer.

        What the blend answers lies in (0, 1], the odds against its best: boosts multiply it as they do probabilities.
        One candidate without a number means that all are scored by the blend: two scales do not compare.
        """
        if self._model is not None and len(rows):
            try:
                scores = self._model.score_many(rows)  # type: ignore[arg-type]
            except ModelAborted:
                scores = np.full(len(rows), np.nan)
            if np.isfinite(scores).all():
                return Ranked(scores, self._model.version)
        return Ranked(_odds(blend), BLEND_VERSION)


def _odds(blend: Float32s) -> Vector:
    logarithms = np.nan_to_num(blend.astype(np.float64), nan=LEAST_LOG, posinf=LEAST_LOG, neginf=LEAST_LOG)
    odds: Vector = np.exp(np.maximum(logarithms - logarithms.max(initial=LEAST_LOG), LEAST_LOG))
    return odds
