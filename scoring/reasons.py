"""Reasons in words: what would have to be usual for the score to fall.

Each feature in turn is set to its reference (what is usual for approved traffic, or null) and the model scores all
these variants in one batch; the features whose absence lowers the score most are the reasons.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from features.feature_set import CatalogueEntry
from models.onnx import OnnxModel
from stream.records import Reason

REASON_LIMIT = 4
SPOKEN_UNITS = frozenset({"seconds", "hours", "days", "km", "km/h", "deviations"})
SMALLEST_SHARE = 0.05
"""A feature is a reason when ablating it takes away at least this share of the score."""


def explain(
    model: OnnxModel, vector: NDArray[np.float64], catalogue: Sequence[CatalogueEntry], reference: Mapping[str, float]
) -> list[Reason]:
    """The strongest reasons for a score, strongest first; empty where no single feature carries it.

    `vector` has shape (features,); `reference` gives what is usual by feature name, null where it says nothing.
    """
    usual = np.array([reference.get(entry.name, math.nan) for entry in catalogue])
    variants = np.repeat(vector[None, :], len(vector) + 1, axis=0)
    index = np.arange(len(vector))
    variants[index, index] = usual
    scores = model.score_many(variants)
    whole = float(scores[-1])
    drops = whole - scores[:-1]
    reasons = []
    for i in np.argsort(-drops).tolist()[:REASON_LIMIT]:
        if not (whole > 0 and drops[i] >= SMALLEST_SHARE * whole):  # NaN is no reason
            break
        reasons.append(_reason(catalogue[i], float(vector[i]), float(usual[i])))
    return reasons


def _reason(entry: CatalogueEntry, value: float, usual: float) -> Reason:
    known = None if math.isnan(value) else value
    expected = None if math.isnan(usual) else usual
    text = f"{entry.description} is {_number(known, entry.unit)}"
    if expected is not None:
        text += f"; usual is {_number(expected, entry.unit)}"
    return Reason(feature=entry.name, text=text, value=known, usual=expected)


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return "unknown"
    digits = f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
    return f"{digits} {unit}" if unit in SPOKEN_UNITS else digits
