"""Whether a group of decisions has left the bands around another: each figure by its size and beyond chance."""

from __future__ import annotations

from statistics import NormalDist

from scoring.watch_report import Finding
from training.rates import Rate, deviations, deviations_from
from training.watch_bounds import WatchBounds
from training.watch_sample import Sample


def judge(its: Sample, others: Sample, slow: Rate, limit_us: float, bounds: WatchBounds) -> list[Finding]:
    """What each band says of a group. `slow` is its share above `limit_us` (see `latency_limit_us`)."""
    few = _too_few(its.alerts, others.alerts, bounds)
    beyond = NormalDist().inv_cdf(1.0 - bounds.chance / 2.0)
    return [
        Finding("alert rate", *(few or _alerts(its.alerts, others.alerts, beyond, bounds))),
        Finding("unanswered", *(few or _unanswered(its.unanswered, others.unanswered, beyond, bounds))),
        Finding("p99", *(few or _latency(its, others, slow, limit_us, beyond, bounds))),
        Finding("precision", *_precision(its.precise, others.precise, beyond, bounds)),
    ]


def latency_limit_us(others: Sample, bounds: WatchBounds) -> float:
    """What a p99 may be, given the other group's."""
    p99_us = others.p99_us or 0.0
    return max(bounds.latency_ratio * p99_us, p99_us + bounds.latency_floor_us)


Said = tuple[bool | None, str]


def _too_few(its: Rate, others: Rate, bounds: WatchBounds) -> Said | None:
    for which, rate in (("it has", its), ("the other has", others)):
        if rate.events < bounds.least_events or rate.clusters < bounds.least_entities:
            return None, (
                f"{which} {rate.events:,} events of {rate.clusters:,} entities; {bounds.least_events:,} of "
                f"{bounds.least_entities:,} are needed"
            )
    return None


def _alerts(its: Rate, others: Rate, beyond: float, bounds: WatchBounds) -> Said:
    share, other = its.hits / its.events, others.hits / others.events
    low, high = other / bounds.alert_ratio, other * bounds.alert_ratio
    high, low = max(high, other + bounds.alert_points), min(low, other - bounds.alert_points)
    by = deviations(its, others)
    return (
        not low <= share <= high and abs(by) > beyond,
        f"alert rate {share:.2%} of {its.events:,} events against {other:.2%} of {others.events:,}, {by:+.1f} "
        f"deviations; band {max(low, 0.0):.2%} to {high:.2%} or {beyond:.1f} deviations",
    )


def _unanswered(its: Rate, others: Rate, beyond: float, bounds: WatchBounds) -> Said:
    share, other = its.hits / its.events, others.hits / others.events
    by = deviations(its, others)
    return (
        share > other + bounds.unanswered_points and by > beyond,
        f"no number for {share:.2%} of {its.events:,} events against {other:.2%}, {by:+.1f} deviations; band up to "
        f"{other + bounds.unanswered_points:.2%} or {beyond:.1f} deviations",
    )


def _latency(its: Sample, others: Sample, slow: Rate, limit_us: float, beyond: float, bounds: WatchBounds) -> Said:
    if its.p99_us is None or others.p99_us is None or not slow.events:
        return None, "nothing was timed"
    by = deviations_from(slow, bounds.latency_share)
    return (
        its.p99_us > limit_us and by > beyond,
        f"p99 {its.p99_us / 1000:.2f} ms against {others.p99_us / 1000:.2f} ms; band up to {limit_us / 1000:.2f} ms "
        f"({slow.hits / slow.events:.2%} slower than that, {by:+.1f} deviations) or {beyond:.1f} deviations",
    )


def _precision(its: Rate, others: Rate, beyond: float, bounds: WatchBounds) -> Said:
    least = bounds.least_alerts_labelled
    if its.events < least or others.events < least:
        return None, f"{its.events} and {others.events} alerts have mature labels; {least} each are needed"
    share, other = its.hits / its.events, others.hits / others.events
    by = deviations(its, others)
    return (
        share < other * bounds.precision_ratio and by < -beyond,
        f"precision of alerts {share:.1%} of {its.events:,} with mature labels against {other:.1%} of "
        f"{others.events:,}, {by:+.1f} deviations; band from {other * bounds.precision_ratio:.1%} or {beyond:.1f} "
        "deviations",
    )
