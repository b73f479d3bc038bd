"""The newest skew report as Prometheus metrics: for a file that node-exporter reads, and for the service's /metrics."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

import msgspec
from prometheus_client.core import GaugeMetricFamily

from scoring.metric_text import families_text
from scoring.published import ReportFeed
from scoring.skew_report import SkewReport, skew_key
from stream.connection import RedisConnection


class SkewFeed(ReportFeed):
    """The newest skew reports, by use case."""

    def text(self) -> str:
        """The metrics as they are now, with the reports' age in seconds. Never raises: without a report it says so."""
        return metrics_text(self.newest(skew_key, SkewReport), now_s=time.time())


def publish(connection: RedisConnection, report: SkewReport) -> None:
    """Let every service show this report. Raises `RedisUnavailable` or `RedisError` where Redis did not take it."""
    connection.one("SET", skew_key(report.use_case), msgspec.json.encode(report))


def metrics_text(reports: Mapping[str, SkewReport | None], now_s: float | None = None) -> str:
    """Reports by use case (None: there is none) in Prometheus's text format; with `now_s`, their age too."""
    return families_text(_Reports(reports, now_s).collect())


class _Reports:
    def __init__(self, reports: Mapping[str, SkewReport | None], now_s: float | None) -> None:
        self._reports = reports
        self._now_s = now_s

    def collect(self) -> Iterator[GaugeMetricFamily]:
        there = GaugeMetricFamily(
            "headrace_skew_report", "Whether there is a skew report (0: none).", labels=["use_case"]
        )
        for use_case, report in self._reports.items():
            there.add_metric([use_case], float(report is not None))
        yield there
        found = {use_case: report for use_case, report in self._reports.items() if report is not None}
        yield from self._whole(found)
        yield from _features(found)

    def _whole(self, found: Mapping[str, SkewReport]) -> Iterator[GaugeMetricFamily]:
        checked = _gauge("checked_timestamp_seconds", "When the newest skew check ended, since 1970.")
        age = _gauge("age_seconds", "How long ago that was.")
        took = _gauge("check_duration_seconds", "How long it took.")
        sampled = _gauge("decisions", "Decisions in the sample of the newest skew check.")
        compared = _gauge("decisions_compared", "Decisions whose vectors were computed again.")
        skipped = _gauge("decisions_skipped", "Decisions of the sample that were not compared, by reason.", "why")
        definition = _gauge("definition", "1 for the definition of the features that was checked.", "definition_hash")
        for use_case, report in found.items():
            if report.checked_at is not None:
                checked_s = report.checked_at.timestamp()
                checked.add_metric([use_case], checked_s)
                if self._now_s is not None:
                    age.add_metric([use_case], self._now_s - checked_s)
            took.add_metric([use_case], report.took_s)
            sampled.add_metric([use_case], report.decisions)
            compared.add_metric([use_case], report.compared)
            definition.add_metric([use_case, report.definition_hash], 1.0)
            for why, count in report.skipped.items():
                skipped.add_metric([use_case, why], count)
        yield from (checked, took, sampled, compared, skipped, definition)
        if self._now_s is not None:
            yield age


def _features(found: Mapping[str, SkewReport]) -> Iterator[GaugeMetricFamily]:
    rate = _gauge("mismatch_ratio", "Share of the compared values that differ, by feature.", "feature")
    counts = {
        "compared": _gauge("values_compared", "Values compared, by feature.", "feature"),
        "late": _gauge("values_late", "Values that differ because an event arrived after the decision.", "feature"),
        "defects": _gauge("values_defect", "Values that differ and that no late event explains.", "feature"),
        "approximate": _gauge("values_approximate", "Values that are flagged as approximate: not compared.", "feature"),
    }
    for use_case, report in found.items():
        for name, one in report.features.items():
            if one.mismatch_rate is not None:
                rate.add_metric([use_case, name], one.mismatch_rate)
            for what, gauge in counts.items():
                gauge.add_metric([use_case, name], getattr(one, what))
    yield rate
    yield from counts.values()


def _gauge(name: str, help_text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"headrace_skew_{name}", help_text, labels=["use_case", *labels])
