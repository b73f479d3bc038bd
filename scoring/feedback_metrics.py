"""What the newest round of the feedback model said, as Prometheus metrics: read from Redis when somebody scrapes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

import msgspec
from prometheus_client.core import GaugeMetricFamily

from scoring.metric_text import families_text
from scoring.published import ReportFeed
from stream.connection import RedisConnection


def feedback_key(use_case: str) -> str:
    """The Redis key that holds the newest judged round, as JSON."""
    return f"feedback:{use_case}:round"


class FeedbackRound(msgspec.Struct, frozen=True, kw_only=True):
    """A round in which a model was judged. `version` is what it became; None where a gate refused it.

    `rows` and `frauds` are counts by kind: `verdicts` of analysts, `population`. `gates` has each gate's word: True for
    passed, None for not judged.
    """

    use_case: str
    ended_at: datetime
    version: str | None
    rows: dict[str, int]
    frauds: dict[str, int]
    gates: dict[str, bool | None]


class FeedbackFeed(ReportFeed):
    """The newest rounds, by use case."""

    def text(self) -> str:
        """The metrics as they are now. Never raises: where no round was judged, or Redis is gone, there are none."""
        return feedback_text(self.there(feedback_key, FeedbackRound))


def publish(connection: RedisConnection, round_: FeedbackRound) -> None:
    """Let every service show it. Raises `RedisUnavailable` or `RedisError` where Redis did not take it."""
    connection.one("SET", feedback_key(round_.use_case), msgspec.json.encode(round_))


def feedback_text(found: Mapping[str, FeedbackRound]) -> str:
    """The rounds by use case, in Prometheus's text format."""
    return families_text(_Rounds(found).collect())


class _Rounds:
    def __init__(self, found: Mapping[str, FeedbackRound]) -> None:
        self._found = found

    def collect(self) -> Iterator[GaugeMetricFamily]:
        ended = _gauge("judged_timestamp_seconds", "When the newest feedback model was judged, since 1970.")
        refused = _gauge("refused", "1 where that model was refused, and the one before goes on.")
        gate = _gauge("gate", "What each gate said of it: 1 passed, 0 failed.", "gate")
        rows = _gauge("rows", "Rows of that round, by kind.", "kind")
        frauds = _gauge("frauds", "Frauds among them.", "kind")
        for use_case, one in self._found.items():
            ended.add_metric([use_case], one.ended_at.timestamp())
            refused.add_metric([use_case], float(one.version is None))
            for name, passed in one.gates.items():
                if passed is not None:
                    gate.add_metric([use_case, name], float(passed))
            for gauge, counts in ((rows, one.rows), (frauds, one.frauds)):
                for kind, count in counts.items():
                    gauge.add_metric([use_case, kind], float(count))
        yield from (ended, refused, gate, rows, frauds)


def _gauge(name: str, help_text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"headrace_feedback_{name}", help_text, labels=["use_case", *labels])
