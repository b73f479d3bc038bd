"""Several models on the same later rows, in the form that an evaluation takes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from models.onnx import OnnxModel
from training.frame import TrainingFrame
from training.judged_rows import ALL, JudgedRows
from training.matured import Fates
from training.policy_cost import PolicyCost
from training.replay import objects


def side_by_side(frame: TrainingFrame, models: Mapping[str, OnnxModel], costs: PolicyCost) -> JudgedRows:
    """What each model says of rows that none of them has learned from, by the names given.

    The first model decides, under the policy alone: outcomes, costs and figures by day are its. `frame` has its
    records. Raises `ValueError` where a model has learned from some of the rows, or takes other features.
    """
    if frame.records is None or not models:
        raise ValueError("there is nothing to compare: give models, and a frame with its records")
    for name, model in models.items():
        manifest = model.manifest
        if manifest.definition_hash != frame.definition_hash:
            raise ValueError(
                f"{name} is of definition {manifest.definition_hash}, the rows are {frame.definition_hash}"
            )
        cutoff = max(manifest.label_cutoff, manifest.window_end)
        if len(frame.y) and frame.event_time_us.min() < cutoff.timestamp() * 1e6:
            raise ValueError(f"{name} learned from what was known up to {cutoff:%Y-%m-%d %H:%M}; give later rows")
    scores = {name: model.score_many(frame.X) for name, model in models.items()}
    decides = next(iter(models))
    choices = costs.choices(frame.records.tolist(), scores[decides])
    rows = len(frame.y)
    newest_us = frame.label_cutoff_us or (int(frame.event_time_us.max()) if rows else 0)
    return JudgedRows(
        y=frame.y,
        event_time_us=frame.event_time_us,
        card=frame.card,
        records=frame.records,
        scores={ALL: scores[decides], **scores},
        outcome=objects([choice.outcome for choice in choices]),
        expected_cost=np.array([getattr(choice.expected, choice.outcome) for choice in choices], dtype=np.float64),
        versions={name: {model.version: rows} for name, model in models.items()},
        policies={costs.policy.version: rows},
        fates=Fates(rows, rows, 0, 0, 0, newest_us),
    )
