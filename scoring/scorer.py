"""The scorer: from a record to a decision, in two round trips to Redis.

1. One round trip reads whether the event was answered before, and every entity whole.
2. The features, the models, the rules and the policy, all in this process.
3. One round trip makes the decision durable, or finds that another request answered first and answers the same.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Protocol

import msgspec

from features.feature_set import EntityRef, FeatureSet, ViewRead
from features.history import CorruptState, History
from features.online_store import StoredEntity
from models.contract import Model
from models.ensemble import Opinion, combine
from scoring.ledger import ANSWERED, Ledger, is_of
from scoring.live_models import LiveModels
from scoring.policy import Policy
from scoring.reasons import Explainer, with_rules
from scoring.rules import Fired
from scoring.use_case import UseCase
from stream.connection import RedisError, RedisUnavailable
from stream.log import LogFull
from stream.records import Decision, Event, Label, MemberScore, Reason, Transaction, decode

DEFAULT_DEADLINE_MS = 50.0
NOTHING_FIRED = Fired()
SPOOL_LIMIT = 10_000
WARM_UP_ROUNDS = 20
SPOOL_BATCH = 20
Waiting = tuple[Any, dict[EntityRef, bytes], Decision]
PRIOR_SCORE = 0.01
"""What is answered when no model can be heard: the base rate, flagged as degraded."""


class Rules(Protocol):
    """What answers which rules fire: a `RuleSet`, or the `RuleFeed` that swaps them."""

    def fired(self, record: Any, vector: list[float]) -> Fired:
        """What the rules say of a record and its vector (null as NaN)."""


class EventConflict(ValueError):
    """The event id was answered before, for another record. A retry of the same bytes cannot help."""


@dataclass
class Stages:
    """Microseconds by stage, as a decision reports them."""

    started: float
    marks: dict[str, int]

    @classmethod
    def start(cls) -> Stages:
        """The clock now."""
        return cls(time.perf_counter(), {})

    def mark(self, stage: str) -> None:
        """What has passed since the last mark belongs to this stage."""
        now = time.perf_counter()
        self.marks[stage] = round((now - self.started) * 1e6)
        self.started = now


class Scorer:
    """The one way in for HTTP, replay and tests. One scorer serves one thread."""

    def __init__(
        self,
        use_case: UseCase,
        ledger: Ledger,
        models: Callable[[], LiveModels],
        policy: Policy,
        rules: Rules,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.use_case = use_case
        self.ledger = ledger
        self.store = ledger.store
        self.models = models
        self.policy = policy
        self.rules = rules
        self.clock = clock
        self.spool: dict[str, Waiting] = {}
        self._explainer = Explainer(use_case.features)

    def score(self, record: Any, deadline_ms: float = DEFAULT_DEADLINE_MS) -> Decision:
        """The decision on a record, the same one for every retry of the same event.

        Within the deadline it answers with what there is; `degraded` says what was missing. An answer given while
        Redis is away or late is `not recorded yet`: it is kept in memory (the newest `SPOOL_LIMIT`) and recorded when
        Redis is back, or lost with this process; a sender who must be sure sends the event again later, and gets the
        same decision without that remark once it is recorded. Where an entity has too many pending records to take
        this one too, the answer carries the remark `pending full`: it is recorded, but later answers see it only when
        a worker has folded it.

        Raises
        ------
        EventConflict
            When the event id was answered before for another record.
        LogFull
            When the outbox is full: nothing was recorded, send it again later.
        """
        stages = Stages.start()
        deadline = stages.started + deadline_ms / 1000
        features = self.use_case.features
        refs = features.refs(record)
        if record.event_id in self.spool:
            return self._again(record, max(1.0, deadline_ms / 2))
        degraded: list[str] = []
        stored: list[StoredEntity] | None = None
        try:
            replies = self.ledger.connection.call(
                [self.ledger.read_command(record.event_id), *self.store.read_commands(refs)],
                max(1.0, deadline_ms / 2),
            )
            if isinstance(replies[0], RedisError):
                raise replies[0]
            if replies[0] is not None:
                return self._earlier(record, replies[0])
            stored = [self.store.parse(ref, reply) for ref, reply in zip(refs, replies[1:], strict=True)]
        except (RedisUnavailable, RedisError):
            degraded.append("online store")
        stages.mark("read")
        rows = features.rows(record)
        vector = features.vector(record, {} if stored is None else view_reads(features, refs, stored, record), rows)
        values = vector.values
        stages.mark("features")
        models = self.models()
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
        stages.mark("rules")
        reasons: list[Reason] = []
        if outcome != "approve":
            # What a rule alone stopped, the models find nothing wrong with.
            if choice.cheapest != "approve" and "batch" in scores and time.perf_counter() < deadline:
                reasons = self._explain(models, values, record, degraded)
            reasons = with_rules(reasons, outcome, fired.rules, score)
            stages.mark("reasons")
        decision = Decision(
            event_id=record.event_id,
            event_timestamp=record.event_timestamp,
            scored_at=self.clock(),
            use_case=self.use_case.name,
            outcome=outcome,
            score=score,
            scores=scores,
            vector=[None if math.isnan(value) else value for value in values.tolist()],
            definition_hash=features.definition_hash,
            policy_version=self.policy.version,
            record=record,
            propensity=choice.propensity,
            segment=choice.segment,
            expected_cost=choice.expected_cost,
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
        return self._record(decision, features.pending(record, rows), deadline)

    def warm_up(self, record: Any) -> None:
        """Do everything that a score does apart from Redis, so that the first request does not pay for first times."""
        for _ in range(WARM_UP_ROUNDS):
            reads = {view.name: ViewRead(History(view), []) for view in self.use_case.features.views}
            vector = self.use_case.features.vector(record, reads)
            models = self.models()
            self._ask(models, vector.values, [])
            self._fire(record, vector.values, [])
            self._explain(models, vector.values, record, [])

    def accept(self, record: Event | Label, timeout_ms: float | None = None) -> bool:
        """Record what needs no score: durable and seen by readers when this returns. False for a repeat.

        Raises `EventConflict` when the id came before with another record, `LogFull` when the outbox is full and
        `RedisUnavailable` when nothing could be recorded.
        """
        if isinstance(record, Label):
            record = self.enrich(record, timeout_ms)
        pending = self.use_case.features.pending(record)
        earlier = self.ledger.commit(record, pending, timeout_ms=timeout_ms)
        if isinstance(earlier, bytes) and not is_of(record, earlier):
            raise EventConflict(_answered_otherwise(record.event_id))
        return isinstance(earlier, int)

    def enrich(self, label: Label, timeout_ms: float | None = None) -> Label:
        """The label with the ids, the amount and the time of its event, where the decision is still known."""
        if None not in (label.event_timestamp, label.card_id, label.merchant_id, label.device_id, label.amount):
            return label
        content = self.ledger.answer(label.event_id, timeout_ms)
        if content is None:
            return label
        record: Transaction = decode(content, Decision).record
        return Label(
            event_id=label.event_id,
            label=label.label,
            labelled_at=label.labelled_at,
            source=label.source,
            event_timestamp=label.event_timestamp or record.event_timestamp,
            card_id=label.card_id or record.card_id,
            merchant_id=label.merchant_id or record.merchant_id,
            device_id=label.device_id or record.device_id,
            amount=record.amount if label.amount is None else label.amount,
        )

    def decision(self, event_id: str, timeout_ms: float | None = None) -> Decision | None:
        """The stored decision of an event, or None."""
        content = self.ledger.answer(event_id, timeout_ms)
        return None if content is None else decode(content, Decision)

    def _earlier(self, record: Any, content: bytes) -> Decision:
        if content.startswith(ANSWERED):
            raise EventConflict(f"event id {record.event_id!r} was sent before, not to be scored; use another id")
        earlier: Decision = decode(content, Decision)
        if earlier.record != record:
            raise EventConflict(_answered_otherwise(record.event_id))
        return earlier

    def _ask(
        self, models: LiveModels, values: Any, degraded: list[str]
    ) -> tuple[dict[str, Opinion], dict[str, MemberScore]]:
        opinions: dict[str, Opinion] = {}
        scores: dict[str, MemberScore] = {}
        members: list[tuple[str, Model | None, bool, float]] = [("batch", models.batch, True, 0.0)]
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

    def _record(self, decision: Decision, pending: dict[EntityRef, bytes], deadline: float) -> Decision:
        if "online store" in decision.degraded:
            return self._put_off(decision, pending)
        left_ms = max(1.0, (deadline - time.perf_counter()) * 1000)
        try:
            reply = self.ledger.commit(decision.record, pending, decision, left_ms)
        except (RedisUnavailable, RedisError):
            return self._put_off(decision, pending)
        if self.spool:
            self.record_spooled(max(1.0, (deadline - time.perf_counter()) * 1000))
        return _recorded(decision, reply) if isinstance(reply, int) else self._earlier(decision.record, reply)

    def _put_off(self, decision: Decision, pending: dict[EntityRef, bytes]) -> Decision:
        while len(self.spool) >= SPOOL_LIMIT:
            del self.spool[next(iter(self.spool))]
        self.spool[decision.event_id] = (decision.record, pending, decision)
        return _remarked(decision, "not recorded yet")

    def _again(self, record: Any, timeout_ms: float) -> Decision:
        # A retry of what still waits: the same decision, and a chance to record it.
        _, _, decision = waiting = self.spool[record.event_id]
        if decision.record != record:
            raise EventConflict(_answered_otherwise(record.event_id))
        try:
            reply = self.ledger.committed(record, self._commits([waiting], timeout_ms)[0])
        except (RedisUnavailable, RedisError, LogFull):
            return _remarked(decision, "not recorded yet")
        self.spool.pop(record.event_id)
        return _recorded(decision, reply) if isinstance(reply, int) else self._earlier(record, reply)

    def _commits(self, waiting: list[Waiting], timeout_ms: float) -> list[Any]:
        return self.ledger.connection.call([self.ledger.command(*one) for one in waiting], timeout_ms)

    def record_spooled(self, timeout_ms: float) -> int:
        """Record what was answered while Redis was away, some of it; how many answers still wait.

        A commit that was late, not lost, is found and left as it is: recording twice is recording once.
        """
        batch = dict(islice(self.spool.items(), SPOOL_BATCH))
        try:
            replies = self._commits(list(batch.values()), timeout_ms)
        except (RedisUnavailable, RedisError):
            return len(self.spool)
        for event_id, reply in zip(batch, replies, strict=True):
            waiting = self.spool.pop(event_id)
            if isinstance(reply, RedisError):
                self.spool[event_id] = waiting  # at the end: one that cannot be recorded must not hold up the others
        return len(self.spool)

    def close(self, timeout_ms: float = 1000) -> None:
        """Record what still waits, as far as the time allows, and close the connection."""
        end = time.monotonic() + timeout_ms / 1000
        left = len(self.spool)
        while left and (left_ms := (end - time.monotonic()) * 1000) > 0:
            before, left = left, self.record_spooled(left_ms)
            if left == before:
                break
        self.ledger.connection.close()


def _answered_otherwise(event_id: str) -> str:
    return f"event id {event_id!r} was answered before for another record; use an id for one event only"


def _recorded(decision: Decision, full: int) -> Decision:
    return _remarked(decision, "pending full") if full else decision


def _remarked(decision: Decision, remark: str) -> Decision:
    # Of this answer, not of the decision: what is stored does not have it.
    return msgspec.structs.replace(decision, degraded=[*decision.degraded, remark])


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
