"""Use cases: one declaration each. `Scorer` knows nothing of their kinds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from features.feature_set import FeatureSet
from features.fraud import FRAUD as FRAUD_FEATURES
from models.ensemble import FRAUD_WEIGHTS, EnsembleWeights
from stream.records import Transaction

ROOM = Path(__file__).parent


@dataclass(frozen=True)
class UseCase:
    """What is scored, from what, by whom, and what follows."""

    name: str
    source: type[Any]
    features: FeatureSet
    weights: EnsembleWeights
    policy: Path
    rules: Path


FRAUD = UseCase(
    name="fraud",
    source=Transaction,
    features=FRAUD_FEATURES,
    weights=FRAUD_WEIGHTS,
    policy=ROOM / "policy.toml",
    rules=ROOM / "rules.toml",
)
USE_CASES = {use_case.name: use_case for use_case in (FRAUD,)}
