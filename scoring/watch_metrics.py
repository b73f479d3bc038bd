"""The newest report of the watcher as Prometheus metrics, read from Redis when somebody scrapes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from scoring.metric_text import families_text
from scoring.published import ReportFeed
from scoring.watch_report import WatchReport, watch_key
from stream.connection import RedisConnection

SIDE_FIGURES = ("alert_rate", "expected_cost", "precision", "recall", "average_precision", "cost")
GROUP_FIGURES = ("events", "alert_rate", "unanswered_rate", "p99_ms", "alerts_labelled", "precision")


class WatchFeed(ReportFeed):
    """The newest reports of the watcher, by use case."""

    def text(self) -> str:
        """The metrics as they are now, with their age in seconds. Never raises: without a report it says so."""
        return watch_text(self.newest(watch_key, WatchReport), now_s=time.time())


def publish(connection: RedisConnection, report: WatchReport) -> None:
    """Let every service show it. Raises `RedisUnavailable` or `RedisError` where Redis did not take it."""
    connection.one("SET", watch_key(report.use_case), msgspec.json.encode(report))


def watch_text(reports: Mapping[str, WatchReport | None], now_s: float | None = None) -> str:
    """Reports by use case (None: there is none) in Prometheus's text format; with `now_s`, their age too."""
    return families_text(_Reports(reports, now_s).collect())


class _Reports:
    def __init__(self, reports: Mapping[str, WatchReport | None], now_s: float | None) -> None:
        self._reports = reports
        self._now_s = now_s

    def collect(self) -> Iterator[Metric]:
        there = _gauge("watch_report", "Whether there is a report of the watcher (0: none).")
        age = _gauge("watch_age_seconds", "How long ago the newest report of the watcher was made.")
        for use_case, report in self._reports.items():
            there.add_metric([use_case], float(report is not None))
            if report is not None and self._now_s is not None:
                age.add_metric([use_case], self._now_s - report.made_at.timestamp())
        yield from (there, age)
        found = {use_case: report for use_case, report in self._reports.items() if report is not None}
        yield from _whole(found)
        yield from _compared(found)
        yield from _watched(found)


def _whole(found: Mapping[str, WatchReport]) -> Iterator[Metric]:
    text = "Versions taken back without a person, since the alias log began."
    taken_back = CounterMetricFamily("headrace_rollbacks", text, labels=["use_case", "alias"])
    share = _gauge("canary_share", "The share of the entities that the canary answers.", "version")
    skipped = _gauge("watch_skipped", "Decisions that a version could not score, by reason.", "version", "why")
    problems = _gauge("watch_problems", "Versions that cannot be asked now.")
    for use_case, report in found.items():
        for alias, count in report.rollbacks.items():
            taken_back.add_metric([use_case, alias], float(count))
        if report.canary is not None:
            share.add_metric([use_case, report.canary], report.canary_share / 100)
        for version, reasons in report.skipped.items():
            for why, count in reasons.items():
                skipped.add_metric([use_case, version, why], float(count))
        problems.add_metric([use_case], float(len(report.problems)))
    yield from (taken_back, share, skipped, problems)


def _compared(found: Mapping[str, WatchReport]) -> Iterator[Metric]:
    rows = _gauge("shadow_events", "Events on which a version was compared with the champion.", "version")
    labelled = _gauge("shadow_events_labelled", "Those of them with a mature label.", "version")
    agreement = _gauge("shadow_agreement", "The share of them to which both gave one outcome.", "version")
    psi = _gauge("shadow_psi", "How far the two distributions of scores lie apart.", "version")
    figure = _gauge(
        "shadow_figure", "A figure of a version and of the champion beside it.", "version", "side", "figure"
    )
    for use_case, report in found.items():
        for one in report.comparisons:
            labels = [use_case, one.version]
            rows.add_metric(labels, float(one.rows))
            labelled.add_metric(labels, float(one.labelled))
            agreement.add_metric(labels, one.agreement)
            psi.add_metric(labels, one.psi)
            for side, its in (("its", one.its), ("champion", one.champions)):
                for name in SIDE_FIGURES:
                    if (value := getattr(its, name)) is not None:
                        figure.add_metric([*labels, side, name], value)
    yield from (rows, labelled, agreement, psi, figure)


def _watched(found: Mapping[str, WatchReport]) -> Iterator[Metric]:
    figure = _gauge("watch_figure", "A figure of a version under watch.", "alias", "version", "side", "figure")
    out = _gauge("watch_out", "1 for a band that a version under watch has left.", "alias", "version", "band")
    for use_case, report in found.items():
        for one in report.watched:
            labels = [use_case, one.alias, one.version]
            for side, group in (("its", one.its), ("other", one.others)):
                for name in GROUP_FIGURES:
                    if (value := getattr(group, name)) is not None:
                        figure.add_metric([*labels, side, name], float(value))
            for finding in one.findings:
                out.add_metric([*labels, finding.band], float(bool(finding.out)))
    yield from (figure, out)


def _gauge(name: str, help_text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"headrace_{name}", help_text, labels=["use_case", *labels])
