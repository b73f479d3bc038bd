"""Several members' calibrated probabilities become one score: a weighted mean with fixed, versioned weights.

Probabilities are averaged, not logits: there, one stale member that is sure of itself could veto all the others.
Weights are fixed, not learned online: labels come for selected events, and stacking on those did worst.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from operator import mul
from typing import NamedTuple

import msgspec


class Opinion(NamedTuple):
    """What one member said. `age_s` is how long ago the member was last known to be up to date."""

    score: float | None
    ready: bool = True
    age_s: float = 0.0


class MemberWeight(msgspec.Struct, frozen=True, kw_only=True):
    """How much a member counts.

    `cap` bounds its share also after others were left out (not where it is the only one left); older than
    `stale_after_s` it does not count at all.
    """

    weight: float
    cap: float = 1.0
    stale_after_s: float = math.inf


class EnsembleWeights(msgspec.Struct, frozen=True, dict=True):
    """One version of the weights, by member's name."""

    version: str
    members: dict[str, MemberWeight]

    def __post_init__(self) -> None:
        for name, member in self.members.items():
            if not (0.0 < member.weight < math.inf and 0.0 < member.cap <= 1.0):
                raise ValueError(
                    f"member {name!r} has weight {member.weight:g} and cap {member.cap:g}; "
                    "a weight is above 0 and finite, a cap above 0 and at most 1"
                )

    def shares(self, names: tuple[str, ...]) -> tuple[float, ...]:
        """How much each of these members counts when they alone are heard; the shares sum to 1."""
        known = self._known.get(names)
        if known is None:
            known = self._known[names] = _shares([self.members[name] for name in names])
        return known

    @cached_property
    def _known(self) -> dict[tuple[str, ...], tuple[float, ...]]:
        return {}  # bounded: as many as there are sets of members


class Combined(NamedTuple):
    """The ensemble's score in [0, 1], or None where no member is left; and who was left out, each with the reason."""

    score: float | None
    left_out: dict[str, str]


BATCH, FEEDBACK = "batch", "feedback"

FRAUD_WEIGHTS = EnsembleWeights(
    version="fraud-1",
    members={
        BATCH: MemberWeight(weight=0.7),
        FEEDBACK: MemberWeight(weight=0.2, stale_after_s=30 * 86_400.0),
        "online": MemberWeight(weight=0.1, cap=0.2, stale_after_s=86_400.0),
    },
)

WEIGHTS = {weights.version: weights for weights in (FRAUD_WEIGHTS,)}


def registered_name(use_case: str, member: str) -> str:
    """Under which name the registry has a member of a use case.

    >>> registered_name("fraud", BATCH), registered_name("fraud", FEEDBACK)
    ('fraud', 'fraud-feedback')
    """
    return use_case if member == BATCH else f"{use_case}-{member}"


def combine(opinions: Mapping[str, Opinion], weights: EnsembleWeights = FRAUD_WEIGHTS) -> Combined:
    """The weighted mean over the members that can be heard, their weights renormalised to 1.

    A member that is missing, not ready, stale, or said anything but a probability is left out. Members without a
    weight are not heard (a shadow may be among the opinions).

    >>> combine({"batch": Opinion(0.2), "feedback": Opinion(0.2), "online": Opinion(math.nan)})
    Combined(score=0.2, left_out={'online': 'not a probability'})
    """
    heard: list[str] = []
    said: list[float] = []
    left_out: dict[str, str] = {}
    for name, member in weights.members.items():
        opinion = opinions.get(name)
        if opinion is None or opinion.score is None:
            left_out[name] = "missing"
        elif not opinion.ready:
            left_out[name] = "not ready"
        elif opinion.age_s > member.stale_after_s:
            left_out[name] = "stale"
        elif not 0.0 <= opinion.score <= 1.0:  # NaN too
            left_out[name] = "not a probability"
        else:
            heard.append(name)
            said.append(opinion.score)
    if not heard:
        return Combined(None, left_out)
    score = sum(map(mul, weights.shares(tuple(heard)), said))
    return Combined(min(max(score, 0.0), 1.0), left_out)


def _shares(members: Sequence[MemberWeight]) -> tuple[float, ...]:
    """Shares that sum to 1: in proportion to the weights, with what a cap cuts off spread over the uncapped."""
    total = sum(member.weight for member in members)
    is_capped = [member.weight / total > member.cap for member in members]
    free = sum(member.weight for member, capped in zip(members, is_capped, strict=True) if not capped)
    if not free:  # only capped members are left: any score is better than none
        return tuple(member.weight / total for member in members)
    left = 1.0 - sum(member.cap for member, capped in zip(members, is_capped, strict=True) if capped)
    return tuple(
        member.cap if capped else left * member.weight / free for member, capped in zip(members, is_capped, strict=True)
    )
