from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter

from review.scrape import parsed
from review.series_table import WANTED
from scoring.api import REQUESTS
from scoring.own_metrics import own_text


def test_the_pages_within_the_service_are_told_of_its_answers_too() -> None:
    REQUESTS.labels("/fraud/score", "200").inc()
    found = parsed(own_text(), WANTED)
    assert found["headrace_requests_total"][(("route", "/fraud/score"), ("status", "200"))] >= 1.0
    assert "headrace_spool_waiting" in found


def test_what_others_count_in_this_process_is_theirs() -> None:
    registry = CollectorRegistry()
    Counter("bentoml_requests", "Not ours.", registry=registry).inc()
    assert own_text(registry) == ""
