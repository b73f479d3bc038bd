"""Every series of the dashboard and of the alerts in one table: its name, what it is in and how it is computed."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from review.series_counts import Window
from review.series_formulas import RATE_WINDOW_S, Above, Formula, Gauge, Mean, Percentile, Rate, Share, Total, matching

Unit = Literal["/s", "/min", "ms", "s", "share", "number"]
BUDGET_S = 0.003
"""99 of 100 scores take no longer: the budget. It is a bound of the histogram, so shares above it are exact."""
PARTS_LIMIT = 12
"""Series that one row of the table may become, by the values of its label."""

SCORES, OUTCOMES = "headrace_score_seconds", "headrace_outcomes_total"
SHOWN = "headrace_recommender_shown"
AMOUNTS = "headrace_amount_total"
VERSIONS = "headrace_member_scores_total"
CLICKS_WINDOW_S = 600.0
FOLDERS = ("worker", "relay")
"""Readers whose lag makes features old."""
KEEPERS = ("archiver", "audit", "learner", "review", "sequencer", "watcher")


class Row(NamedTuple):
    """A series, or where its formula has a label several that are called `name.value`."""

    name: str
    unit: Unit
    says: str
    formula: Formula


TABLE = (
    Row("events_per_s", "/s", "Decisions", Rate(OUTCOMES, is_there=True)),
    Row("outcome_per_s", "/s", "Decisions by outcome", Rate(OUTCOMES, by="outcome")),
    Row("slates_per_s", "/s", "Recommendations", Rate("headrace_slates_total")),
    Row(
        "failed_per_s",
        "/s",
        "Answers that failed",
        Rate("headrace_requests_total", {"status": ("500", "502", "503", "504")}, is_there=True),
    ),
    Row("answers_per_s", "/s", "Answers", Rate("headrace_requests_total", is_there=True)),
    Row("scores_per_s", "/s", "Scores", Rate(f"{SCORES}_count")),
    Row("slow_per_s", "/s", "Scores that took more than the budget", Above(SCORES, BUDGET_S, per_s=True)),
    Row("latency_p50_ms", "ms", "Half of the scores take no longer", Percentile(SCORES, 0.5)),
    Row("latency_p95_ms", "ms", "95 of 100 scores take no longer", Percentile(SCORES, 0.95)),
    Row("latency_p99_ms", "ms", "99 of 100 scores take no longer", Percentile(SCORES, 0.99)),
    Row("slow_share", "share", "Scores that took more than the budget", Above(SCORES, BUDGET_S)),
    Row("late_share", "share", "Scores that took more than 50 ms", Above(SCORES, 0.05)),
    Row("stage_ms", "ms", "Mean time of a stage of a score", Mean("headrace_stage_seconds", by="stage")),
    Row(
        "degraded_share",
        "share",
        "Decisions that lacked something",
        Share("headrace_degraded_total", OUTCOMES, by="missing", most=True),
    ),
    Row(
        "lacked_share",
        "share",
        "Decisions by what they lacked",
        Share("headrace_degraded_total", OUTCOMES, by="missing"),
    ),
    Row(
        "flag_share",
        "share",
        "Decisions that went to review or were declined",
        Share(OUTCOMES, OUTCOMES, {"outcome": ("review", "decline")}),
    ),
    Row("decline_share", "share", "Decisions that were declined", Share(OUTCOMES, OUTCOMES, {"outcome": "decline"})),
    Row(
        "stopped_per_min",
        "/min",
        "Money that was declined, by currency",
        Rate(AMOUNTS, {"outcome": "decline"}, by="currency", scale=60.0, window_s=60.0),
    ),
    Row(
        "held_per_min",
        "/min",
        "Money that waits for review, by currency",
        Rate(AMOUNTS, {"outcome": "review"}, by="currency", scale=60.0, window_s=60.0),
    ),
    Row("stopped_total", "number", "Money that was declined", Total(AMOUNTS, {"outcome": "decline"}, by="currency")),
    Row("held_total", "number", "Money that went to review", Total(AMOUNTS, {"outcome": "review"}, by="currency")),
    Row("events_total", "number", "Decisions so far", Total(OUTCOMES)),
    Row(
        "reader_lag_s",
        "s",
        "How long the oldest unread record waits, by reader",
        Gauge("headrace_lag_seconds", by="group"),
    ),
    Row(
        "lag_s",
        "s",
        "How long the oldest record waits that no worker has folded, or no relay moved",
        Gauge("headrace_lag_seconds", {"group": FOLDERS}),
    ),
    Row(
        "keeper_lag_s",
        "s",
        "How long the oldest record waits that a learner or a keeper has not read",
        Gauge("headrace_lag_seconds", {"group": KEEPERS}),
    ),
    Row("outbox_share", "share", "The fullest partition of the outbox", Gauge("headrace_outbox_fullest_ratio")),
    Row(
        "dead_letters",
        "number",
        "Records that could not be used, kept",
        Gauge("headrace_outbox_records", {"topic": "dead-letters"}),
    ),
    Row(
        "dead_letters_per_s",
        "/s",
        "Records that could not be used",
        Rate("headrace_outbox_records", {"topic": "dead-letters"}),
    ),
    Row("learner_age_s", "s", "Since the learner's last sign of life", Gauge("headrace_online_age_seconds")),
    Row("learner_frozen", "number", "The learner stands still", Gauge("headrace_learner_frozen")),
    Row(
        "log_loss",
        "number",
        "Log loss of the learner and of its twin",
        Gauge("headrace_learner_log_loss", by="weights"),
    ),
    Row(
        "auc",
        "number",
        "AUC of the newest evaluation, by model",
        Gauge("headrace_evaluation_figure", {"figure": "auc", "end": "value"}, by="member"),
    ),
    Row("evaluation_age_s", "s", "Since the newest evaluation", Gauge("headrace_evaluation_age_seconds")),
    Row("drift_age_s", "s", "Since the newest look for drift", Gauge("headrace_drift_age_seconds")),
    Row("drift_alarms", "number", "What has drifted", Gauge("headrace_drift_alarms", join=sum)),
    Row(
        "drift_psi",
        "number",
        "The largest drift of a feature or score",
        Gauge("headrace_drift_value", {"measure": "psi"}),
    ),
    Row("skew_defects", "number", "Served values that are wrong", Gauge("headrace_skew_values_defect", join=sum)),
    Row("shown_per_s", "/s", "Recommended items", Rate(SHOWN, {"by": "place", "what": "shown"}, window_s=60.0)),
    Row(
        "click_share",
        "share",
        "Recommended items that were acted on",
        Share(
            SHOWN,
            SHOWN,
            {"by": "place", "what": "acted"},
            {"by": "place", "what": "shown"},
            window_s=CLICKS_WINDOW_S,
        ),
    ),
    Row(
        "source_shown_total",
        "number",
        "Recommended items, by what proposed them",
        Total(SHOWN, {"by": "source", "what": "shown"}, by="name"),
    ),
    Row(
        "source_acted_total",
        "number",
        "Recommended items that were acted on, by what proposed them",
        Total(SHOWN, {"by": "source", "what": "acted"}, by="name"),
    ),
    Row(
        "recommender_behind",
        "number",
        "Entries that recommending has not taken in",
        Gauge("headrace_recommender_behind_entries"),
    ),
    Row("breaker", "number", "Redis as requests see it: 0 answers", Gauge("headrace_breaker_state")),
    Row("spooled", "number", "Answers that are not recorded yet", Gauge("headrace_spool_waiting", join=sum)),
)
BY_NAME = {row.name: row for row in TABLE}

STANDING = (
    "headrace_model",
    VERSIONS,
    "headrace_evaluation_figure",
    "headrace_drift_value",
    "headrace_canary_share",
)
"""What the dashboard's tables show as it is, beside what the series need."""
WANTED = frozenset({*STANDING} | {name for row in TABLE for name in row.formula.reads})
KEEP_S = max(row.formula.window_s for row in TABLE)


def values_of(window: Window) -> dict[str, float]:
    """All series as they are now; one that nobody can say is missing."""
    found: dict[str, float] = {}
    for row in TABLE:
        parts = row.formula.values(window)
        for part, value in sorted(parts.items())[:PARTS_LIMIT]:
            if math.isfinite(value):
                found[f"{row.name}.{part}" if part else row.name] = value
    return found


def versions_of(window: Window) -> dict[tuple[str, str], float]:
    """Scores a second by model and version. Not series, for versions come and go and a ring is for ever."""
    grown = window.over(RATE_WINDOW_S)
    rates: dict[tuple[str, str], float] = {}
    for labels, value in matching(grown.of(VERSIONS), {}) if grown else ():
        key = (labels.get("member", ""), labels.get("version", ""))
        rates[key] = rates.get(key, 0.0) + (value / grown.took_s if grown else 0.0)
    return rates


def row_of(name: str) -> Row | None:
    """The row that a series comes from; None for a name that no row can make.

    >>> row_of("outcome_per_s.review").unit, row_of("nonsense")
    ('/s', None)
    """
    return BY_NAME.get(name.partition(".")[0])
