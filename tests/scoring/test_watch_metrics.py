"""The watcher's report in /metrics."""

from __future__ import annotations

from datetime import UTC, datetime

from prometheus_client.parser import text_string_to_metric_families

from scoring.watch_metrics import WatchFeed, publish, watch_text
from scoring.watch_report import Comparison, Finding, GroupFigures, Side, Watched, WatchReport
from stream.connection import RedisConnection

T0 = datetime(2026, 1, 31, 12, tzinfo=UTC)
SIDE = Side(quantiles={"p50": 0.1}, alert_rate=0.02, expected_cost=12.0, precision=0.5)
GROUP = GroupFigures(
    version="b",
    events=400,
    entities=90,
    alert_rate=0.041,
    unanswered_rate=0.0,
    p99_ms=1.5,
    alerts_labelled=3,
    precision=None,
)
REPORT = WatchReport(
    use_case="fraud",
    made_at=T0,
    champion="a",
    canary="b",
    canary_share=5,
    acts=True,
    decisions=1000,
    comparisons=[
        Comparison(
            version="b",
            champion="a",
            rows=900,
            first=T0,
            last=T0,
            psi=0.1,
            agreement=0.97,
            outcomes={"approve": {"approve": 900}},
            labelled=10,
            frauds=1,
            its=SIDE,
            champions=SIDE,
        )
    ],
    skipped={"c": {"it cannot be loaded": 7}},
    watched=[
        Watched(
            alias="canary",
            version="b",
            against="a",
            since=T0,
            its=GROUP,
            others=GROUP,
            findings=[Finding("alert rate", True, "far"), Finding("precision", None, "few")],
        )
    ],
    rollbacks={"canary": 2, "champion": 0},
)


def samples(text: str) -> dict[tuple[str, ...], float]:
    return {
        (one.name, *(f"{name}={value}" for name, value in sorted(one.labels.items()) if name != "use_case")): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def test_a_report_is_told_with_its_age_its_rollbacks_and_the_bands_that_were_left() -> None:
    found = samples(watch_text({"fraud": REPORT}, T0.timestamp() + 60))
    assert found[("headrace_watch_report",)] == 1.0
    assert found[("headrace_watch_age_seconds",)] == 60.0
    assert found["headrace_rollbacks_total", "alias=canary"] == 2.0
    assert found["headrace_rollbacks_total", "alias=champion"] == 0.0
    assert found["headrace_canary_share", "version=b"] == 0.05
    assert found["headrace_watch_skipped", "version=c", "why=it cannot be loaded"] == 7.0
    assert found["headrace_shadow_figure", "figure=precision", "side=its", "version=b"] == 0.5
    assert ("headrace_shadow_figure", "figure=recall", "side=its", "version=b") not in found
    assert found["headrace_watch_figure", "alias=canary", "figure=alert_rate", "side=its", "version=b"] == 0.041
    assert found["headrace_watch_out", "alias=canary", "band=alert rate", "version=b"] == 1.0
    assert found["headrace_watch_out", "alias=canary", "band=precision", "version=b"] == 0.0


def test_what_is_published_is_told_and_without_a_report_it_says_so(redis_db: str) -> None:
    feed = WatchFeed(redis_db, ["fraud"])
    assert samples(feed.text()) == {("headrace_watch_report",): 0.0}
    with RedisConnection(redis_db) as connection:
        publish(connection, REPORT)
    assert samples(feed.text())["headrace_shadow_agreement", "version=b"] == 0.97
    feed.close()
    gone = WatchFeed("redis://127.0.0.1:1/0", ["fraud"])
    assert samples(gone.text()) == {("headrace_watch_report",): 0.0}
    gone.close()
