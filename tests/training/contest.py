"""Small frames whose truth is known, and models of it that are good, worse or broken in one way."""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from models.manifest import Manifest
from models.onnx_export import export, to_float32
from models.registry import Registry
from scoring.use_case import FRAUD
from stream.records import Transaction, from_micros, micros
from tests.training.conftest import START
from training.bounds import Bounds
from training.frame import TrainingFrame
from training.metrics import DAY_US
from training.policy_cost import PolicyCost
from training.replay import objects

NAMES = ("amount_log", "count", "risk")
DAYS, A_DAY, CARDS = 8, 500, 900
TRUE_WEIGHTS = (0.0, 1.2, 1.6)
BOUNDS = Bounds(draws=200, cards_a_day=20)
MANIFEST = Manifest(
    name="fraud",
    created_at=START,
    family="logistic_regression",
    feature_names=NAMES,
    definition_hash="h",
    window_start=START - timedelta(days=30),
    window_end=START - timedelta(days=7),
    label_cutoff=START - timedelta(seconds=1),
    max_onnx_difference=1e-7,
)


@cache
def frame(days: int = DAYS, seed: int = 0) -> TrainingFrame:
    """Frauds at about 7%, more at busy cards and risky merchants, from `START` on; the amount says nothing."""
    rng = np.random.default_rng(seed)
    rows = days * A_DAY
    X = to_float32(rng.normal(size=(rows, len(NAMES))))
    probability = 1.0 / (1.0 + np.exp(4.0 - X @ np.array(TRUE_WEIGHTS)))
    times = micros(START) + np.sort(rng.integers(0, days * DAY_US, size=rows))
    cards = rng.integers(0, CARDS, size=rows)
    records = [
        Transaction(
            event_id=f"e{row}",
            event_timestamp=from_micros(int(times[row])),
            card_id=f"c{cards[row]}",
            merchant_id="m",
            amount=float(np.round(60.0 * np.exp(X[row, 0]), 2)),
            device_id="d" if row % 2 else None,
        )
        for row in range(rows)
    ]
    return TrainingFrame(
        X=X,
        y=(rng.random(rows) < probability).astype(np.int8),
        event_time_us=times,
        card=objects([record.card_id for record in records]),
        feature_names=NAMES,
        definition_hash="h",
        records=objects(records),
    )


@cache
def artefact(weights: tuple[float, ...], intercept: float = -4.0) -> bytes:
    """A logistic model with these weights, as ONNX."""
    model = LogisticRegression().fit([[0.0] * len(weights), [1.0] * len(weights)], [0, 1])
    model.coef_, model.intercept_ = np.array([weights]), np.array([intercept])
    return export(model, np.zeros((1, len(weights)))).content


GOOD = artefact(TRUE_WEIGHTS)
"""The truth itself."""
HALF = artefact((0.0, 1.2, 0.0), -3.1)
"""Knows one of the two reasons, and its probabilities are as right as that allows."""


def home_of(path: Path, **versions: bytes) -> Registry:
    """A registry with these artefacts, by their versions."""
    registry = Registry(path)
    for version, content in versions.items():
        add(registry, content, version=version)
    return registry


def add(registry: Registry, content: bytes, **changes: object) -> str:
    """Register an artefact under the manifest with some changes."""
    import msgspec

    return registry.register(content, msgspec.structs.replace(MANIFEST, **changes))


@cache
def costs() -> PolicyCost:
    """By the policy that is shipped."""
    return PolicyCost(FRAUD.policy, FRAUD.source)
