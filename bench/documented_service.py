"""The peer of `headrace bench scoring`: the service that the documentation of Feast and BentoML leads to.

A synchronous `@bentoml.api` that asks Feast for the features and scikit-learn for the probability, on the same online
store, the same states and as many features as ours reads from it. It records nothing, keeps no answer for a retry and
knows no rules: less work than ours.
"""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import bentoml
import msgspec
import numpy as np

from bench.scoring_peers import HOME, MODEL_FILE, REDIS
from feature_repo.repository import open_store
from features.fraud import FRAUD
from stream.records import Transaction, decode, micros


@bentoml.service
class Documented:
    """Scores one transaction."""

    def __init__(self) -> None:
        home = Path(os.environ[HOME])
        self.store = open_store(home, os.environ[REDIS])
        self.features = self.store.get_feature_service(f"{FRAUD.name}_v1")
        self.names = [name for view in FRAUD.views for name in view.names]
        self.model = pickle.loads((home / MODEL_FILE).read_bytes())

    @bentoml.api  # type: ignore[untyped-decorator]
    def score(self, transaction: dict[str, Any]) -> dict[str, float]:
        """The probability of fraud."""
        record: Transaction = decode(msgspec.json.encode(transaction), Transaction)
        # Feast takes no null for an entity; an unknown one gives nulls.
        row = {entity: getattr(record, entity) or "none" for entity in FRAUD.entities}
        row["at_us"] = micros(record.event_timestamp)
        found = self.store.get_online_features(features=self.features, entity_rows=[row]).to_dict()
        vector = np.array([[found[name][0] for name in self.names]], dtype=np.float64)
        return {"score": float(self.model.predict_proba(vector)[0, 1])}
