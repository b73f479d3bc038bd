"""What an operator sees of the running service: metrics of all its processes, its log, and traces of its callers."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from prometheus_client.parser import text_string_to_metric_families

from headrace.settings import Settings
from headrace.stack import Stack
from scoring.traces import FORGO_S
from stream.played import Played
from stream.records import encode
from tests.patient import DEADLINE, HEADERS, ask
from tests.scoring.collector import Collector, collecting

pytestmark = pytest.mark.slow

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
LIMIT_S = 240.0
COUNTED = {"headrace_outcomes_total", "headrace_stage_seconds_count"}
Samples = dict[str, dict[tuple[str, ...], float]]


@dataclass
class Running:
    """A service of two processes that logs JSON and sends traces."""

    stack: Stack
    url: str
    collector: Collector

    @property
    def log(self) -> Path:
        """What it has written."""
        return (self.stack.home / "logs" / "service.log").resolve()

    def post(self, path: str, body: bytes, **headers: str) -> int:
        """Send a body over a connection of its own, so that either process may take it; the status."""
        return ask(self.url, "POST", path, body, HEADERS | headers).status

    def scraped(self, *names: str) -> Samples:
        """The samples of /metrics (of these names, where there are some), by name and the values of their labels in the
        order of the labels' names."""
        query = urlencode([("name[]", name) for name in names])
        text = ask(self.url, "GET", f"/metrics?{query}" if names else "/metrics").content.decode()
        found: Samples = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found.setdefault(sample.name, {})[tuple(value for _, value in sorted(sample.labels.items()))] = (
                    sample.value
                )
        return found

    def counted(self) -> Samples:
        """As `scraped`, where all that is counted was told in time: a busy machine may leave it out."""
        found: Samples = {}
        until = time.monotonic() + LIMIT_S
        while not found.keys() >= COUNTED:
            assert time.monotonic() < until, found
            found = self.scraped()
        return found


@pytest.fixture(scope="module")
def running(trained_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("observed") / "home"
    shutil.copytree(trained_home, home)
    with collecting() as collector:
        settings = {"home": home, "workers": 2, "log_format": "json", "trace_endpoint": collector.url}
        with Stack(Settings({**settings, "deadline": DEADLINE}, {})) as stack:
            stack.start_redis()
            yield Running(stack, stack.start_service(), collector)


def test_counts_are_those_of_all_processes_whichever_is_scraped(running: Running, payments: list[Played]) -> None:
    bodies = [encode(one.transaction) for one in payments[:60]]
    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(lambda body: running.post("/fraud/score", body), bodies)) == {200}
    assert running.post("/fraud/score/batch", b"[" + b",".join(bodies[:3]) + b"]") == 200
    seen: list[Samples] = []
    until = time.monotonic() + LIMIT_S
    while not (seen and all(map(is_whole, seen))):
        assert time.monotonic() < until, seen
        seen = [running.scraped() for _ in range(6)]
    files = list((running.stack.home / "bentoml").rglob("headrace/*-*.counts"))
    assert len(files) == 2
    for found in seen:
        assert sum(found["headrace_outcomes_total"].values()) == 63
        assert found["headrace_score_seconds_count"] == {("fraud",): 63}
        assert found["headrace_batch_size_count"] == {(): 1}
        assert found["headrace_requests_total"]["/fraud/score", "200"] == 60
        assert found["headrace_member_score_count"]["batch", "fraud"] == 63
        ((model, one),) = found["headrace_model"].items()
        assert (model[:2], one) == (("batch", "fraud"), 1.0)
        assert found["headrace_member_scores_total"] == {model: 63}
        # What the batch sent again was found, not made: its stages are not counted twice.
        assert found["headrace_stage_seconds_count"]["features",] == 60
        assert found["headrace_outbox_records"]["decisions",] == 60
        assert found["headrace_policy"] and found["headrace_feed_problems"]["models",] == 0


def test_who_names_samples_is_told_these_of_all_processes_whichever_answers(running: Running) -> None:
    ours = [
        "headrace_outcomes_total",
        "headrace_score_seconds_bucket",
        "headrace_member_scores_total",
        "headrace_requests_total",
        "headrace_spool_waiting",
        "headrace_breaker_state",
        "headrace_outbox_records",
        "headrace_skew_report",
    ]
    until = time.monotonic() + LIMIT_S
    whole = running.scraped()
    while not is_whole(whole):
        assert time.monotonic() < until, whole
        whole = running.scraped()
    for _ in range(6):
        assert running.scraped(*ours) == {name: whole[name] for name in ours}
    told = running.scraped("headrace_policy", "bentoml_request_total")
    assert told.keys() > {"headrace_policy", "bentoml_request_total"}, (
        "what is BentoML's is asked of BentoML, all of it"
    )


def is_whole(found: Samples) -> bool:
    """Whether all 63 decisions are told, and no part of /metrics came too late: each has its time."""
    parts = {"headrace_outbox_records", "headrace_policy", "headrace_feed_problems", "headrace_outcomes_total"}
    return parts <= found.keys() and sum(found["headrace_outcomes_total"].values()) >= 63


def hanging(found: Samples) -> bool:
    """Whether all is told but what only Redis knows."""
    rest = {"headrace_outcomes_total", "headrace_skew_report"}
    return rest <= found.keys() and "headrace_outbox_records" not in found


def test_the_servers_own_page_may_load_nothing_from_elsewhere(running: Running) -> None:
    page = ask(running.url, "GET", "/")
    assert (page.status, b"swagger" in page.content) == (200, True)
    policy = dict(rule.strip().split(" ", 1) for rule in page.headers["content-security-policy"].split(";"))
    assert (policy["default-src"], policy["frame-src"]) == ("'self'", "'none'")
    assert "script-src" not in policy and "http" not in page.headers["content-security-policy"]
    assert "content-security-policy" not in ask(running.url, "GET", "/metrics").headers


def test_a_callers_trace_is_followed_as_its_flag_says(running: Running, payments: list[Played]) -> None:
    sampled, unsampled = (encode(one.transaction) for one in payments[100:102])
    assert running.post("/fraud/score", unsampled, traceparent=f"00-{TRACE[::-1]}-{SPAN}-00") == 200
    spans = followed(running, sampled)
    assert {span.trace_id.hex() for span in running.collector.spans} == {TRACE}
    whole, *stages = spans
    assert whole.name == "score fraud"
    assert {"read", "features", "models", "rules", "record"} <= {span.name for span in stages}
    for span in stages:
        assert whole.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano <= whole.end_time_unix_nano
    said = str(spans)
    assert not [text for text in ids_in(payments[101]) if text in said]


def followed(running: Running, body: bytes) -> list[Any]:
    """The spans of one answer, that of the whole first.

    What a collector does not take in time is dropped, and then nothing is sent for a while: so it is asked for another.
    """
    for attempt in range(10):
        again = body.replace(b'"event_id":"', b'"event_id":"%d-' % attempt, 1)
        parent = f"{SPAN[:-1]}{attempt}"
        assert running.post("/fraud/score", again, traceparent=f"00-{TRACE}-{parent}-01") == 200
        end = time.monotonic() + FORGO_S + 5
        while time.monotonic() < end:
            spans = list(running.collector.spans)
            wholes = [span for span in spans if span.parent_span_id.hex() == parent]
            stages = [span for span in spans if wholes and span.parent_span_id == wholes[0].span_id]
            if len(stages) >= 5:
                return [*wholes, *stages]
            time.sleep(0.05)
    raise AssertionError("no trace came through")


def test_every_line_of_the_log_is_json_and_names_nobody(running: Running, payments: list[Played]) -> None:
    sent = payments[200:210]
    for one in sent:
        assert running.post("/fraud/score", encode(one.transaction)) == 200
    first = encode(sent[0].transaction)
    assert running.post("/fraud/score", first.replace(b'"amount":', b'"amount":"much","was":')) == 400
    assert running.post("/fraud/score", b'{"event_id": "no-such-body') == 400
    other = encode(payments[300].transaction).replace(
        payments[300].transaction.event_id.encode(), sent[0].transaction.event_id.encode()
    )
    assert running.post("/fraud/score", other) == 409
    slow = encode(payments[301].transaction)
    assert running.stack.redis is not None
    os.kill(running.stack.redis.pid, signal.SIGSTOP)
    try:
        assert running.post("/fraud/score", slow, **{"x-deadline-ms": "20"}) == 200
        # A Redis that hangs takes its own metrics away, a second later, and no others. Each part has its time, which
        # a busy machine may need for something else: it is asked again, for as long as Redis hangs.
        found: Samples = {}
        until = time.monotonic() + LIMIT_S
        while not hanging(found) and time.monotonic() < until:
            found = running.scraped()
    finally:
        os.kill(running.stack.redis.pid, signal.SIGCONT)
    assert hanging(found)
    assert found["headrace_skew_report"]["fraud",] == 0
    until = time.monotonic() + LIMIT_S
    while "online store" not in running.log.read_text() and time.monotonic() < until:
        time.sleep(0.1)
    lines = running.log.read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert lines and all({"time", "level", "room", "logger", "message"} <= record.keys() for record in records)
    (remark,) = [record for record in records if "online store" in record.get("degraded", ())]
    assert (remark["level"], remark["room"], remark["use_case"]) == ("warning", "scoring", "fraud")
    assert remark["took_ms"] > 0 and remark["stages_us"]
    text = "\n".join(lines)
    for one in (*sent, payments[300], payments[301]):
        assert not [found for found in ids_in(one) if found in text]
    assert "no-such-body" not in text and "much" not in text


def test_what_a_process_counted_before_it_died_still_counts(running: Running) -> None:
    files = list((running.stack.home / "bentoml").rglob("headrace/*-*.counts"))
    (victim, _) = files
    for _ in range(2):  # A kill loses what came since a process told the others, and the first may have begun before.
        tell_the_others(files)
    before = running.counted()
    os.kill(int(victim.name.partition("-")[0]), signal.SIGKILL)
    until = time.monotonic() + LIMIT_S
    after: Samples = {}
    while (victim.exists() or not after.keys() >= COUNTED) and time.monotonic() < until:
        with suppress(OSError, http.client.HTTPException):  # it may have been the one that was asked
            after = running.scraped()
    assert not victim.exists()
    assert after["headrace_outcomes_total"] == before["headrace_outcomes_total"]
    assert after["headrace_stage_seconds_count"] == before["headrace_stage_seconds_count"]


def tell_the_others(files: list[Path]) -> None:
    """Wait until each process has written what it counted, as it does once a second."""
    asked_ns, until = time.time_ns(), time.monotonic() + LIMIT_S
    while any(file.stat().st_mtime_ns <= asked_ns for file in files):
        assert time.monotonic() < until
        time.sleep(0.05)


def ids_in(played: Played) -> list[str]:
    """What must not be found outside of the records."""
    one = played.transaction
    return [str(found) for found in (one.event_id, one.card_id, one.merchant_id, one.device_id) if found]
