"""Every feature set of this installation: what is kept in the online store, and what a record changes there."""

from __future__ import annotations

from typing import Any

from features.feature_set import EntityRef, FeatureSet
from features.fraud import FRAUD
from features.recommendation import ITEMS, RECOMMENDATION
from features.view import View

FEATURE_SETS: dict[str, FeatureSet] = {feature_set.name: feature_set for feature_set in (FRAUD, RECOMMENDATION, ITEMS)}


def all_views() -> list[View]:
    """The views of every feature set; the first view of a type of record is its primary one."""
    return [view for feature_set in FEATURE_SETS.values() for view in feature_set.views]


def pending(record: Any) -> dict[EntityRef, bytes]:
    """What each entity shows to readers until a worker has folded the record (`FeatureSet.pending`), of all sets.

    No entity belongs to two sets: a reader of one stops at the rows of another.
    """
    found: dict[EntityRef, bytes] = {}
    for feature_set in FEATURE_SETS.values():
        found |= feature_set.pending(record)
    return found
