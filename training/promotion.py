"""Promotion: the gates, then the alias, with what the gates said in its log."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from features.feature_set import FeatureSet
from models.registry import Registry
from training.bounds import BOUNDS, Bounds
from training.frame import TrainingFrame
from training.gates import PromotionRefused, Verdict, failed, judge
from training.policy_cost import PolicyCost
from training.replay import objects
from training.trial import Trial, hold_trial


class Judged(NamedTuple):
    """A version before its promotion: the champion that it was measured against (None: none), and what was found."""

    name: str
    version: str
    champion: str | None
    trial: Trial
    verdicts: list[Verdict]


def judge_version(
    registry: Registry, name: str, version: str, frame: TrainingFrame, costs: PolicyCost, bounds: Bounds = BOUNDS
) -> Judged:
    """Hold a trial of a version against the champion, and let every gate judge it. Changes nothing.

    Raises `ModelNotFound`, and `ValueError` where the version is the champion.
    """
    champion = registry.aliases(name).get("champion")
    if champion == version:
        raise ValueError(f"version {version} of {name!r} is the champion already; there is nothing to promote")
    present = None if champion is None else registry.load(name, champion)
    trial = hold_trial(frame, registry.load(name, version), present, costs, bounds)
    return Judged(name, version, champion, trial, judge(trial, bounds))


def promote(registry: Registry, judged: Judged, *, by: str, why: str, force: bool = False) -> None:
    """Make a judged version the champion, in place of the one that it was judged against.

    Raises `PromotionRefused` where a gate failed, and `AliasMoved` where the champion changed since: everything is as
    it was. With `force` a promotion passes failed gates, and the alias log names them; it must say why.
    """
    refused = failed(judged.verdicts)
    if refused and not force:
        raise PromotionRefused(judged.name, judged.version, judged.verdicts)
    if force and not why.strip():
        raise ValueError(f"version {judged.version} is to be promoted past its gates without a reason; say why")
    registry.alias(
        judged.name,
        "champion",
        judged.version,
        judged.champion,
        by=by,
        why=why,
        gates={verdict.gate: str(verdict) for verdict in judged.verdicts},
        forced=[verdict.gate for verdict in refused],
    )


def no_rows(features: FeatureSet) -> TrainingFrame:
    """A frame of nothing: what needs no rows can be judged all the same, and the gate of the window fails."""
    return TrainingFrame(
        X=np.empty((0, len(features.names))),
        y=np.empty(0, dtype=np.int8),
        event_time_us=np.empty(0, dtype=np.int64),
        card=objects([]),
        feature_names=features.names,
        definition_hash=features.definition_hash,
        records=objects([]),
    )
