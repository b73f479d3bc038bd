"""A service that is not there: what its /metrics would say as time goes by."""

from __future__ import annotations

import math
from collections import defaultdict
from random import Random

from review.scrape import Labels, Readings, ScrapeFailed

BOUNDS_S = (0.0002, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25)
STAGES_S = {
    "read": 0.00031,
    "features": 0.00024,
    "models": 0.00042,
    "rules": 0.00008,
    "reasons": 0.00005,
    "record": 0.0003,
}


def labels(**named: str) -> Labels:
    return tuple(sorted(named.items()))


class MadeUpService:
    """Counters that grow as time passes, and gauges. `restart` sets them to 0, `is_down` makes a look fail."""

    def __init__(self, at_s: float, per_s: float = 120.0, seed: int = 7) -> None:
        self.at_s = at_s
        self.per_s = per_s
        self.is_down = False
        self.gauges: Readings = {}
        self._counts: defaultdict[str, defaultdict[Labels, float]] = defaultdict(lambda: defaultdict(float))
        self._random = Random(seed)

    def pass_s(self, seconds: float) -> None:
        """Let time go by and events come."""
        self.at_s += seconds
        wave = 1.0 + 0.25 * math.sin(self.at_s / 400.0)
        for _ in range(round(self.per_s * wave * seconds)):
            self.score()

    def score(
        self, took_s: float | None = None, outcome: str = "", amount: float = 80.0, currency: str = "EUR"
    ) -> None:
        """One decision."""
        draw = self._random
        took_s = draw.lognormvariate(-6.75, 0.32) if took_s is None else took_s
        outcome = outcome or draw.choices(("approve", "review", "decline"), (0.972, 0.02, 0.008))[0]
        counts = self._counts
        counts["headrace_outcomes_total"][labels(use_case="fraud", outcome=outcome)] += 1
        counts["headrace_amount_total"][labels(use_case="fraud", outcome=outcome, currency=currency)] += amount
        for bound in BOUNDS_S:
            counts["headrace_score_seconds_bucket"][labels(use_case="fraud", le=str(bound))] += took_s <= bound
        counts["headrace_score_seconds_bucket"][labels(use_case="fraud", le="+Inf")] += 1
        counts["headrace_score_seconds_count"][labels(use_case="fraud")] += 1
        counts["headrace_score_seconds_sum"][labels(use_case="fraud")] += took_s
        for stage, mean_s in STAGES_S.items():
            counts["headrace_stage_seconds_sum"][labels(stage=stage)] += mean_s * draw.uniform(0.8, 1.2)
            counts["headrace_stage_seconds_count"][labels(stage=stage)] += 1
        for member, version in (("batch", "20260301.2"), ("online", "1"), ("feedback", "4")):
            counts["headrace_member_scores_total"][labels(use_case="fraud", member=member, version=version)] += 1

    def add(self, name: str, value: float, /, **named: str) -> None:
        """Let a counter grow."""
        self._counts[name][labels(**named)] += value

    def set(self, name: str, value: float, /, **named: str) -> None:
        """Set a gauge."""
        self.gauges.setdefault(name, {})[labels(**named)] = value

    def restart(self) -> None:
        """Begin anew, as a process does."""
        self._counts.clear()

    def text(self) -> str:
        """What /metrics says."""
        lines = ["# HELP other_metric something else", "other_metric 1"]
        for name, series in ({**self._counts, **self.gauges}).items():
            for pairs, value in series.items():
                inner = ",".join(f'{label}="{text}"' for label, text in pairs)
                lines.append(f"{name}{{{inner}}} {value!r}" if inner else f"{name} {value!r}")
        return "\n".join(lines) + "\n"

    def __call__(self) -> Readings:
        """What a look finds, without its text."""
        if self.is_down:
            raise ScrapeFailed("the service does not answer")
        return {name: dict(series) for name, series in {**self._counts, **self.gauges}.items()}


def usual_gauges(service: MadeUpService, at_s: float) -> None:
    """What a service in good health says beside its counts."""
    service.set("headrace_model", 1.0, use_case="fraud", member="batch", version="20260301.2")
    service.set("headrace_model", 1.0, use_case="fraud", member="online", version="1")
    service.set("headrace_model", 1.0, use_case="fraud", member="feedback", version="4")
    wobble = math.sin(at_s / 300.0)
    for group, usual_s in (("worker", 0.05), ("relay", 0.03), ("learner", 0.4), ("review", 0.2), ("archiver", 1.1)):
        service.set("headrace_lag_seconds", max(usual_s * (1.2 + wobble), 0.0), group=group, topic="transactions")
    service.set("headrace_online_age_seconds", 0.8 + 0.4 * wobble)
    service.set("headrace_learner_log_loss", 0.0412 + 0.0006 * wobble, use_case="fraud", weights="live")
    service.set("headrace_learner_log_loss", 0.0447 + 0.0004 * wobble, use_case="fraud", weights="twin")
    service.set("headrace_drift_age_seconds", 7_900.0, use_case="fraud")
    service.set("headrace_drift_alarms", 1.0, use_case="fraud", measure="psi")
    for subject, psi in (("amount_7d_mean", 0.231), ("merchant_count_1h", 0.094), ("score", 0.041), ("hour", 0.012)):
        service.set("headrace_drift_value", psi, use_case="fraud", measure="psi", subject=subject)
    for member, value in (("batch", 0.943), ("online", 0.921), ("feedback", 0.958), ("all", 0.961)):
        for end, shift in (("value", 0.0), ("low", -0.014), ("high", 0.011)):
            service.set(
                "headrace_evaluation_figure", value + shift, use_case="fraud", figure="auc", member=member, end=end
            )
            service.set(
                "headrace_evaluation_figure",
                value - 0.31 + shift,
                use_case="fraud",
                figure="average_precision",
                member=member,
                end=end,
            )
    service.set("headrace_recommender_shown", 400_000.0 + 9.0 * (at_s % 1e6), by="place", name="ranked", what="shown")
    service.set(
        "headrace_recommender_shown",
        21_000.0 + 0.47 * (at_s % 1e6) + 40 * wobble,
        by="place",
        name="ranked",
        what="acted",
    )
    service.add("headrace_slates_total", 4.0, scenario="home", ranker="3")
    service.add("headrace_degraded_total", 0.0, missing="online model")
    service.add("headrace_requests_total", 240.0, route="/score", status="200")
