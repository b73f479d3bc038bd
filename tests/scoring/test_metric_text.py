"""What we write of metrics is what prometheus_client would."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from scoring import metric_text
from scoring.metric_table import EVERY, families
from scoring.metric_text import counts_text, families_text, number, only
from scoring.tally import Counts

ODD = 'a "card" of\n50 \\ of C:'


class Told(Collector):
    def __init__(self, families: Iterable[Family]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Family]:
        return self._families


def of_prometheus(families: Iterable[Family]) -> str:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Told(families))
    return generate_latest(registry).decode()


def everything() -> Counts:
    """Every metric of the table, with values that are hard to write and labels that are."""
    counts = Counts({}, {}, {})
    for place, metric in enumerate(EVERY.values()):
        labels = [tuple(f"{name} {row}" for name in metric.labels) for row in range(3)] + [(ODD,) * len(metric.labels)]
        if metric.kind == "histogram":
            counts.histograms[metric.name] = {
                one: [*(float(place + row) for row in range(len(metric.bounds) + 1)), 1e7 / 3] for one in labels
            }
        else:
            by_name = counts.counters if metric.kind == "counter" else counts.gauges
            values = (0.0, 1.5 * place, 1e6, 123456789.0, 0.1 + 0.2)
            by_name[metric.name] = {one: values[(place + row) % 5] for row, one in enumerate(labels)}
    return counts


def test_every_metric_is_written_as_prometheus_writes_it_also_the_second_time() -> None:
    wanted = of_prometheus(families(everything(), EVERY.values()))
    assert counts_text(everything()).splitlines() == wanted.splitlines()
    assert counts_text(everything()) == wanted


def test_reports_are_written_as_prometheus_writes_them() -> None:
    counter = CounterMetricFamily("headrace_rollbacks", "Said\n\\ in two.", labels=["use_case", "alias"])
    counter.add_metric(["fraud", ODD], 3)
    gauge = GaugeMetricFamily("headrace_age", "An age.", labels=[])
    gauge.add_metric([], 1234567.25)
    empty = GaugeMetricFamily("headrace_none", "Nothing.", labels=["use_case"])
    assert families_text([counter, gauge, empty]) == of_prometheus([counter, gauge, empty])


@pytest.mark.parametrize("value", [0, 1, -2.5, 999_999.0, 1e6, 1e21, 1e-9, math.inf, -math.inf, math.nan, -1e9])
def test_numbers_are_written_as_prometheus_writes_them(value: float) -> None:
    gauge = GaugeMetricFamily("n", "", labels=[])
    gauge.add_metric([], value)
    assert number(value) == of_prometheus([gauge]).split()[-1]


def test_who_asks_for_some_samples_is_told_these_alone() -> None:
    names = {"headrace_score_seconds_count", "headrace_stage_seconds_bucket", "headrace_model", "headrace_nonsense"}
    told = counts_text(everything(), names=names)
    assert told == only(counts_text(everything()), names)
    assert {line.partition("{")[0] for line in told.splitlines()} == names - {"headrace_nonsense"}


def test_series_that_come_and_go_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metric_text, "KNOWN_LIMIT", 50)
    for version in range(200):
        told = counts_text(Counts(gauges={"headrace_policy": {("fraud", f"v{version}"): 1.0}}))
        assert told.splitlines()[-1] == f'headrace_policy{{use_case="fraud",version="v{version}"}} 1.0'
        assert len(metric_text._known) <= 50
