"""A canary's beginning: the gates that need no labels. What it is worth, it is there to find out."""

from __future__ import annotations

from models.registry import Registry
from scoring.use_case import UseCase
from training.bounds import BOUNDS, Bounds
from training.gates import GATES, PromotionRefused, Verdict, failed
from training.policy_cost import PolicyCost
from training.promotion import no_rows
from training.trial import hold_trial

CANARY_GATES = ("definition", "parity", "latency")
"""That it answers as what was trained, as fast as the champion, to the features that are served."""


class NoCanary(ValueError):
    """This version cannot be the canary now. It says why."""


def judge_canary(
    registry: Registry, use_case: UseCase, version: str, costs: PolicyCost, bounds: Bounds = BOUNDS
) -> list[Verdict]:
    """What the gates of a canary say of a version. Raises `ModelNotFound`."""
    name = use_case.name
    champion = registry.load(name, registry.resolve(name))
    trial = hold_trial(no_rows(use_case.features), registry.load(name, version), champion, costs, bounds)
    return [Verdict(gate.name, *gate.judge(trial, bounds)) for gate in GATES if gate.name in CANARY_GATES]


def start_canary(
    registry: Registry, use_case: UseCase, version: str, share: int, costs: PolicyCost, *, by: str, why: str
) -> list[Verdict]:
    """Let a version answer `share` percent of the entities; what its gates said. Scorers follow within a second.

    Another share of the version that is the canary already is given without asking the gates again.

    Raises `NoCanary` for the champion itself and where there is no champion, `PromotionRefused` where a gate failed,
    `AliasMoved` where somebody was faster: nothing was changed.
    """
    name = use_case.name
    aliases = registry.aliases(name)
    if aliases.get("champion") in (None, version):
        what = "is the champion already" if version == aliases.get("champion") else "has no champion beside it"
        raise NoCanary(f"version {version} of {name!r} {what}: a canary is a part of what the champion answers")
    present = aliases.get("canary")
    verdicts = [] if present == version else judge_canary(registry, use_case, version, costs)
    if failed(verdicts):
        raise PromotionRefused(name, version, verdicts)
    gates = {verdict.gate: str(verdict) for verdict in verdicts}
    registry.alias(name, "canary", version, present, by=by, why=why, gates=gates, share=share)
    return verdicts
