"""Apply the declarations to a Feast registry, and compile the plan that the fast path reads by."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
from feast import FeatureStore
from feast.infra.online_stores.helpers import _mmh3, _redis_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp

from features.feature_set import EntityRef, FeatureSet
from features.fraud import FEATURE_SETS
from features.store_plan import StorePlan, ViewFields, timestamp_value, unwrap_state, wrap_state

REPOSITORY = Path(__file__).parent
PLAN_FILE = "plan.json"


class LayoutMismatch(RuntimeError):
    """The installed Feast lays out Redis otherwise than the fast path: pin the version that the lock names."""


def environment(home: Path, redis_url: str) -> dict[str, str]:
    """What `feature_store.yaml` and the definitions read from the environment."""
    parts = urlsplit(redis_url)
    connection = f"{parts.hostname}:{parts.port or 6379},db={parts.path.strip('/') or 0}"
    if parts.password:
        connection += f",password={unquote(parts.password)}"
    if parts.username:
        connection += f",username={unquote(parts.username)}"
    if parts.scheme == "rediss":
        connection += ",ssl=true"
    return {
        "HEADRACE_FEAST_REGISTRY": str((home / "registry.db").resolve()),
        "HEADRACE_FEAST_REDIS": connection,
        "HEADRACE_FEAST_STATES": str((home / "states").resolve()),
        "FEAST_USAGE": "False",
    }


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


def _feast_key(project: str, entity: str, value: str) -> bytes:
    key: bytes = _redis_key(project, EntityKey(join_keys=[entity], entity_values=[Value(string_val=value)]))
    return key


def _empty_states(path: Path, entity: str, state: str) -> None:
    if not path.exists():
        schema = pa.schema(
            [(entity, pa.string()), (state, pa.binary()), ("event_timestamp", pa.timestamp("us", tz="UTC"))]
        )
        pq.write_table(schema.empty_table(), path)
