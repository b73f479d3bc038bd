"""What alerts look at: named series of numbers over time, and what each is in Prometheus's words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple, Protocol

_METRIC = re.compile(r"\b(rate|now)\(([^()]*)\)")


class Series(Protocol):
    """The numbers of the live pages. Times are seconds since 1970; a step without a value has no point."""

    def latest(self, name: str) -> tuple[float, float] | None:
        """The newest point: when, and what. None before the first, and for a name that is none."""
        ...

    def since(self, name: str, at_s: float) -> Sequence[tuple[float, float]]:
        """The points from then on, the oldest first; older ones may lie further apart."""
        ...


class Meaning(NamedTuple):
    """What a series is, in words and in PromQL, where `rate(…)` and `now(…)` stand around each metric.

    `proof` is a metric that whoever says the series says from its start: without it there is no word. What is counted
    by its labels is not there before it happens, and nothing to happen is no silence.
    """

    words: str
    unit: str
    form: str
    proof: str = ""

    def expression(self, window: str = "", before: str = "") -> str:
        """PromQL for the value now, or for its mean over `window`, as it was `before` ago.

        >>> Meaning("", "", "max(now(lag))").expression(), Meaning("", "", "max(now(lag))").expression("5m", "1d")
        ('max(lag)', 'max(avg_over_time(lag[5m] offset 1d))')
        """
        offset = f" offset {before}" if before else ""

        def written(found: re.Match[str]) -> str:
            kind, metric = found.groups()
            if kind == "rate":
                return f"rate({metric}[{window or RATE_WINDOW}]{offset})"
            return f"avg_over_time({metric}[{window}]{offset})" if window else f"{metric}{offset}"

        return _METRIC.sub(written, self.form)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The selectors in it."""
        return tuple(found[2] for found in _METRIC.finditer(self.form))


RATE_WINDOW = "1m"
"""Over how long Prometheus takes the rate that the live pages take from scrape to scrape."""

_FLAGS = 'headrace_outcomes_total{outcome=~"review|decline"}'
MEANINGS = {
    "events_per_s": Meaning("events", "a second", "sum(rate(headrace_outcomes_total))"),
    "scores_per_s": Meaning("scores", "a second", "sum(rate(headrace_score_seconds_count))"),
    "slow_per_s": Meaning(
        "scores that take longer than 3 ms",
        "a second",
        'sum(rate(headrace_score_seconds_count)) - sum(rate(headrace_score_seconds_bucket{le="0.003"}))',
    ),
    "answers_per_s": Meaning("answers", "a second", "sum(rate(headrace_requests_total))", "headrace_breaker_state"),
    "failed_per_s": Meaning(
        "answers that are a 5xx",
        "a second",
        '(sum(rate(headrace_requests_total{status=~"5.."})) or vector(0))',
    ),
    "flag_share": Meaning("flagged share", "share", f"sum(rate({_FLAGS})) / sum(rate(headrace_outcomes_total))"),
    "degraded_share": Meaning(
        "share of decisions that lack something",
        "share",
        "max(sum by (missing) (rate(headrace_degraded_total))) / sum(rate(headrace_outcomes_total))",
    ),
    "lag_s": Meaning("the oldest unread record waits", "s", 'max(now(headrace_lag_seconds{group=~"worker|relay"}))'),
    "keeper_lag_s": Meaning(
        "the oldest record that a keeper has not read waits",
        "s",
        'max(now(headrace_lag_seconds{group!~"worker|relay"}))',
    ),
    "dead_letters_per_s": Meaning(
        "dead letters", "a second", 'sum(rate(headrace_log_appended_total{topic="dead-letters"}))'
    ),
    "drift_alarms": Meaning("alarms of drift", "", "sum(max by (use_case, measure) (now(headrace_drift_alarms)))"),
    "learner_age_s": Meaning("the learner's last sign of life", "s", "max(now(headrace_online_age_seconds))"),
}
"""The series that alerts may be about."""
