"""What other versions would have said and decided of events that were answered: on the vectors as they were scored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from models.aliases import Alias
from models.ensemble import EnsembleWeights, combine
from models.ensemble import Opinion as Said
from models.onnx import InvalidArtifact, OnnxModel
from models.registry import ModelNotFound, Registry
from scoring.canary_split import entity_hash
from scoring.use_case import UseCase
from stream.records import Decision, micros
from training.asked import asked
from training.policy_cost import PolicyCost
from training.watch_store import Judgement, Opinion, Served

MEMBER = "batch"
SAME = 1e-9
"""How far two sums of the same numbers may lie apart."""
ASKED: tuple[Alias, ...] = ("shadow", "challenger")
"""Whose versions are asked on all traffic."""


class Scored(NamedTuple):
    """Decisions in numbers, each with what others said of it; and how often one could not be asked, by reason."""

    decisions: list[tuple[Served, list[Opinion]]]
    skipped: Counter[tuple[str, str]]


class Shadows:
    """The versions that `shadow` and `challenger` mean, loaded as they change. One thread asks.

    It answers for the policy alone: no rules that name an outcome, no budget of analysts' time, nobody let through.
    What rules added to the score counts for every version alike.
    """

    def __init__(self, use_case: UseCase, registry: Registry, costs: PolicyCost) -> None:
        self._use_case = use_case
        self._registry = registry
        self._costs = costs
        self._models: dict[str, OnnxModel] = {}
        self.problems: dict[str, str] = {}

    def versions(self) -> list[str]:
        """Those that are to be asked now."""
        meant = self._registry.aliases(self._use_case.name)
        wanted = {meant[alias] for alias in ASKED if alias in meant}
        return sorted(wanted - {meant.get("champion", "")})

    def refresh(self) -> None:
        """Look which versions are to be asked. One that cannot be loaded is tried again next time."""
        models: dict[str, OnnxModel] = {}
        problems: dict[str, str] = {}
        for version in self.versions():
            why = self._load(version, models)
            if why:
                problems[version] = why
        self._models, self.problems = models, problems

    def score(self, decisions: Sequence[Decision]) -> Scored:
        """Every decision in numbers, with the opinions of those that can be asked of it."""
        opinions: list[list[Opinion]] = [[] for _ in decisions]
        skipped: Counter[tuple[str, str]] = Counter()
        ours = self._use_case.features.definition_hash
        heard = [others_heard(decision, self._use_case.weights) for decision in decisions]
        why_not = [why_not_asked(decision, others, ours) for decision, others in zip(decisions, heard, strict=True)]
        for version in self.problems:
            skipped[version, self.problems[version]] += len(decisions)
        asked = [at for at, why in enumerate(why_not) if not why]
        for version, model in self._models.items():
            skipped.update((version, why) for why in why_not if why)
            if not asked:
                continue
            X = np.array([decisions[at].vector for at in asked], dtype=np.float64)
            answered: list[int] = []
            said: list[float] = []
            score: list[float] = []
            for at, one in zip(asked, model.score_many(X).tolist(), strict=True):
                others = heard[at]
                whole = combine({**(others or {}), MEMBER: Said(one)}, self._use_case.weights).score
                if not 0.0 <= one <= 1.0 or whole is None:
                    skipped[version, "it has no number"] += 1
                    continue
                answered.append(at)
                said.append(one)
                score.append(min(1.0, max(0.0, whole + decisions[at].score_added)))
            judged = self._judge([decisions[at] for at in answered], score)
            for at, one, judgement in zip(answered, said, judged, strict=True):
                opinions[at].append(Opinion(version, one, judgement))
        served = self._served(decisions)
        return Scored(list(zip(served, opinions, strict=True)), skipped)

    def _served(self, decisions: Sequence[Decision]) -> list[Served]:
        name = self._use_case.name
        changes = self._registry.history(name)  # read after the decisions were: it has whatever stood at their time
        found = []
        judged = self._judge(decisions, [decision.score for decision in decisions])
        for decision, judgement in zip(decisions, judged, strict=True):
            key, member = decision.record.key, decision.scores.get(MEMBER)
            found.append(
                Served(
                    decision.event_id,
                    micros(decision.event_timestamp),
                    micros(decision.scored_at),
                    entity_hash(name, key),
                    asked(changes, name, key, decision.scored_at) if member is None else member.version,
                    member is not None,
                    decision.outcome != "approve",
                    sum(decision.latency_us.values()),
                    judgement,
                )
            )
        return found

    def _judge(self, decisions: Sequence[Decision], score: list[float]) -> list[Judgement]:
        records = [decision.record for decision in decisions]
        choices = self._costs.choices(records, np.array(score, dtype=np.float64))
        outcomes = [choice.outcome for choice in choices]
        fraud, legit = (
            self._costs.came(records, outcomes, np.full(len(records), label, dtype=np.int8)).tolist()
            for label in (1, 0)
        )
        return [
            Judgement(one, choice.outcome, getattr(choice.expected, choice.outcome), if_fraud, if_legit)
            for one, choice, if_fraud, if_legit in zip(score, choices, fraud, legit, strict=True)
        ]

    def _load(self, version: str, models: dict[str, OnnxModel]) -> str:
        """Why this version cannot be asked; empty where it is among `models` now."""
        name, ours = self._use_case.name, self._use_case.features.definition_hash
        if (present := self._models.get(version)) is not None:
            models[version] = present
            return ""
        try:
            if self._registry.manifest(name, version).definition_hash != ours:
                return "it is of another definition of the features"
            models[version] = self._registry.load(name, version)
        except (ModelNotFound, InvalidArtifact, OSError, ValueError):
            return "it cannot be loaded"
        return ""


def others_heard(decision: Decision, weights: EnsembleWeights) -> dict[str, Said] | None:
    """The members other than the batch one whose scores are in the models' score of a decision.

    A decision has the score of every member that answered, also of one that was not ready or too old to be heard: who
    was, follows from the sum. None where no choice of them gives it.
    """
    batch = decision.scores.get(MEMBER)
    if batch is None:
        return None
    others = {name: Said(one.score) for name, one in decision.scores.items() if name != MEMBER}
    models_score = decision.score - decision.score_added
    for count in range(len(others), -1, -1):
        for names in combinations(others, count):
            heard = {name: others[name] for name in names}
            whole = combine({**heard, MEMBER: Said(batch.score)}, weights).score
            if whole is not None and abs(whole - models_score) <= SAME:
                return heard
    return None


def why_not_asked(decision: Decision, others: dict[str, Said] | None, definition_hash: str) -> str:
    """Why nobody is asked of a decision; empty where they are."""
    if decision.definition_hash != definition_hash:
        return "the decision is of another definition of the features"
    if MEMBER not in decision.scores:
        return "the champion had no number for it"
    if others is None:
        return "its score is of other weights of the members"
    return ""
