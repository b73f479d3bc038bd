"""What /metrics says of the learner: whether it stands still and why, and how it does beside its twin."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from models.snapshot import report_key
from scoring.metric_table import OF_LEARNER
from scoring.metric_text import counts_text
from scoring.published import ReportFeed
from scoring.tally import Counts, Labels

REASONS = ("null spike", "drift", "twin", "person")
FATES = ("learned", "frozen", "broken", "reversed", "waiting")


class Standstill(msgspec.Struct, frozen=True):
    """One reason for which the learner stands still, in short and in words."""

    why: str
    says: str


class BesideTwin(msgspec.Struct, frozen=True):
    """Mean log losses of the learner and of its twin on the same labels."""

    log_loss: float
    twin_log_loss: float


class LearnerHeadline(msgspec.Struct, frozen=True):
    """Of the learner's report, what is told here."""

    version: str
    counters: dict[str, int] = {}
    frozen: list[Standstill] = []
    twin: BesideTwin | None = None


class LearnerFeed(ReportFeed):
    """The learners' newest reports, by use case."""

    def text(self) -> str:
        """The metrics as they are now. Never raises: without a report there are none."""
        return learner_text(self.there(report_key, LearnerHeadline))


def learner_text(found: Mapping[str, LearnerHeadline]) -> str:
    """The reports in Prometheus's text format, by use case. Each reason is there, 0 where it does not hold."""
    frozen: dict[Labels, float] = {}
    labels: dict[Labels, float] = {}
    losses: dict[Labels, float] = {}
    for use_case, one in found.items():
        whys = {standstill.why for standstill in one.frozen}
        frozen |= {(use_case, why): float(why in whys) for why in REASONS}
        labels |= {(use_case, fate): float(one.counters.get(fate, 0)) for fate in FATES}
        if one.twin is not None:
            losses |= {(use_case, "live"): one.twin.log_loss, (use_case, "twin"): one.twin.twin_log_loss}
    gauges = {
        "headrace_learner_frozen": frozen,
        "headrace_learner_labels": labels,
        "headrace_learner_log_loss": losses,
    }
    return counts_text(Counts(gauges=gauges), OF_LEARNER)
