from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter

from review.scrape import parsed
from review.series_table import WANTED
from scoring.api import REQUESTS
from scoring.dead_processes import VARIABLE
from scoring.own_metrics import own_text

COUNT = """
import sys
from prometheus_client import Counter, Gauge
from scoring.breaker import STATE
from scoring.policy_shared import FREE
from scoring.spool import WAITING
from scoring.api import REQUESTS
REQUESTS.labels("/fraud/score", "200").inc(int(sys.argv[1]))
STATE.set(int(sys.argv[1])), FREE.set(int(sys.argv[1])), WAITING.set(int(sys.argv[1]))
Counter("bentoml_requests", "Not ours.").inc()
"""
NAMES = {
    "headrace_requests_total",
    "headrace_breaker_state",
    "headrace_spool_waiting",
    "headrace_review_minutes_free",
    "bentoml_requests_total",
}


def test_the_pages_within_the_service_are_told_of_its_answers_too() -> None:
    REQUESTS.labels("/fraud/score", "200").inc()
    found = parsed(own_text(WANTED, environ={}), WANTED)
    assert found["headrace_requests_total"][(("route", "/fraud/score"), ("status", "200"))] >= 1.0
    assert "headrace_spool_waiting" in found


def test_what_others_count_in_this_process_is_theirs() -> None:
    registry = CollectorRegistry()
    Counter("bentoml_requests", "Not ours.", registry=registry).inc()
    assert own_text({"bentoml_requests_total"}, registry, {}) == ""


def test_processes_that_share_files_are_told_as_one(tmp_path: Path) -> None:
    for count in ("1", "4"):
        subprocess.run([sys.executable, "-c", COUNT, count], env={VARIABLE: str(tmp_path)}, check=True, timeout=60)
    told = own_text(NAMES, environ={VARIABLE: str(tmp_path)})
    assert told.splitlines() == [
        "headrace_breaker_state 4.0",
        'headrace_requests_total{route="/fraud/score",status="200"} 5.0',
        "headrace_review_minutes_free 1.0",
        "headrace_spool_waiting 5.0",
    ]
    assert own_text({"headrace_breaker_state"}, environ={VARIABLE: str(tmp_path)}) == "headrace_breaker_state 4.0\n"
