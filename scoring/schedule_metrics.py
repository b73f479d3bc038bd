"""What /metrics says of the schedules: that a stopped one is seen, and one that fails again and again."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client.core import GaugeMetricFamily

from scoring.metric_text import families_text
from scoring.published import Published, ReportFeed
from scoring.schedule_report import SCHEDULES, ScheduleReport, schedule_key


class ScheduleFeed(ReportFeed):
    """The newest report of each schedule."""

    def __init__(self, redis_url: str, names: Iterable[str] = SCHEDULES, published: Published | None = None) -> None:
        super().__init__(redis_url, names, published)

    def text(self) -> str:
        """The metrics as they are now. Never raises: a schedule that never ran, or a Redis that is gone, has none."""
        return schedules_text(self.there(schedule_key, ScheduleReport), time.time())


def schedules_text(found: Mapping[str, ScheduleReport], now_s: float) -> str:
    """The reports in Prometheus's text format, by the schedule's name."""
    return families_text(_Schedules(found, now_s).collect())


class _Schedules:
    def __init__(self, found: Mapping[str, ScheduleReport], now_s: float) -> None:
        self._found = found
        self._now_s = now_s

    def collect(self) -> Iterator[GaugeMetricFamily]:
        age = _gauge("age_seconds", "How long ago the newest round of a schedule ended, whatever came of it.")
        every = _gauge("interval_seconds", "How long a schedule waits between two rounds.")
        failures = _gauge("failures", "How many of the last rounds of a schedule failed in a row.")
        for name, report in self._found.items():
            age.add_metric([name], self._now_s - report.ended_at.timestamp())
            every.add_metric([name], report.every_s)
            failures.add_metric([name], float(report.failures))
        yield from (age, every, failures)


def _gauge(name: str, help_text: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"headrace_schedule_{name}", help_text, labels=["schedule"])
