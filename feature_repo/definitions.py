"""Feast's view of the declarations: for each entity, each state and each view's features, generated.

A view's history is one `Bytes` feature of the feature view `<view>_state`; the on-demand view `<view>` computes the
named features from it at the time `at_us` (microseconds since 1970), with the function that the scorer calls too.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from feast import Entity, FeatureService, FeatureView, Field, FileSource, RequestSource
from feast.data_format import ParquetFormat
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.types import Bytes, Float64, Int64
from feast.value_type import ValueType

from features.declared import FEATURE_SETS
from features.feature_set import FeatureSet
from features.view import View

AT = RequestSource(name="at", schema=[Field(name="at_us", dtype=Int64)])


def entity(name: str) -> Entity:
    """The Feast entity for a record's field, such as `card_id`."""
    return Entity(name=name.removesuffix("_id"), join_keys=[name], value_type=ValueType.STRING)


def state_view(view: View, states: Path) -> FeatureView:
    """The feature view that keeps a view's history; its batch source is what `headrace features states` writes."""
    source = FileSource(
        name=f"{view.state_view}_batch",
        path=str(states / f"{view.state_view}.parquet"),
        file_format=ParquetFormat(),
        timestamp_field="event_timestamp",
    )
    return FeatureView(
        name=view.state_view,
        entities=[entity(view.entity)],
        # How far back point-in-time joins look; Redis keeps keys by their own expiry.
        ttl=timedelta(microseconds=view.horizon_us),
        schema=[Field(name=view.state_view, dtype=Bytes)],
        source=source,
        online=True,
        description=f"the history behind {view.name!r}: {view.description}",
        tags={"layout": f"{view.layout:08x}"},
    )


def named_view(feature_set: FeatureSet, view: View, states: FeatureView) -> OnDemandFeatureView:
    """The on-demand view that reads a view's named features from its history."""
    udf, text = _udf(feature_set.name, view)
    return OnDemandFeatureView(
        name=view.name,
        sources=[states, AT],
        # No descriptions: Feast compares these fields with the ones it infers, which have none.
        schema=[Field(name=feature.name, dtype=Float64) for feature in view.features],
        mode="python",
        udf=udf,
        udf_string=text,
        description=view.description,
    )


def _udf(set_name: str, view: View) -> tuple[Callable[[dict[str, Any]], dict[str, list[Any]]], str]:
    # Feast stores the function by value: it must find everything it calls inside its own body.
    text = (
        f"def {view.name}(inputs):\n"
        "    from features.feast_views import named_features\n"
        f"    return named_features({set_name!r}, {view.name!r}, inputs[{view.state_view!r}], inputs['at_us'])\n"
    )
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(text, namespace)
    return namespace[view.name], text


def definitions(feature_set: FeatureSet, states: Path) -> list[Any]:
    """Everything that `feast apply` needs for one feature set."""
    entities = [entity(name) for name in feature_set.entities]
    stored = [state_view(view, states) for view in feature_set.views]
    named = [named_view(feature_set, view, state) for view, state in zip(feature_set.views, stored, strict=True)]
    service = FeatureService(
        name=f"{feature_set.name}_v1",
        features=[*named],
        description=f"the stored features of {feature_set.name!r}, definition {feature_set.definition_hash}",
    )
    return [*entities, *stored, *named, service]


def _module_level() -> None:
    """Feast's command line collects what stands at module level."""
    states = Path(os.environ.get("HEADRACE_FEAST_STATES", "states"))
    for feature_set in FEATURE_SETS.values():
        for defined in definitions(feature_set, states):
            # With the kind: an entity and an on-demand view may share a name, and what is missing here, Feast deletes.
            globals()[f"{feature_set.name}_{defined.name}_{type(defined).__name__}"] = defined


_module_level()
