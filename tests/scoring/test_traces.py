"""Decisions that are followed: which, what their spans say, and what a collector that is gone costs."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

import scoring.traces as traces_module
from scoring.observed import Observed
from scoring.traces import FORGO_S, WAITING_LIMIT, OnceLogged, Traces, is_sampled
from tests.scoring.collector import collecting
from tests.scoring.test_observed import decided

PATIENT_S = 60.0
TRACE = "0af7651916cd43dd8448eb211c80319c"
SAMPLED = f"00-{TRACE}-b7ad6b7169203331-01".encode()


@pytest.mark.parametrize(
    ("traceparent", "expected"),
    [
        (SAMPLED, True),
        (SAMPLED[:-1] + b"0", False),
        (b"01" + SAMPLED[2:] + b"-more", True),
        (SAMPLED + b"-more", None),
        (b"ff" + SAMPLED[2:], None),
        (SAMPLED.upper(), None),
        (SAMPLED.replace(b"b7ad6b7169203331", b"0" * 16), None),
        (b"", None),
        (b"\xff" * 55, None),
    ],
)
def test_a_traceparent_is_read_as_w3c_says(traceparent: bytes, expected: bool | None) -> None:
    assert is_sampled(traceparent) is expected


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans that are not sent in time are dropped: a test that asks for all of them can wait for its collector."""
    monkeypatch.setattr(traces_module, "SEND_TIMEOUT_S", PATIENT_S)


@pytest.mark.usefixtures("patient")
def test_a_caller_decides_for_itself_and_the_share_for_the_others() -> None:
    with collecting() as collector:
        traces = Traces(0.5, collector.url, draw=iter([0.4, 0.6, 0.4]).__next__)
        observed = Observed("fraud")
        observed.traces = traces
        for traceparent in (SAMPLED, SAMPLED[:-1] + b"0", None, None, b"nonsense"):
            observed.traceparent = traceparent
            observed.score(decided(), 0.001)
        traces.stop()
        whole = [span for span in collector.spans if span.name == "score fraud"]
    assert len(whole) == 3
    assert [span.trace_id.hex() for span in whole].count(TRACE) == 1
    assert len({span.trace_id for span in whole}) == 3


@pytest.mark.usefixtures("patient")
def test_spans_say_how_long_each_stage_took_and_nothing_of_anybody() -> None:
    with collecting() as collector:
        traces = Traces(1.0, collector.url)
        traces.follow(decided(degraded=["rules"], outcome="review"), 0.0008, None)
        traces.stop()
        spans = {span.name: span for span in collector.spans}
        assert len(collector.spans) == 6
    took_us = {name: (span.end_time_unix_nano - span.start_time_unix_nano) / 1000 for name, span in spans.items()}
    assert took_us == {
        **{"read": 200, "features": 150, "models": 100, "rules": 50},
        **{"record": 300, "score fraud": 800},
    }
    said = {one.key: one.value for one in spans["score fraud"].attributes}
    assert said["headrace.outcome"].string_value == "review"
    assert said["headrace.model.batch"].string_value == "20260131.1"
    assert said["headrace.degraded"].array_value.values[0].string_value == "rules"
    assert "event-7" not in str(spans) and "card-7" not in str(spans)


def test_a_collector_that_is_gone_is_said_once_and_keeps_nobody_waiting(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    traces = Traces(1.0, "http://127.0.0.1:1/v1/traces")
    sent: list[int] = []
    export = traces_module.OnceLogged.export

    def noted(sender: OnceLogged, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        sent.append(len(spans))
        return export(sender, spans)

    monkeypatch.setattr(traces_module.OnceLogged, "export", noted)
    with caplog.at_level(logging.INFO):
        for _ in range(3 * WAITING_LIMIT):
            traces.follow(decided(), 0.001, None)
        assert sent == [], "whoever follows sends nothing"
        for _ in range(2):
            traces.build()
            traces._provider.force_flush()
    traces.stop()
    assert sent
    assert [record.name for record in caplog.records] == ["scoring.traces"]


class Fragile(SpanExporter):
    """An exporter that answers what it is told to."""

    def __init__(self) -> None:
        self.answers = SpanExportResult.FAILURE
        self.asked = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.asked += 1
        return self.answers


def test_an_endpoint_that_fails_is_left_alone_for_a_while_and_said_to_be_back(caplog: pytest.LogCaptureFixture) -> None:
    now_s, sender = 0.0, Fragile()
    once = OnceLogged(sender, "http://collector", clock=lambda: now_s)
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            once.export([])
        assert sender.asked == 1
        now_s += FORGO_S
        once.export([])
        assert (sender.asked, len(caplog.records)) == (2, 1)
        now_s += FORGO_S
        sender.answers = SpanExportResult.SUCCESS
        once.export([])
        once.export([])
    assert sender.asked == 4
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
