"""A made-up shop to measure what recommending costs: clustered items, visitors with histories, a full-size ranker."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

from features.feature_set import EntityRef
from features.history import History
from features.online_store import RedisOnlineStore, Replacement
from features.recommendation import ITEM, USER
from features.view import View
from models.interaction import Interaction
from models.item_index import ItemFacts
from models.manifest import Manifest
from models.onnx_export import export, to_float32
from models.registry import Registry
from scoring.ranked_features import DEFINITION_HASH, NAME, NAMES
from scoring.sequenced import RecommenderState
from stream.records import Action, from_micros, micros

CLUSTER = 50
"""Items of one cluster: a visitor stays in a few."""
VISITORS = 1000
PER_VISIT = 20
SPAN_US = 20 * 86_400 * 1_000_000
TREES, LEAVES = 60, 15


class World:
    """Items, visitors and what they do, the same for the same seed. Times lie in the last twenty days."""

    def __init__(self, items: int, seed: int = 7) -> None:
        self.items = items
        self.end_us = micros(datetime.now(UTC))
        self._rng = np.random.default_rng(seed)

    def facts(self) -> Iterator[ItemFacts]:
        """The catalogue."""
        for number in range(self.items):
            category = f"category {number // CLUSTER % 40}"
            made_us = self.end_us - SPAN_US
            yield ItemFacts(
                f"item-{number}", f"Title {number}", category, (f"tag-{number % 7}",), 9.0 + number % 90, made_us
            )

    def interactions(self, count: int) -> Iterator[tuple[int, int, int]]:
        """Visitor, item and time, in the order of time; popular items are a few of each cluster."""
        clusters = max(1, self.items // CLUSTER)
        visits = -(-count // PER_VISIT)
        cluster = self._rng.integers(0, clusters, visits)
        place = (CLUSTER * self._rng.random((visits, PER_VISIT)) ** 2).astype(int)
        number = np.minimum(cluster[:, None] * CLUSTER + place, self.items - 1)
        times = np.linspace(self.end_us - SPAN_US, self.end_us - 3_600_000_000, visits * PER_VISIT).astype(np.int64)
        visitor = self._rng.integers(0, max(VISITORS, count // 50), visits)
        for visit in range(visits):
            for step in range(PER_VISIT):
                yield int(visitor[visit]), int(number[visit, step]), int(times[visit * PER_VISIT + step])


def learned(world: World, interactions: int) -> tuple[RecommenderState, float]:
    """A state that has learned so many interactions, and how many microseconds each took."""
    state = RecommenderState()
    for facts in world.facts():
        state.recommender.put_item(facts)
    began_s = time.perf_counter()
    for visitor, item, at_us in world.interactions(interactions):
        state.recommender.learn_one(Interaction(f"user-{visitor}", f"item-{item}", "click", None, at_us))
    return state, (time.perf_counter() - began_s) * 1e6 / interactions


def remember(store: RedisOnlineStore, world: World, interactions: int = 50_000) -> None:
    """Histories of visitors and items in the online store, as workers would have left them."""
    rows: dict[tuple[View, str], list[bytes]] = {}
    for number, (visitor, item, at_us) in enumerate(world.interactions(interactions)):
        action = Action(
            event_id=f"e-{number}",
            event_timestamp=from_micros(at_us),
            action="click",
            user_id=f"user-{visitor % VISITORS}",
            item_id=f"item-{item}",
        )
        for view, entity in ((USER, action.user_id), (ITEM, f"item-{item}")):
            row = view.row(action)
            assert row is not None
            rows.setdefault((view, entity), []).append(row)
    replacements = []
    for (view, entity), found in rows.items():
        history = History(view)
        history.fold_all(found)
        ref = EntityRef(view.entity, entity)
        replacements.append(Replacement(ref, {}, {view.name: history.encode()}, history.newest_us))
    for first in range(0, len(replacements), 500):
        store.replace(replacements[first : first + 500])


def register_ranker(registry: Registry) -> None:
    """A ranker of the size that is served, which has learned nothing of use."""
    rng = np.random.default_rng(0)
    X = to_float32(rng.random((4000, len(NAMES))))
    y = (X[:, :5].sum(axis=1) + rng.normal(0, 0.5, len(X)) > 2.5).astype(int)
    trees = HistGradientBoostingClassifier(max_iter=TREES, max_leaf_nodes=LEAVES).fit(X, y)
    now = datetime.now(UTC)
    manifest = Manifest(
        name=NAME,
        created_at=now,
        feature_names=NAMES,
        definition_hash=DEFINITION_HASH,
        window_start=now,
        window_end=now,
        label_cutoff=now,
    )
    version = registry.register(export(trees, X).content, manifest)
    registry.alias(NAME, "champion", version, by="bench", why="for the bench")
