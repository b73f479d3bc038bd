"""What processes without HTTP tell of themselves on their metrics port."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from headrace.assembly import open_outbox
from headrace.stack import Stack
from stream.log import Message
from stream.played import Played
from stream.records import Transaction, encode
from tests.ports import reserved_port
from tests.until import until

pytestmark = pytest.mark.slow

LIMIT_S = 240.0
Samples = dict[str, float]


def told(port: int) -> Samples:
    """The samples of a port, as `name label label`; none while nobody listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
    except (urllib.error.URLError, OSError):
        return {}
    return {
        " ".join([sample.name.removeprefix("headrace_"), *(value for _, value in sorted(sample.labels.items()))]): (
            sample.value
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def wait_until(port: int, holds: Callable[[Samples], bool]) -> Samples:
    """The samples once this holds of them, or when the time is over."""
    end = time.monotonic() + LIMIT_S
    while not holds(found := told(port)) and time.monotonic() < end:
        time.sleep(0.2)
    return found


def said_in(log: Path) -> list[dict[str, str]]:
    """What it has written so far, whole lines of it."""
    return [json.loads(line) for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]


def test_a_worker_and_a_stream_scorer_tell_what_they_do(stack: Stack, payments: list[Played]) -> None:
    outbox = open_outbox(stack.settings)
    sent = [one.transaction for one in payments[:30]]
    outbox.append([Message("unscored", one.key, encode(one)) for one in sent])
    outbox.append([Message("unscored", "", b"no record")])
    outbox.close()
    with reserved_port() as worker_port, reserved_port() as scorer_port:
        they_tell_what_they_do(stack, sent, worker_port, scorer_port)


def they_tell_what_they_do(stack: Stack, sent: list[Transaction], worker_port: int, scorer_port: int) -> None:
    stack.start("worker", "worker", "--metrics-port", str(worker_port), "--log-format", "json")
    stack.start("scorer", "score", "--topic", "unscored", "--metrics-port", str(scorer_port))

    scored = {"log_read_total scorer-unscored unscored": 31, "log_appended_total dead-letters": 1}
    scored["score_seconds_count fraud"] = 30

    def is_scored(found: Samples) -> bool:
        return scored.items() <= found.items() and any(name.startswith("model batch fraud") for name in found)

    scorer = wait_until(scorer_port, is_scored)
    assert scorer["score_seconds_count fraud"] == 30
    assert scorer["log_appended_total dead-letters"] == 1
    assert any(name.startswith("model batch fraud") for name in scorer)

    def is_done(found: Samples) -> bool:
        """All was read, and a scrape does not fall between the work on a batch and its commit."""
        batches = found.get("log_work_seconds_count worker", 0)
        has_committed = found.get("log_commit_seconds_count worker") == batches
        return (
            has_committed
            and found.get("log_read_total worker transactions") == 30
            and found.get("lag_seconds worker transactions") == 0
            and found.get("group_members worker") == 1  # one that stood still for a lease is none, for a moment
        )

    worker = wait_until(worker_port, is_done)
    assert worker["log_read_total worker transactions"] == 30
    assert worker["lag_seconds worker transactions"] == 0
    assert worker["group_members worker"] == 1
    assert worker["log_work_seconds_count worker"] >= 1
    assert worker["log_commit_seconds_count worker"] == worker["log_work_seconds_count worker"]
    assert worker["process_resident_memory_bytes"] > 0

    assert stack.redis is not None
    stack.redis.kill()
    worker = wait_until(worker_port, lambda found: "lag_seconds worker transactions" not in found != {})
    assert worker["log_read_total worker transactions"] == 30, "it tells what it can without Redis"
    assert "lag_seconds worker transactions" not in worker
    log = stack.home / "logs" / "worker.log"
    until(lambda: any(one["room"] == "features" and "trying again" in one["message"] for one in said_in(log)))


def test_a_port_that_is_taken_ends_the_process_with_what_to_do(stack: Stack) -> None:
    port = stack.redis.url.rpartition(":")[2].partition("/")[0] if stack.redis is not None else ""
    worker = stack.start("worker", "worker", "--metrics-port", port)
    assert worker.wait(LIMIT_S)
    assert f"HEADRACE_METRICS_PORT={port}" in worker.log_tail() and "give a free one" in worker.log_tail()
    stack.children.pop("worker")
