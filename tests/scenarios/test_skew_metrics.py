"""The skew of features as an operator sees it: scored over HTTP, archived, checked on a schedule, shown by /metrics."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from prometheus_client.parser import text_string_to_metric_families

from features.fraud import FRAUD
from headrace.stack import Stack
from stream.played import Played
from stream.records import Decision, Transaction, encode
from tests.patient import ask
from tests.scenarios.archived import archive_all

pytestmark = pytest.mark.slow

LIMIT_S = 240.0


def scraped(url: str) -> dict[str, float]:
    """The values of the skew metrics, by name and feature."""
    text = ask(url, "GET", "/metrics").content.decode()
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.startswith("headrace_skew_"):
                found[f"{sample.name.removeprefix('headrace_skew_')} {sample.labels.get('feature', '')}".strip()] = (
                    sample.value
                )
    assert "headrace_requests_total" in text
    return found


def told(url: str, condition: Callable[[dict[str, float]], bool]) -> dict[str, float]:
    """The metrics once this holds of them. A service that is busy may leave out those of Redis for a while."""
    until = time.monotonic() + LIMIT_S
    while not condition(found := scraped(url)):
        assert time.monotonic() < until, found
        time.sleep(0.2)
    return found


def test_the_newest_skew_check_appears_in_metrics_with_its_age(stack: Stack, payments: list[Played]) -> None:
    stack.start_workers()
    url = stack.start_service()
    for one in payments[:40]:
        answer = ask(url, "POST", "/fraud/score", encode(one.transaction))
        assert answer.status == 200, answer
    told(url, lambda found: found == {"report": 0})
    archive_all(stack.settings, Transaction.topic, Decision.topic)
    stack.start("skew", "features", "skew", "--every", "1s", "--share", "1", "--days", "100")
    found = told(url, lambda found: found.get("report") == 1)
    assert found["decisions_compared"] == found["decisions"] == 40
    assert {name for name in FRAUD.names if found[f"mismatch_ratio {name}"] != 0.0} == set()
    first, age_s = found["checked_timestamp_seconds"], found["age_seconds"]
    assert 0 <= age_s < LIMIT_S
    told(url, lambda found: found.get("checked_timestamp_seconds", first) > first)
    stack.children.pop("skew").stop(60)
    # Without another check the newest one ages.
    aged_s = told(url, lambda found: "age_seconds" in found)["age_seconds"]
    told(url, lambda found: found.get("age_seconds", 0.0) > aged_s + 1.0)
