"""The online learner: waits for the label of a decision, measures the logged score, then learns the logged vector."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from operator import itemgetter

import msgspec
import numpy as np

from models.contract import Vector
from models.online import OnlineLearner
from models.snapshot import InvalidWeights, OnlineWeights
from stream.log import Partition
from stream.records import Decision, Label, micros
from training.intake import Intake
from training.learner_bounds import GuardBounds
from training.learner_guard import LearnerGuard, line_version, stored_state
from training.learner_report import Bounds, Counters, Freeze, LearnerReport, MemberMetrics
from training.learner_store import LabelledScore, LearnerStore, LoggedDecision
from training.learner_unseen import Unseen
from training.metrics import DelayedMetrics

ENSEMBLE = "ensemble"

_log = logging.getLogger(__name__)


class DelayedLearner:
    """Applies decisions and labels, once each, whatever is repeated, late, early or reversed.

    All that one `apply` causes is one transaction of the store. After an exception the memory is read back from it, so
    that the two never differ; apply the same records again. Not safe under concurrent use.

    What it learns does not depend on how decisions were batched or which partition they came from. Labels are learned
    in the order in which they are given. Before each, the scaler sees the decisions whose event times are at or before
    the label's `labelled_at` and which it has not seen, by event time and then event id; one that comes in after such a
    label is seen at the next. Two things can make a difference: a label before its decision waits and is settled when
    the decision comes, out of its turn; and what the `bounds` let go is not there to be seen or learned.

    A reversal corrects the metrics, and the new verdict is learned once; the step that the first one caused is not
    taken back, since a gradient step has no inverse once others followed. `unknown` is counted and changes no verdict.

    What is learned at all, and when it stands still or goes back, is for `LearnerGuard` to say.

    Parameters
    ----------
    store
        What it goes on from.
    beginning
        The model to begin with if the store has none of the same features, definition and settings. Its definition
        says which vectors are learned.
    use_case
        Decisions of others are passed over.
    bounds, guards
        How much is kept, and when it stops itself.
    """

    def __init__(
        self,
        store: LearnerStore,
        beginning: OnlineLearner,
        *,
        use_case: str = "fraud",
        bounds: Bounds | None = None,
        guards: GuardBounds | None = None,
    ) -> None:
        self._store = store
        self._beginning = beginning.to_weights()
        self._use_case = use_case
        self._bounds = Bounds() if bounds is None else bounds
        self._guards = GuardBounds() if guards is None else guards
        self._told: set[Freeze] = set()
        self._load()

    def weights(self) -> OnlineWeights:
        """What the model knows now: an immutable value."""
        return self._guard.model.to_weights()

    @property
    def version(self) -> str:
        """Of these weights: another version, other weights."""
        return self._guard.model.version

    def look_again(self) -> bool:
        """Read the file back if somebody else wrote to it: a person's command, another learner. Whether that was so."""
        if self._store.revision() == self._revision:
            return False
        self._load()
        return True

    def offset(self, log_name: str, partition: Partition) -> int:
        """Where to go on in this partition; 0 if nothing of it was applied."""
        return self._offsets.get((log_name, partition), 0)

    def rewind(self, log_name: str, partition: Partition) -> None:
        """Go on from the oldest entry of a partition: what was applied is known by its ids and is not applied again."""
        with self._store.transaction():
            self._store.save_offsets(log_name, {partition: 0})
        self._offsets[log_name, partition] = 0

    def apply(self, intake: Intake, log_name: str) -> None:
        """Decisions first, then labels, so that a label finds its decision.

        Raises `StateMoved` when another learner uses the file, `sqlite3.OperationalError` when it cannot be written.
        """
        try:
            with self._store.transaction():
                # 1. The records' effects.  2. Bounds.  3. Weights, counters and offsets, in the same transaction: a
                # crash leaves all of it or nothing, and what comes again is skipped or not known yet.
                early = self._keep(intake.decisions)
                for label in (*early, *intake.labels):
                    self._settle(label)
                self._counters.refused += len(intake.refused)
                self._unseen.save()
                self._forget()
                self._save(intake, log_name)
        except BaseException:
            self._load()
            raise
        self._revision += 1
        self._offsets.update({(log_name, part): offset for part, offset in intake.next_offsets.items()})
        self._tell()

    def report(self) -> LearnerReport:
        """The numbers now. Sorts every labelled score, 0.4 s for four members at the bound: ask every few seconds."""
        members = {
            member: MemberMetrics(len(metrics), metrics.auc(), metrics.average_precision())
            for member, metrics in sorted(self._metrics.items())
        }
        return LearnerReport(
            name=self._guard.model.name,
            version=self._guard.model.version,
            ready=self._guard.model.ready,
            fraud_rate=self._metrics[ENSEMBLE].fraud_rate() if ENSEMBLE in self._metrics else None,
            metrics=members,
            counters=msgspec.structs.replace(self._counters),
            frozen=self._guard.frozen,
            twin=self._guard.twin(),
        )

    def _load(self) -> None:
        self._revision, weights, counters = self._store.state()
        found = self._matching(weights, stored_state(self._store.kept).line)
        self._guard = LearnerGuard(
            self._store.kept,
            OnlineLearner.from_weights(self._beginning if found is None else found),
            self._beginning.base_version,
            self._guards,
            is_new=found is None,
        )
        if found is None and weights is not None:
            for freeze in self._guard.frozen:
                _log.warning("the learner begins anew and stays frozen, as %s said: %s", freeze.by, freeze.says)
        self._counters = Counters() if counters is None else msgspec.json.decode(counters, type=Counters)
        self._offsets = self._store.offsets()
        self._unseen = Unseen(self._store)
        self._metrics: dict[str, DelayedMetrics] = {}
        for labelled in self._store.labelled():
            self._measure(labelled)
        self._tell()

    def _tell(self) -> None:
        """Once for each freeze, and once more after a restart."""
        frozen = set(self._guard.frozen)
        for freeze in sorted(frozen - self._told, key=lambda freeze: freeze.at_us):
            _log.warning("the learner stands still (%s): %s", freeze.why, freeze.says)
        if self._told and not frozen:
            _log.warning("the learner learns again")
        self._told = frozen

    def _matching(self, stored: bytes | None, line: int) -> OnlineWeights | None:
        """The stored weights, if they can be gone on with."""
        if stored is None:
            return None
        try:
            weights = OnlineWeights.from_json(stored)
        except InvalidWeights as error:
            _log.warning("the learner begins anew, since the file's weights are of another kind: %s", error)
            return None
        begun = msgspec.structs.replace(self._beginning, base_version=line_version(self._beginning.base_version, line))
        for field in ("name", "base_version", "definition_hash", "feature_names", "settings"):
            if getattr(weights, field) != getattr(begun, field):
                _log.warning("the learner begins anew, since the file's weights are of another %s", field)
                return None
        return weights

    def _keep(self, decisions: Iterable[Decision]) -> list[Label]:
        """Keep the decisions; gives the labels that have been waiting for them, in the order in which those came."""
        early: list[tuple[int, Label]] = []
        for decision in decisions:
            if decision.use_case != self._use_case:
                continue
            event_id = decision.event_id
            vector = np.array([np.nan if v is None else v for v in decision.vector], dtype=np.float64)
            scores = {name: member.score for name, member in decision.scores.items()}
            scores[ENSEMBLE] = decision.score - decision.score_added  # what the models said, not the rules
            arrival = self._counters.kept_decisions + 1
            at_us = micros(decision.event_timestamp)
            if not self._store.add_decision(event_id, arrival, at_us, decision.definition_hash, vector, scores):
                self._counters.duplicate += 1
                continue
            self._counters.kept_decisions = arrival
            self._counters.waiting += 1
            self._unseen.add(at_us)
            labels = self._store.take_early(event_id)
            self._counters.early -= len(labels)
            early += labels
        return [label for _, label in sorted(early, key=itemgetter(0))]

    def _settle(self, label: Label) -> None:
        decision = self._store.decision(label.event_id)
        if decision is None:
            self._wait(label)
            return
        if not self._store.add_applied(label):
            self._counters.duplicate += 1
            return
        if label.label == "unknown":
            self._counters.unknown += 1
            return
        at_us = micros(label.labelled_at)
        held_since_us = decision.labelled_at_us
        if decision.verdict == label.label and held_since_us is not None:
            self._counters.confirmed += 1
            self._store.set_verdict(label.event_id, label.label, max(at_us, held_since_us))
            return
        if held_since_us is not None and at_us < held_since_us:
            self._counters.outdated += 1
            return
        if held_since_us is None:
            self._counters.waiting -= 1
        else:
            self._counters.reversed += 1
        self._store.set_verdict(label.event_id, label.label, at_us)
        # The scaler sees what had happened by then, labelled or not.
        for seen in self._unseen.up_to(at_us):
            if self._is_ours(seen.definition_hash, seen.vector):
                self._guard.see(seen.event_time_us, seen.vector)
        self._learn(decision, label.label == "fraud", at_us)

    def _learn(self, decision: LoggedDecision, is_fraud: bool, at_us: int) -> None:
        # 1. Measure what was said.  2. Learn.  Reversed, the score would be judged by a model that saw the answer;
        # for the same reason neither the score nor the vector is computed again.
        labelled = LabelledScore(decision.event_id, is_fraud, decision.scores)
        if self._store.put_labelled(labelled, self._counters.kept_labelled + 1):
            self._counters.kept_labelled += 1
        self._measure(labelled)
        if not self._is_ours(decision.definition_hash, decision.vector):
            self._counters.skipped_definition += 1
            return
        became = self._guard.learn(decision.event_time_us, decision.vector, is_fraud, at_us)
        setattr(self._counters, became, getattr(self._counters, became) + 1)

    def _wait(self, label: Label) -> None:
        arrival = self._counters.kept_early + 1
        if self._store.add_early(label, arrival):
            self._counters.kept_early = arrival
            self._counters.early += 1
        else:
            self._counters.duplicate += 1

    def _measure(self, labelled: LabelledScore) -> None:
        for member, score in labelled.scores.items():
            metrics = self._metrics.setdefault(member, DelayedMetrics(self._bounds.labelled))
            metrics.update(labelled.event_id, score, labelled.is_fraud)

    def _forget(self) -> None:
        bounds, counters = self._bounds, self._counters
        newest_us = self._store.newest_event_us()
        if newest_us is not None:
            oldest_us = newest_us - bounds.max_age_us
            expired = self._store.drop_decisions(oldest_us, counters.kept_decisions - bounds.decisions)
            counters.expired += expired
            counters.waiting -= expired
        forgotten = self._store.drop_early(counters.kept_early - bounds.early)
        counters.expired += forgotten
        counters.early -= forgotten
        for event_id in self._store.drop_labelled(counters.kept_labelled - bounds.labelled):
            for metrics in self._metrics.values():
                metrics.forget(event_id)

    def _save(self, intake: Intake, log_name: str) -> None:
        self._store.save_offsets(log_name, intake.next_offsets)
        self._guard.save()
        weights = self._guard.model.to_weights().to_json()
        self._store.save_state(self._revision, weights, msgspec.json.encode(self._counters))

    def _is_ours(self, definition_hash: str, vector: Vector) -> bool:
        ours = self._beginning
        return definition_hash == ours.definition_hash and len(vector) == len(ours.feature_names)
