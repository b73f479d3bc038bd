"""The charts of the live dashboard in one table, and the ranges that they show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from review.series_table import BUDGET_S

RANGES_S = {"15m": 900.0, "1h": 3600.0, "1d": 86400.0, "7d": 604800.0}
RANGE_NAMES = {"15m": "15 min", "1h": "1 hour", "1d": "1 day", "7d": "7 days"}
DEADLINE_MS = 50.0
BUDGET_MS = BUDGET_S * 1000
EVERY_PART = ".*"


@dataclass(frozen=True)
class Chart:
    """One chart. `names` may end in `.*`: all series of that row. Lines of `limits` are drawn across where they fit.

    `labels` are what a series is called in the legend, else its part after the dot; `colours` are numbers of the
    palette, else the order decides.
    """

    id: str
    title: str
    says: str
    unit: str
    names: tuple[str, ...]
    empty: str
    labels: Mapping[str, str] = field(default_factory=dict)
    colours: Mapping[str, int] = field(default_factory=dict)
    limits: tuple[tuple[float, str], ...] = ()
    log: bool = False

    def content(self) -> dict[str, Any]:
        """As pages and their script read it."""
        return asdict(self)


CHARTS = (
    Chart(
        "events",
        "Events",
        "Decisions by outcome, and recommendations, in a second.",
        "/s",
        ("outcome_per_s.*", "slates_per_s"),
        "Nothing was scored in this time.",
        {"slates_per_s": "recommendations"},
        {"outcome_per_s.approve": 2, "outcome_per_s.review": 1, "outcome_per_s.decline": 4, "slates_per_s": 0},
    ),
    Chart(
        "latency",
        "Latency",
        f"From the request to the answer. Budget: 99 of 100 within {BUDGET_MS:g} ms; deadline {DEADLINE_MS:g} ms.",
        "ms",
        ("latency_p50_ms", "latency_p95_ms", "latency_p99_ms"),
        "Nothing was scored in this time.",
        {"latency_p50_ms": "p50", "latency_p95_ms": "p95", "latency_p99_ms": "p99"},
        {"latency_p50_ms": 2, "latency_p95_ms": 0, "latency_p99_ms": 3},
        ((BUDGET_MS, "budget"), (DEADLINE_MS, "deadline")),
        log=True,
    ),
    Chart(
        "flags",
        "Flag rate",
        "Share of the decisions of a minute that went to review or were declined.",
        "share",
        ("flag_share", "decline_share"),
        "Nothing was scored in this time.",
        {"flag_share": "flagged", "decline_share": "declined"},
        {"flag_share": 1, "decline_share": 4},
    ),
    Chart(
        "money",
        "Money stopped",
        "Declined, or held for review, in a minute, by currency.",
        "/min",
        ("stopped_per_min.*", "held_per_min.*"),
        "No payment was declined or held in this time.",
    ),
    Chart(
        "lag",
        "Lag of readers",
        "How long the oldest record that a reader has not read waits.",
        "s",
        ("reader_lag_s.*",),
        "No reader of the log has been seen in this time. Start 'headrace worker' and the others.",
    ),
    Chart(
        "degraded",
        "Degraded decisions",
        "Share of the decisions of a minute that lacked something, by what.",
        "share",
        ("lacked_share.*",),
        "No decision lacked anything in this time.",
    ),
    Chart(
        "quality",
        "Live quality",
        "Mean log loss of the learner on labels as they arrive, beside its twin that does not learn. Lower is better.",
        "number",
        ("log_loss.live", "log_loss.twin"),
        "The learner has not judged a label yet. Labels come from verdicts and chargebacks.",
        {"log_loss.live": "learner", "log_loss.twin": "twin"},
    ),
    Chart(
        "drift",
        "Drift",
        "The largest population stability index of a feature or score, as of the newest look.",
        "number",
        ("drift_psi",),
        "There is no report of drift. Run 'headrace drift', or let 'headrace every' run it.",
        {"drift_psi": "largest PSI"},
    ),
    Chart(
        "clicks",
        "Click-through",
        "Share of the recommended items of ten minutes that were acted on.",
        "share",
        ("click_share",),
        "Nothing was recommended in this time.",
        {"click_share": "acted on"},
    ),
    Chart(
        "stages",
        "Where the time goes",
        "Mean time of each stage of a score.",
        "ms",
        ("stage_ms.*",),
        "Nothing was scored in this time.",
    ),
    Chart(
        "freshness",
        "Signs of life",
        "Since the learner's last word. Above 60 s it is silent.",
        "s",
        ("learner_age_s",),
        "The learner has never been heard of. Start 'headrace learn'.",
        {"learner_age_s": "learner"},
        limits=((60.0, "silent"),),
    ),
    Chart(
        "failures",
        "Failures",
        "Answers of 5xx, and records that could not be used, in a second.",
        "/s",
        ("failed_per_s", "dead_letters_per_s"),
        "Nothing failed in this time.",
        {"failed_per_s": "5xx", "dead_letters_per_s": "dead letters"},
        {"failed_per_s": 4, "dead_letters_per_s": 1},
    ),
)
OF_TILES = ("events_per_s", "slow_share", "degraded_share", "lag_s")
"""What tiles draw small and no chart draws large."""
DRAWN = tuple(dict.fromkeys([*OF_TILES, *(name for chart in CHARTS for name in chart.names)]))


def matches(name: str, pattern: str) -> bool:
    """Whether a series is one of those that a chart or a request names.

    >>> matches("reader_lag_s.worker", "reader_lag_s.*"), matches("lag_s", "reader_lag_s.*"), matches("lag_s", "lag_s")
    (True, False, True)
    """
    return name.startswith(pattern[:-1]) if pattern.endswith(EVERY_PART) else name == pattern
