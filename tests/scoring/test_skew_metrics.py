"""The newest skew report as metrics: what Prometheus reads, with and without a report, with and without Redis."""

from __future__ import annotations

import time
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from scoring.skew_metrics import SkewFeed, metrics_text, publish
from scoring.skew_report import Example, FeatureSkew, SkewReport, skew_key
from stream.connection import RedisConnection

CHECKED_AT = datetime(2026, 1, 31, 12, tzinfo=UTC)
REPORT = SkewReport(
    use_case="fraud",
    definition_hash="abc",
    share=0.1,
    decisions=120,
    compared=100,
    skipped={'before the "beginning"': 20},
    features={
        "card_count_1h": FeatureSkew(compared=100, late=3, defects=1),
        "card_count_1d": FeatureSkew(compared=0, approximate=100),
    },
    examples=[Example("e1", "card_count_1h", 1.0, None)],
    checked_at=CHECKED_AT,
    took_s=2.5,
)
Samples = dict[tuple[str, str], float]


def samples(text: str) -> Samples:
    """Each value by its metric's name and what else it says than the use case, which it always says."""
    return {
        (
            sample.name.removeprefix("headrace_skew_"),
            next((value for name, value in sample.labels.items() if name != "use_case"), sample.labels["use_case"]),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_each_feature_has_its_mismatch_rate_and_what_it_is_made_of() -> None:
    found = samples(metrics_text({"fraud": REPORT}))
    assert found["mismatch_ratio", "card_count_1h"] == 0.04
    assert found["values_compared", "card_count_1h"] == 100
    assert found["values_late", "card_count_1h"] == 3
    assert found["values_defect", "card_count_1h"] == 1
    assert found["values_approximate", "card_count_1d"] == 100
    # Nothing compared is no rate of nought.
    assert ("mismatch_ratio", "card_count_1d") not in found


def test_the_check_itself_is_described() -> None:
    found = samples(metrics_text({"fraud": REPORT}))
    assert found["report", "fraud"] == 1
    assert found["checked_timestamp_seconds", "fraud"] == CHECKED_AT.timestamp()
    assert found["check_duration_seconds", "fraud"] == 2.5
    assert (found["decisions", "fraud"], found["decisions_compared", "fraud"]) == (120, 100)
    assert found["decisions_skipped", 'before the "beginning"'] == 20
    assert found["definition", "abc"] == 1


def test_only_what_is_scraped_now_has_an_age() -> None:
    assert ("age_seconds", "fraud") not in samples(metrics_text({"fraud": REPORT}))
    now_s = (CHECKED_AT + timedelta(hours=2)).timestamp()
    assert samples(metrics_text({"fraud": REPORT}, now_s))["age_seconds", "fraud"] == 7200


def test_a_service_shows_the_newest_report_that_was_published(redis_db: str) -> None:
    with closing(SkewFeed(redis_db, ["fraud"])) as feed, RedisConnection(redis_db) as connection:
        assert samples(feed.text()) == {("report", "fraud"): 0}
        publish(connection, REPORT)
        first = samples(feed.text())
        assert first["mismatch_ratio", "card_count_1h"] == 0.04
        assert first["age_seconds", "fraud"] == pytest.approx(time.time() - CHECKED_AT.timestamp(), abs=60)
        other = SkewReport("fraud", "def", 1.0, 1, 1, {}, {"other": FeatureSkew(compared=1)}, [], datetime.now(UTC))
        publish(connection, other)
        found = samples(feed.text())
        # What the newest report does not have is gone.
        assert [name for what, name in found if what == "mismatch_ratio"] == ["other"]
        assert 0 <= found["age_seconds", "fraud"] < 60


@pytest.mark.parametrize("content", [b"{", b"\xff", b'{"use_case": 3}', b"[]"])
def test_a_report_that_cannot_be_read_is_none(redis_db: str, content: bytes) -> None:
    with closing(SkewFeed(redis_db, ["fraud"])) as feed, RedisConnection(redis_db) as connection:
        connection.one("SET", skew_key("fraud"), content)
        assert samples(feed.text()) == {("report", "fraud"): 0}
        connection.one("DEL", skew_key("fraud"))
        connection.one("LPUSH", skew_key("fraud"), content)
        assert samples(feed.text()) == {("report", "fraud"): 0}


def test_without_redis_a_scrape_says_so_soon() -> None:
    started = time.monotonic()
    with closing(SkewFeed("redis://127.0.0.1:1/0", ["fraud"])) as feed:
        assert samples(feed.text()) == {("report", "fraud"): 0}
    assert time.monotonic() - started < 20
