"""From a record and what is stored of its entities to a decision: all that a score does apart from Redis."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from features.feature_set import EntityRef, FeatureSet, ViewRead
from features.history import CorruptState, History
from features.online_store import StoredEntity
from models.contract import Model
from models.ensemble import Opinion, combine
from scoring.live_models import LiveModels
from scoring.policy import Policy
from scoring.reasons import Explainer, with_rules
from scoring.rules import Fired
from scoring.use_case import UseCase
from stream.records import Decision, MemberScore, Reason

NOTHING_FIRED = Fired()
WARM_UP_ROUNDS = 20
PRIOR_SCORE = 0.01
"""What is answered when no model can be heard: the base rate, flagged as degraded."""


class Rules(Protocol):
    """What answers which rules fire: a `RuleSet`, or the `RuleFeed` that swaps them."""

    def fired(self, record: Any, vector: list[float]) -> Fired:
        """What the rules say of a record and its vector (null as NaN)."""


@dataclass
class Stages:
    """Microseconds by stage, as a decision reports them."""

    started_s: float
    marks: dict[str, int] = field(default_factory=dict)

    def on(self) -> Stages:
        """From now on, after the marks so far, which stay as they are."""
        return Stages(time.perf_counter(), self.marks.copy())

    def mark(self, stage: str) -> None:
        """What has passed since the last mark belongs to this stage."""
        now = time.perf_counter()
        self.marks[stage] = round((now - self.started_s) * 1e6)
        self.started_s = now


class Decider:
    """Features, models, rules, policy and reasons of one use case, in this order. Never raises for want of any."""

    def __init__(
        self,
        use_case: UseCase,
        models: Callable[[], LiveModels],
        policy: Policy,
        rules: Rules,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.use_case = use_case
        self.models = models
        self.policy = policy
        self.rules = rules
        self.clock = clock
        self._explainer = Explainer(use_case.features)

    def decide(
        self,
        record: Any,
        refs: list[EntityRef],
        stored: list[StoredEntity] | None,
        stages: Stages,
        deadline_s: float,
    ) -> tuple[Decision, dict[EntityRef, bytes]]:
        """The decision on a record, and what each entity is to show of it until a worker has folded it.

        `stored` are the entities named by `refs` (`FeatureSet.refs`); None where the store did not answer: the decision
        is degraded. `stages` began with whatever came before; beyond `deadline_s`, by `time.perf_counter`, reasons are
        left out.
        """
        features = self.use_case.features
        degraded = ["online store"] if stored is None else []
        rows = features.rows(record)
        vector = features.vector(record, {} if stored is None else view_reads(features, refs, stored, record), rows)
        values = vector.values
        stages.mark("features")
        models = self.models()
        if models.canary is not None:
            # Once for each decision: its score, its reasons and its version are of one model.
            models = models.for_entity(self.use_case.name, record.key)
        opinions, scores = self._ask(models, values, degraded)
        combined = combine(opinions, self.use_case.weights)
        degraded += [f"{name} model" for name, why in combined.left_out.items() if why == "stale"]
        score = PRIOR_SCORE if combined.score is None else combined.score
        if combined.score is None:
            degraded.append("models")
        stages.mark("models")
        fired = self._fire(record, values, degraded)
        models_score, score = score, fired.added_to(score)
        choice = self.policy.choose(record, score, fired.deciding)
        outcome = choice.outcome
        # Before the mark: whatever holds this up, the rules were asked between then and the beginning of their stage,
        # which is all that an audit has to find out what had ended by that time.
        scored_at = self.clock()
        stages.mark("rules")
        reasons: list[Reason] = []
        if outcome != "approve":
            # What a rule alone stopped, the models find nothing wrong with.
            if choice.cheapest != "approve" and "batch" in scores:
                if time.perf_counter() < deadline_s:
                    reasons = self._explain(models, values, record, degraded)
                else:
                    degraded.append("reasons")
            reasons = with_rules(reasons, outcome, fired.rules, score)
            stages.mark("reasons")
        decision = Decision(
            event_id=record.event_id,
            event_timestamp=record.event_timestamp,
            scored_at=scored_at,
            use_case=self.use_case.name,
            outcome=outcome,
            score=score,
            scores=scores,
            vector=[None if value != value else value for value in values.tolist()],  # noqa: PLR0124
            definition_hash=features.definition_hash,
            policy_version=self.policy.version,
            record=record,
            propensity=choice.propensity,
            segment=choice.segment,
            expected_cost=choice.expected_cost,
            review_free=choice.review_free,
            draw_free=choice.draw_free,
            rules=fired.names,
            reasons=reasons,
            degraded=degraded,
            approximate=vector.approximate,
            latency_us=stages.marks,
            tags=fired.tags,
            score_added=score - models_score,
            shadow_rules=list(fired.shadow),
            snoozed_rules=list(fired.snoozed),
            rules_version=fired.version,
        )
        return decision, features.pending(record, rows)

    def warm_up(self, record: Any) -> None:
        """Do everything that a score does apart from Redis, so that the first request does not pay for first times."""
        for _ in range(WARM_UP_ROUNDS):
            reads = {view.name: ViewRead(History(view), []) for view in self.use_case.features.views}
            vector = self.use_case.features.vector(record, reads)
            models = self.models()
            self._ask(models, vector.values, [])
            self._fire(record, vector.values, [])
            self._explain(models, vector.values, record, [])

    def _ask(
        self, models: LiveModels, values: Any, degraded: list[str]
    ) -> tuple[dict[str, Opinion], dict[str, MemberScore]]:
        opinions: dict[str, Opinion] = {}
        scores: dict[str, MemberScore] = {}
        members: list[tuple[str, Model | None, bool, float]] = [("batch", models.batch, True, 0.0)]
        if models.feedback is not None:  # nothing is wrong without: nobody may have taught it yet
            members.append(("feedback", models.feedback, True, time.time() - models.feedback_at_s))
        if models.online is not None:
            age_s = time.monotonic() - models.online_at_s
            members.append(("online", models.online, models.online.ready, age_s))
        for name, model, ready, age_s in members:
            if model is None:
                degraded.append(f"{name} model")
                continue
            try:
                said = model.score_one(values)
            except Exception:  # whatever a model raises, the others answer
                said = math.nan
            if not 0.0 <= said <= 1.0:
                degraded.append(f"{name} model")
                continue
            opinions[name] = Opinion(said, ready, age_s)
            scores[name] = MemberScore(model.version, said)
        return opinions, scores

    def _fire(self, record: Any, values: Any, degraded: list[str]) -> Fired:
        try:
            fired = self.rules.fired(record, values.tolist())
        except Exception:  # whatever is wrong with the rules, the others answer
            degraded.append("rules")
            return NOTHING_FIRED
        if fired.broken:
            degraded += [f"rule {name}" for name in fired.broken]
        return fired

    def _explain(self, models: LiveModels, values: Any, record: Any, degraded: list[str]) -> list[Reason]:
        try:
            return [] if models.batch is None else self._explainer.explain(models.batch, values, record, models.read)
        except Exception:  # an answer without reasons is better than none
            degraded.append("reasons")
            return []


def view_reads(
    features: FeatureSet, refs: list[EntityRef], stored: list[StoredEntity], record: Any
) -> dict[str, ViewRead]:
    """What a vector needs of each view: the stored history and the pending rows, the record's own left out."""
    reads: dict[str, ViewRead] = {}
    for ref, entity in zip(refs, stored, strict=True):
        for view in features.views:
            if view.entity == ref.entity:
                try:
                    history = History.decode(view, entity.states.get(view.name))
                except CorruptState:
                    history = History(view)
                reads[view.name] = ViewRead(history, [])
        for identity, content in entity.pending.items():
            if identity != record.identity:
                for view, row in features.pending_rows(content):
                    reads[view.name].pending.append(row)
    return reads
