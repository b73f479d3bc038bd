"""Models on the same later rows: what each said, who decides, and what must not be compared."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import numpy as np
import pytest

from models.onnx import OnnxModel
from scoring.use_case import FRAUD
from tests.training.conftest import START
from tests.training.contest import MANIFEST, TRUE_WEIGHTS, artefact, frame
from training.judged_rows import ALL
from training.policy_cost import PolicyCost
from training.side_by_side import side_by_side

COSTS = PolicyCost(FRAUD.policy, FRAUD.source)
BEFORE = msgspec.structs.replace(
    MANIFEST, window_start=START, window_end=START - timedelta(days=1), label_cutoff=START - timedelta(days=1)
)


def model(version: str, *weights: float, **changes: object) -> OnnxModel:
    manifest = msgspec.structs.replace(BEFORE, version=version, **changes)
    return OnnxModel(artefact(weights, -4.0), manifest)


GOOD, BAD = model("good", *TRUE_WEIGHTS), model("bad", *[-one for one in TRUE_WEIGHTS])


def test_each_model_says_its_own_and_the_first_decides() -> None:
    rows = frame()
    found = side_by_side(rows, {"good": GOOD, "bad": BAD}, COSTS)
    assert np.array_equal(found.scores["bad"], BAD.score_many(rows.X))
    assert np.array_equal(found.scores[ALL], found.scores["good"])
    other = side_by_side(rows, {"bad": BAD, "good": GOOD}, COSTS)
    assert found.outcome.tolist() != other.outcome.tolist()
    cost = [COSTS.came(one.records.tolist(), one.outcome.tolist(), one.y).sum() for one in (found, other)]
    assert cost[0] < cost[1]
    assert found.versions == {"good": {"good": len(rows.y)}, "bad": {"bad": len(rows.y)}}


def test_a_model_that_has_learned_from_the_rows_is_not_compared() -> None:
    late = model("late", *TRUE_WEIGHTS, label_cutoff=START + timedelta(days=1))
    with pytest.raises(ValueError, match="late learned from what was known up to"):
        side_by_side(frame(), {"good": GOOD, "late": late}, COSTS)


def test_a_model_of_other_features_is_not_compared() -> None:
    with pytest.raises(ValueError, match="is of definition 000000000000"):
        side_by_side(frame(), {"other": model("other", *TRUE_WEIGHTS, definition_hash="000000000000")}, COSTS)


def test_nothing_to_compare_is_said() -> None:
    with pytest.raises(ValueError, match="give models"):
        side_by_side(frame(), {}, COSTS)
