"""What is seen of the decisions of one process: counted on their way in plain numbers, told when somebody asks.

The thread that scores is the only one that counts; another may read (`counts`) at any time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

from scoring.metric_table import BATCH_BUCKETS, EVERY, LATENCY_BUCKETS_S, SCORE_BUCKETS, STAGE_BUCKETS_S
from scoring.tally import OTHER, Counts, Labels, Tally, count_bounded
from stream.records import Decision, Transaction

if TYPE_CHECKING:
    from scoring.traces import Traces

REMARK_INTERVAL_S = 10.0
"""Slow and degraded answers have one line of the log in this time, which says how many there were."""

_log = logging.getLogger(__name__)


class Observed:
    """Counts decisions. `traces`, where it is set, may follow some of them.

    Parameters
    ----------
    clock
        Seconds that never go back.

    Attributes
    ----------
    traceparent
        What the request that is answered now says of its trace (W3C). Whoever sets it clears it.
    """

    def __init__(self, use_case: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.use_case = use_case
        self.traces: Traces | None = None
        self.traceparent: bytes | None = None
        self._clock = clock
        self._latency = Tally(LATENCY_BUCKETS_S)
        self._stages = {
            stage: Tally(STAGE_BUCKETS_S) for stage in ("read", "features", "models", "rules", "reasons", "record")
        }
        self._members = {member: Tally(SCORE_BUCKETS) for member in ("all", "batch", "feedback", "online")}
        self._batches = Tally(BATCH_BUCKETS)
        self._outcomes: dict[str, int] = {"approve": 0, "review": 0, "decline": 0}
        self._amounts: dict[Labels, float] = {}
        self._degraded: dict[Labels, int] = {}
        self._versions: dict[Labels, int] = {}
        self._rules: dict[Labels, int] = {}
        self._tags: dict[Labels, int] = {}
        self._values = self._nulls = self._approximate = 0
        self._remark_at_s = -REMARK_INTERVAL_S
        self._unremarked = 0

    def score(self, decision: Decision, took_s: float, deadline_s: float = 0.05, is_new: bool = True) -> None:
        """Count one decision that was answered. Some microseconds: it is part of every answer.

        An answer that was found again, not `is_new`, has the stages and the amount of then: they are not counted twice.
        """
        self._latency.add(took_s)
        self._outcomes[decision.outcome] += 1
        if is_new:
            stages = self._stages
            for stage, stage_us in decision.latency_us.items():
                tally = stages.get(stage)
                if tally is not None:
                    tally.add(stage_us * 1e-6)
            # The last stage, making it durable, ends after the decision is written: it is what is left.
            stages["record"].add(max(took_s - sum(decision.latency_us.values()) * 1e-6, 0.0))
            record = decision.record
            if isinstance(record, Transaction):
                count_bounded(self._amounts, (decision.outcome, record.currency), record.amount)
        members, versions = self._members, self._versions
        members["all"].add(decision.score)
        for member, said in decision.scores.items():
            tally = members.get(member)
            if tally is None:
                tally = members[member] = Tally(SCORE_BUCKETS)
            tally.add(said.score)
            labels = (member, said.version)
            seen = versions.get(labels)
            if seen is not None:
                versions[labels] = seen + 1
            else:
                count_bounded(versions, (member, base_version(member, said.version)))
        vector = decision.vector
        self._values += len(vector)
        self._nulls += vector.count(None)
        self._approximate += len(decision.approximate)
        if decision.rules or decision.shadow_rules or decision.snoozed_rules or decision.tags:
            self._fired(decision)
        if decision.degraded:
            for missing in decision.degraded:
                count_bounded(self._degraded, (missing,))
            self._remark(decision, took_s)
        elif took_s > deadline_s:
            self._remark(decision, took_s)
        if self.traces is not None:
            self.traces.follow(decision, took_s, self.traceparent, is_new)

    def batch(self, records: int) -> None:
        """Count one batch of so many records."""
        self._batches.add(records)

    def keep_only(self, versions: Collection[Labels], rules: Collection[str]) -> None:
        """Forget the series of models and rules that are there no longer: else each swap would leave some behind."""
        for labels in [found for found in list(self._versions) if found not in versions]:
            self._versions.pop(labels, None)
        for labels in [found for found in list(self._rules) if found[0] not in rules and found[0] not in OTHER]:
            self._rules.pop(labels, None)

    def counts(self) -> Counts:
        """All counted so far, by metric."""
        use_case: Labels = (self.use_case,)
        counters: dict[str, Mapping[Labels, float]] = {
            "headrace_outcomes_total": {(self.use_case, name): count for name, count in self._outcomes.copy().items()},
            "headrace_amount_total": {use_case + labels: n for labels, n in self._amounts.copy().items()},
            "headrace_degraded_total": self._degraded.copy(),
            "headrace_member_scores_total": {use_case + labels: n for labels, n in self._versions.copy().items()},
            "headrace_rules_fired_total": self._rules.copy(),
            "headrace_tags_total": self._tags.copy(),
            "headrace_feature_values_total": {use_case: self._values},
            "headrace_feature_values_null_total": {use_case: self._nulls},
            "headrace_feature_values_approximate_total": {use_case: self._approximate},
        }
        tallies: dict[str, dict[Labels, Tally]] = {
            "headrace_score_seconds": {use_case: self._latency},
            "headrace_stage_seconds": {(stage,): tally for stage, tally in self._stages.items()},
            "headrace_member_score": {(self.use_case, member): tally for member, tally in self._members.copy().items()},
            "headrace_batch_size": {(): self._batches},
        }
        assert counters.keys() | tallies.keys() <= EVERY.keys()
        return Counts(
            {name: {labels: float(n) for labels, n in found.items()} for name, found in counters.items()},
            {
                name: {labels: [*map(float, tally.counts), tally.total] for labels, tally in found.items()}
                for name, found in tallies.items()
            },
        )

    def _fired(self, decision: Decision) -> None:
        for mode, names in (
            ("live", decision.rules),
            ("shadow", decision.shadow_rules),
            ("snoozed", decision.snoozed_rules),
        ):
            for name in names:
                count_bounded(self._rules, (name, mode))
        for tag in decision.tags:
            count_bounded(self._tags, (tag,))

    def _remark(self, decision: Decision, took_s: float) -> None:
        """One line for a slow or degraded answer, now and then. No id and no value of the record: logs are kept."""
        now_s = self._clock()
        if now_s - self._remark_at_s < REMARK_INTERVAL_S:
            self._unremarked += 1
            return
        more, self._unremarked, self._remark_at_s = self._unremarked, 0, now_s
        fields = {
            "use_case": decision.use_case,
            "outcome": decision.outcome,
            "took_ms": round(took_s * 1000, 2),
            "degraded": decision.degraded,
            "stages_us": decision.latency_us,
            "more": more,
        }
        what = f"lacked {', '.join(decision.degraded)}" if decision.degraded else "was slow"
        _log.warning(
            "a score %s and took %.1f ms; %d more before it", what, took_s * 1000, more, extra={"fields": fields}
        )


def base_version(member: str, version: str) -> str:
    """The version as a label: of the online model without its number of labels, which changes twice a second.

    >>> base_version("online", "1.2034"), base_version("batch", "20260131.2")
    ('1', '20260131.2')
    """
    return version.rpartition(".")[0] or version if member == "online" else version
