"""The skew of features as an operator sees it: scored over HTTP, archived, checked on a schedule, shown by /metrics."""

from __future__ import annotations

import time
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from features.fraud import FRAUD
from headrace.stack import Stack
from stream.played import Played
from stream.records import encode

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("stack")]

LIMIT_S = 90.0


def scraped(url: str) -> dict[str, float]:
    """The values of the skew metrics, by name and feature."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=20) as answer:
        text = answer.read().decode()
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.startswith("headrace_skew_"):
                found[f"{sample.name.removeprefix('headrace_skew_')} {sample.labels.get('feature', '')}".strip()] = (
                    sample.value
                )
    assert "headrace_requests_total" in text
    return found


def post(url: str, body: bytes) -> None:
    request = urllib.request.Request(url, body, {"content-type": "application/json", "x-deadline-ms": "9000"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.status == 200


def test_the_newest_skew_check_appears_in_metrics_with_its_age(stack: Stack, payments: list[Played]) -> None:
    stack.start_workers()
    url = stack.start_service()
    for one in payments[:40]:
        post(f"{url}/fraud/score", encode(one.transaction))
    assert scraped(url) == {"report": 0}
    archiver = stack.start("archiver", "archive")
    time.sleep(3)  # It polls; when it is stopped, it stores what it has.
    archiver.stop(10)
    stack.start("skew", "features", "skew", "--every", "1s", "--share", "1", "--days", "100")
    until = time.monotonic() + LIMIT_S
    while not (found := scraped(url))["report"] and time.monotonic() < until:
        time.sleep(0.2)
    assert found["decisions_compared"] == found["decisions"] == 40
    assert {name for name in FRAUD.names if found[f"mismatch_ratio {name}"] != 0.0} == set()
    first, age_s = found["checked_timestamp_seconds"], found["age_seconds"]
    assert 0 <= age_s < 30
    while scraped(url)["checked_timestamp_seconds"] == first and time.monotonic() < until:
        time.sleep(0.2)
    stack.children["skew"].stop(10)
    time.sleep(1.5)
    last = scraped(url)
    assert last["checked_timestamp_seconds"] > first
    assert last["age_seconds"] > 1.0
    stack.children.pop("skew")
