"""Which form of the registered ranker is asked: its trees where they answer the same, else onnxruntime, watched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from models.onnx_export import Estimator, export, to_float32
from models.quick_trees import QuickTrees
from models.ranker import BLEND_VERSION
from models.watch import WatchedModel
from scoring.live_models import registry_of
from scoring.ranked_features import DEFINITION_HASH, NAME, NAMES
from scoring.ranker_feed import RankerFeed
from tests.manifests import made_up


@pytest.mark.parametrize(
    ("estimator", "kind"),
    [(HistGradientBoostingClassifier(max_iter=3), QuickTrees), (LogisticRegression(), WatchedModel)],
)
def test_the_quickest_form_that_answers_the_same_ranks(tmp_path: Path, estimator: Estimator, kind: type) -> None:
    rng = np.random.default_rng(0)
    X = to_float32(rng.random((300, len(NAMES))))
    estimator.fit(X, (X[:, 0] > 0.5).astype(int))  # type: ignore[attr-defined]
    registry = registry_of(tmp_path)
    feed = RankerFeed(registry, limit_ms=60_000)
    feed.refresh()
    assert feed.current.version == BLEND_VERSION
    version = registry.register(export(estimator, X).content, made_up(NAME, NAMES, DEFINITION_HASH))
    registry.alias(NAME, "champion", version, by="test", why="for the test")
    feed.refresh()
    assert (feed.problems, feed.current.version) == ({}, version)
    assert isinstance(feed.current._model, kind)
    ranked = feed.current.rank(X[:50].astype(np.float32), np.zeros(50, dtype=np.float32))
    assert ranked.scores == pytest.approx(estimator.predict_proba(X[:50])[:, 1], abs=1e-5)
