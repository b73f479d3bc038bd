"""Apply the declarations to a Feast registry, and compile the plan that the fast path reads by."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from feast import FeatureStore
from feast.infra.online_stores.helpers import _mmh3, _redis_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp
from numpy.typing import NDArray

from feature_repo.environment import environment
from features.declared import FEATURE_SETS
from features.feature_set import EntityRef, FeatureSet
from features.store_plan import PLAN_FILE, StorePlan, ViewFields, timestamp_value, unwrap_state, wrap_state

REPOSITORY = Path(__file__).parent


class LayoutMismatch(RuntimeError):
    """The installed Feast lays out Redis otherwise than the fast path: pin the version that the lock names."""


def open_store(home: Path, redis_url: str) -> FeatureStore:
    """Feast's own store over the same Redis and the home's registry."""
    os.environ |= environment(home, redis_url)
    return FeatureStore(repo_path=str(REPOSITORY))


def apply(home: Path, redis_url: str) -> StorePlan:
    """`feast apply` for every feature set, then the plan, written to the home."""
    from feature_repo.definitions import definitions

    home.mkdir(parents=True, exist_ok=True)
    states = home / "states"
    states.mkdir(exist_ok=True)
    store = open_store(home, redis_url)
    defined: list[Any] = []
    for feature_set in FEATURE_SETS.values():
        for view in feature_set.views:
            _empty_states(states / f"{view.state_view}.parquet", view.entity, view.state_view)
        defined += definitions(feature_set, states.resolve())
    store.apply(defined)
    plan = compile_plan(store.project, list(FEATURE_SETS.values()))
    plan.save(home / PLAN_FILE)
    return plan


def compile_plan(project: str, feature_sets: list[FeatureSet]) -> StorePlan:
    """The plan, compiled with Feast's functions and checked against them. Raises `LayoutMismatch`."""
    views = [view for feature_set in feature_sets for view in feature_set.views]
    prefixes = {}
    for entity in dict.fromkeys(view.entity for view in views):
        whole = _feast_key(project, entity, "v")
        tail = (1).to_bytes(4, "little") + b"v" + project.encode()
        if not whole.endswith(tail):
            raise LayoutMismatch(f"Feast's key for {entity!r} does not end as expected: {whole!r}")
        prefixes[entity] = whole[: -len(tail)].hex()
    plan = StorePlan(
        project=project,
        definition_hash=",".join(feature_set.definition_hash for feature_set in feature_sets),
        key_prefixes=prefixes,
        views={
            view.name: ViewFields(
                entity=view.entity,
                state=_mmh3(f"{view.state_view}:{view.state_view}").hex(),
                timestamp=f"_ts:{view.state_view}",
            )
            for view in views
        },
    )
    for entity in prefixes:
        for value in ("x", "é" * 40, "0" * 128):
            if plan.key(EntityRef(entity, value)) != _feast_key(project, entity, value):
                raise LayoutMismatch(f"Feast's key for {entity}={value!r} differs from the plan's")
    for size in (0, 1, 127, 128, 20_000):
        wrapped = Value(bytes_val=b"s" * size).SerializeToString()
        if wrap_state(b"s" * size) != wrapped or (size and unwrap_state(wrapped) != b"s" * size):
            raise LayoutMismatch(f"Feast stores {size} bytes otherwise than the fast path")
    for at_us in (0, 1, 1_000_000, 1_767_225_600_123_456):
        stamp = Timestamp(seconds=at_us // 1_000_000, nanos=at_us % 1_000_000 * 1000)
        if timestamp_value(at_us) != stamp.SerializeToString():
            raise LayoutMismatch(f"Feast stores the time {at_us} otherwise than the fast path")
    return plan


def point_in_time(
    store: FeatureStore, feature_set: FeatureSet, asked: Sequence[Mapping[str, Any]]
) -> NDArray[np.float64]:
    """The stored features as they were known at given times: shape (asked, stored features), in declared order.

    Each asked row names its entities (None where there is none: then the features of its views are null, as they are
    where it is scored) and `at_us`, where the windows end. The states are the newest at or before `at_us`, or before
    the row's own `event_timestamp` where it has one. They come from the files of `headrace features states`: with
    `--every event` the answer is exact, with `--every day` as of the last evening.

    At the very time of an event, its state contains it: the features are those with which it was scored. For what was
    known before it, ask for the microsecond before it as `at_us`.
    """
    entities = {entity: [row[entity] for row in asked] for entity in feature_set.entities}
    frame = pd.DataFrame({entity: pd.array(values, dtype="string") for entity, values in entities.items()})
    frame["at_us"] = np.array([row["at_us"] for row in asked], dtype=np.int64)
    times = [row.get("event_timestamp") or pd.Timestamp(row["at_us"], unit="us", tz="UTC") for row in asked]
    frame["event_timestamp"] = pd.to_datetime(pd.Series(times), utc=True)
    # The join keeps no order; it hands through what it does not know.
    frame["asked_row"] = np.arange(len(asked))
    job = store.get_historical_features(entity_df=frame, features=store.get_feature_service(f"{feature_set.name}_v1"))
    found = job.to_df().sort_values("asked_row")
    parts = []
    for view in feature_set.views:
        values = found[list(view.names)].to_numpy(dtype=np.float64)
        values[[value is None for value in entities[view.entity]]] = np.nan
        parts.append(values)
    return np.hstack(parts)


def _feast_key(project: str, entity: str, value: str) -> bytes:
    key: bytes = _redis_key(project, EntityKey(join_keys=[entity], entity_values=[Value(string_val=value)]))
    return key


def _empty_states(path: Path, entity: str, state: str) -> None:
    if not path.exists():
        schema = pa.schema(
            [(entity, pa.string()), (state, pa.binary()), ("event_timestamp", pa.timestamp("us", tz="UTC"))]
        )
        pq.write_table(schema.empty_table(), path)
