"""The newest evaluation and drift report as Prometheus metrics, read from Redis when somebody scrapes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec
from prometheus_client.core import GaugeMetricFamily

from scoring.metric_text import families_text
from scoring.published import ReportFeed
from scoring.quality_report import DriftHeadline, EvaluationHeadline, Spread, drift_key, evaluation_key
from stream.connection import RedisConnection


class Quality(NamedTuple):
    """What was published on one use case; None where nothing was, or Redis did not answer."""

    evaluation: EvaluationHeadline | None
    drift: DriftHeadline | None


class QualityFeed(ReportFeed):
    """The newest headlines, by use case."""

    def text(self) -> str:
        """The metrics as they are now, with their ages in seconds. Never raises: without a report it says so."""
        evaluations = self.newest(evaluation_key, EvaluationHeadline)
        drifts = self.newest(drift_key, DriftHeadline)
        found = {name: Quality(evaluations[name], drifts[name]) for name in evaluations}
        return quality_text(found, now_s=time.time())


def publish(connection: RedisConnection, headline: EvaluationHeadline | DriftHeadline) -> None:
    """Let every service show it. Raises `RedisUnavailable` or `RedisError` where Redis did not take it."""
    key_of = evaluation_key if isinstance(headline, EvaluationHeadline) else drift_key
    connection.one("SET", key_of(headline.use_case), msgspec.json.encode(headline))


def quality_text(found: Mapping[str, Quality], now_s: float | None = None) -> str:
    """What was published, by use case, in Prometheus's text format; with `now_s`, how old it is too."""
    return families_text(_Headlines(found, now_s).collect())


class _Headlines:
    def __init__(self, found: Mapping[str, Quality], now_s: float | None) -> None:
        self._found = found
        self._now_s = now_s

    def collect(self) -> Iterator[GaugeMetricFamily]:
        for kind, place in (("evaluation", 0), ("drift", 1)):
            there = _gauge(f"{kind}_report", f"Whether there is a report of {kind} (0: none).")
            age = _gauge(f"{kind}_age_seconds", f"How long ago the newest report of {kind} was made.")
            for use_case, quality in self._found.items():
                headline = quality[place]
                there.add_metric([use_case], float(headline is not None))
                if headline is not None and self._now_s is not None:
                    age.add_metric([use_case], self._now_s - headline.made_at.timestamp())
            yield there
            yield age
        yield from self._evaluations()
        yield from self._drifts()

    def _evaluations(self) -> Iterator[GaugeMetricFamily]:
        events = _gauge("evaluation_events", "Events of the newest evaluation, by what became of them.", "fate")
        figure = _gauge("evaluation_figure", "Figures of the newest evaluation.", "figure", "member", "end")
        cost = _gauge("evaluation_cost", "Cost per 1,000 events, in the policy's currency.", "kind", "end")
        for use_case, (headline, _) in self._found.items():
            if headline is None:
                continue
            for fate in ("mature", "immature", "unlabelled", "frauds"):
                events.add_metric([use_case, fate], float(getattr(headline, fate)))
            for name, members in headline.figures.items():
                for member, spread in members.items():
                    _add(figure, [use_case, name, member], spread)
            _add(cost, [use_case, "realised"], headline.realised_cost)
            _add(cost, [use_case, "approve_all"], headline.approve_all_cost)
            if headline.expected_cost is not None:
                _add(cost, [use_case, "expected"], headline.expected_cost)
        yield from (events, figure, cost)

    def _drifts(self) -> Iterator[GaugeMetricFamily]:
        rows = _gauge("drift_events", "Events that the newest look for drift compared.", "version")
        alarms = _gauge("drift_alarms", "What has drifted by the newest look, counted by measure.", "measure")
        value = _gauge("drift_value", "Each measure of drift, by what it measures.", "measure", "subject")
        for use_case, (_, headline) in self._found.items():
            if headline is None:
                continue
            rows.add_metric([use_case, headline.version], float(headline.rows))
            for measure, count in headline.alarms.items():
                alarms.add_metric([use_case, measure], float(count))
            for measure, subjects in headline.measures.items():
                for subject, one in subjects.items():
                    value.add_metric([use_case, measure, subject], one)
        yield from (rows, alarms, value)


def _add(gauge: GaugeMetricFamily, labels: list[str], spread: Spread) -> None:
    for end in ("value", "low", "high"):
        gauge.add_metric([*labels, end], getattr(spread, end))


def _gauge(name: str, help_text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"headrace_{name}", help_text, labels=["use_case", *labels])
