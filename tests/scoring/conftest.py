"""Scorers over an empty Redis with small models, every connection closed in the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from features.declared import all_views
from features.online_store import RedisOnlineStore
from features.store_plan import StorePlan, ViewFields
from models.manifest import Manifest
from models.onnx import OnnxModel
from models.registry import Registry
from models.snapshot import OnlineSnapshot
from models.watch import WatchedModel
from scoring.ledger import Ledger
from scoring.live_models import LiveModels, ModelFeed
from scoring.policy_file import load_policy
from scoring.rules import load_rules
from scoring.scorer import Scorer
from scoring.use_case import FRAUD
from stream.connection import RedisConnection
from stream.records import Decision, Transaction
from tests.manifests import made_up

T0 = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
TTL_MS = 100_000
PATIENT_MS = 60_000.0
NAMES = FRAUD.features.names
AMOUNT = NAMES.index("amount")
PLAN = StorePlan(
    project="test",
    definition_hash="by hand",
    key_prefixes={entity: f"{entity}:".encode().hex() for entity in {view.entity for view in all_views()}},
    views={
        view.name: ViewFields(view.entity, f"{view.name}:state".encode().hex(), f"_ts:{view.name}")
        for view in all_views()
    },
)
MANIFEST = made_up("fraud", NAMES, FRAUD.features.definition_hash, reference={"amount": 20.0})
OpenScorer = Callable[..., Scorer]
_is_compiled: list[bool] = []


@dataclass
class Says:
    """A model that says the same of everything, or raises."""

    score: float | Exception
    name: str = "says"
    version: str = "s1"
    ready: bool = True
    manifest: Manifest = MANIFEST

    def score_one(self, x: NDArray[np.float64]) -> float:
        if isinstance(self.score, Exception):
            raise self.score
        return self.score

    def score_many(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.array([self.score_one(x) for x in X])


class PatientScorer(Scorer):
    """A scorer whose callers can wait where they say nothing else: on a busy machine an answer lacks nothing."""

    def score(self, record: Any, deadline_ms: float = PATIENT_MS) -> Decision:
        return super().score(record, deadline_ms)


def live(batch: Any = None, online: Says | None = None, age_s: float = 0.0) -> Callable[[], LiveModels]:
    """These models, the online one confirmed so long ago."""
    models = LiveModels(cast("OnnxModel", batch), cast("OnlineSnapshot", online), time.monotonic() - age_s)
    return lambda: models


def payment(event_id: str = "e1", **fields: Any) -> Transaction:
    """A small payment that nothing is wrong with."""
    usual = {"event_timestamp": T0, "card_id": "c", "merchant_id": "m", "device_id": "d", "amount": 20.0}
    return Transaction(event_id=event_id, **{**usual, **fields})


def minutes_later(minutes: float) -> datetime:
    return T0 + timedelta(minutes=minutes)


def feature(vector: list[float | None], name: str) -> float | None:
    """One feature of a decision's vector."""
    return vector[NAMES.index(name)]


@pytest.fixture
def open_scorer() -> Iterator[OpenScorer]:
    """Opens scorers, each with a connection of its own."""
    with ExitStack() as opened:

        def open_one(url: str, batch: Any = None, outbox_limit: int = 1000, pending_limit: int = 1000) -> Scorer:
            connection = opened.enter_context(RedisConnection(url))
            store = RedisOnlineStore(connection, PLAN, TTL_MS)
            ledger = Ledger(connection, store, 2, 60_000, outbox_limit, pending_limit)
            models = live(Says(0.001) if batch is None else batch)
            policy = load_policy(FRAUD.policy, FRAUD.source)
            scorer = PatientScorer(FRAUD, ledger, models, policy, load_rules(FRAUD.rules, FRAUD.features))
            if not _is_compiled:
                scorer.warm_up(payment())  # else the first answer of the process compiles, beyond its deadline
                _is_compiled.append(True)
            return scorer

        yield open_one


@pytest.fixture
def scorer(open_scorer: OpenScorer, redis_db: str) -> Scorer:
    """A scorer over an empty Redis whose model finds everything good."""
    return open_scorer(redis_db)


def amount_bytes() -> bytes:
    """The ONNX bytes of a real model that has learned one thing: amounts above 1000 are fraud."""
    # Here, not above: processes that tests start import this file too, and need not wait for these.
    from sklearn.ensemble import HistGradientBoostingClassifier

    from models.onnx_export import export, to_float32

    rng = np.random.default_rng(0)
    X = np.where(rng.random((400, len(NAMES))) < 0.5, np.nan, rng.random((400, len(NAMES))))
    X[:, AMOUNT] = rng.uniform(0, 2000, 400)
    X = to_float32(X)
    trees = HistGradientBoostingClassifier(max_iter=20).fit(X, (X[:, AMOUNT] > 1000).astype(int))
    return export(trees, X).content


@pytest.fixture(scope="session")
def amount_artifact() -> bytes:
    """Those bytes, made once."""
    return amount_bytes()


@pytest.fixture(scope="session")
def amount_model(amount_artifact: bytes) -> OnnxModel:
    """That model, ready to score."""
    return OnnxModel(amount_artifact, MANIFEST)


LIMIT_MS = 20.0
"""Of a model that a `feed` takes: of the best of several rows. Whatever holds up a later one does not end it."""


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """One without models."""
    return Registry(tmp_path)


@pytest.fixture
def feed(redis_db: str, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelFeed]:
    """What follows the registry; refreshed by whoever asks."""
    monkeypatch.setattr("scoring.member_feed.WatchedModel", lambda model, limit_ms: WatchedModel(model, PATIENT_MS))
    made = ModelFeed("fraud", FRAUD.features.definition_hash, registry, redis_db, LIMIT_MS)
    yield made
    made.stop()
