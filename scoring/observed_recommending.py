"""What is seen of the slates of one process: counted on their way in plain numbers, told when somebody asks."""

from __future__ import annotations

from scoring.metric_table import LATENCY_BUCKETS_S, STAGE_BUCKETS_S
from scoring.tally import Counts, Labels, Tally, count_bounded
from stream.records import Slate

STAGES = ("read", "visitor", "candidates", "features", "rank", "slate", "reasons", "log")


class ObservedSlates:
    """Counts slates, and what visitors said of them. The thread that answers counts; another may read (`counts`)."""

    def __init__(self) -> None:
        self._latency = Tally(LATENCY_BUCKETS_S)
        self._stages = {stage: Tally(STAGE_BUCKETS_S) for stage in STAGES}
        self._slates: dict[Labels, int] = {}
        self._items: dict[Labels, int] = {}
        self._degraded: dict[Labels, int] = {}
        self._feedback: dict[Labels, int] = {}

    def slate(self, slate: Slate, took_s: float) -> None:
        """Count one slate that was answered."""
        self._latency.add(took_s)
        for stage, stage_us in slate.latency_us.items():
            self._stages[stage].add(stage_us * 1e-6)
        count_bounded(self._slates, (slate.scenario, slate.versions.get("ranker", "none")))
        for one in slate.items:
            count_bounded(self._items, (one.source, "explored" if one.explored else "ranked"))
        for missing in slate.degraded:
            count_bounded(self._degraded, (missing,))

    def feedback(self, action: str) -> None:
        """Count one action that answers a slate."""
        count_bounded(self._feedback, (action,))

    def counts(self, behind: int) -> Counts:
        """All counted so far, by metric, and how many entries the state is behind (-1: nobody knows)."""
        counters = {
            "headrace_slates_total": self._slates.copy(),
            "headrace_slate_items_total": self._items.copy(),
            "headrace_slates_degraded_total": self._degraded.copy(),
            "headrace_slate_feedback_total": self._feedback.copy(),
        }
        tallies: dict[str, dict[Labels, Tally]] = {
            "headrace_recommend_seconds": {(): self._latency},
            "headrace_recommend_stage_seconds": {(stage,): tally for stage, tally in self._stages.items()},
        }
        return Counts(
            {name: {labels: float(n) for labels, n in found.items()} for name, found in counters.items()},
            {
                name: {labels: [*map(float, tally.counts), tally.total] for labels, tally in found.items()}
                for name, found in tallies.items()
            },
            {"headrace_recommender_behind_entries": {(): float(behind)}} if behind >= 0 else {},
        )
