"""The table "When things go wrong" of docs/operations.md, over HTTP: the real service when Redis goes, when it is
killed itself, and when more comes than it can answer."""

from __future__ import annotations

import http.client
import json
import signal
import threading
import time
from collections import Counter
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from headrace.stack import Stack
from stream.log import Partition
from stream.played import Played
from stream.records import encode
from stream.redis_log import RedisLog
from tests.scenarios.served import until

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("stack")]

CLIENTS = 100
EACH = 5
Answered = tuple[int, dict[str, str], bytes]


def ask(url: str, method: str, path: str, body: bytes | None = None, deadline_ms: int | None = None) -> Answered:
    """One request over a connection of its own."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    headers = {"content-type": "application/json"} | ({"x-deadline-ms": str(deadline_ms)} if deadline_ms else {})
    with closing(http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)) as link:
        link.request(method, path, body, headers)
        with link.getresponse() as answer:
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def degraded(answer: Answered) -> list[str]:
    assert answer[0] == 200, answer
    found: list[str] = json.loads(answer[2])["degraded"]
    return found


def metric(url: str, name: str) -> float:
    """The value of a metric without labels, or the largest of one with the process number as its label."""
    lines = ask(url, "GET", "/metrics")[2].decode().splitlines()
    return max(float(line.split()[-1]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))


def logged(stack: Stack, topic: str) -> Counter[str]:
    with closing(RedisLog(stack.settings.redis, partitions=stack.settings.partitions)) as log:
        parts = [Partition(topic, number) for number in range(stack.settings.partitions)]
        return Counter(json.loads(one.value)["event_id"] for part in parts for one in log.read(part, 0, 100_000))


def test_redis_gone_then_the_service_killed_loses_no_answer(stack: Stack, payments: list[Played]) -> None:
    stack.settings = stack.settings.but(appendfsync="always", deadline="200ms")
    url = stack.start_service()
    bodies = [encode(one.transaction) for one in payments[:40]]
    ids = [one.transaction.event_id for one in payments[:40]]
    assert degraded(ask(url, "POST", "/fraud/score", bodies[0], 5000)) == []
    assert metric(url, "headrace_breaker_state") == 0.0
    assert stack.redis is not None

    # 1. Redis goes: everybody is answered, and nobody waits for it.
    redis = psutil.Process(stack.redis.pid)
    redis.send_signal(signal.SIGSTOP)
    away = [ask(url, "POST", "/fraud/score", body) for body in bodies[1:21]]
    assert {tuple(degraded(answer)) for answer in away} == {("online store", "not recorded yet")}
    assert ask(url, "GET", "/readyz")[0] == 200
    assert metric(url, "headrace_breaker_state") == 2.0
    assert metric(url, "headrace_spool_waiting") == 20.0
    refused = ask(url, "POST", "/events", bodies[21])
    assert (refused[0], refused[1]["retry-after"]) == (503, "1")

    # 2. The service is killed too; both come back.
    stack.children["service"].kill()
    redis.send_signal(signal.SIGCONT)
    url = stack.start_service()
    until(lambda: len(logged(stack, "decisions")) == 21, "the record of all answers")
    for event_id, answer in zip(ids[1:21], away, strict=True):
        status, _, kept = ask(url, "GET", f"/decisions/{event_id}")
        told = json.loads(answer[2])
        told["degraded"].remove("not recorded yet")
        assert (status, json.loads(kept)) == (200, told)

    # 3. It goes on by itself.
    assert degraded(ask(url, "POST", "/fraud/score", bodies[21], 5000)) == []
    assert logged(stack, "decisions") == dict.fromkeys(ids[:22], 1)
    assert list((stack.home / "spool" / "fraud").glob("*.spool")) == []

    # 4. A flood, on the same service.
    it_answers_a_flood_in_time(stack, url, payments[100:700])


def it_answers_a_flood_in_time(stack: Stack, url: str, payments: list[Played]) -> None:
    """A hundred clients at once, each with its next request as soon as it has an answer."""
    answers: list[tuple[str, Answered, float]] = []
    turns: dict[int, list[Any]] = {
        client: [one.transaction for one in payments[client * EACH : (client + 1) * EACH]] for client in range(CLIENTS)
    }
    start = threading.Barrier(CLIENTS)

    def client(number: int) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        with closing(http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)) as link:
            link.connect()
            start.wait(30)
            for transaction in turns[number]:
                began_s = time.monotonic()
                link.request("POST", "/fraud/score", encode(transaction), {"x-deadline-ms": "10"})
                with link.getresponse() as answer:
                    headers = {name.lower(): value for name, value in answer.getheaders()}
                    found = (answer.status, headers, answer.read())
                answers.append((transaction.event_id, found, time.monotonic() - began_s))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(answers) == CLIENTS * EACH
    statuses = Counter(answer[0] for _, answer, _ in answers)
    assert set(statuses) == {200, 503}, statuses
    for _, answer, _ in answers:
        if answer[0] == 503:
            assert answer[1]["retry-after"] == "1"
            assert json.loads(answer[2])["error"] == "overloaded"
    scored = {event_id for event_id, answer, _ in answers if answer[0] == 200}
    assert max(taken_s for _, _, taken_s in answers) < 10.0
    # What was refused was not recorded; what was answered is there once; and whoever comes again is answered.
    until(lambda: set(logged(stack, "decisions")) >= scored, "the record of all answers")
    found = logged(stack, "decisions")
    assert all(found[event_id] == (1 if event_id in scored else 0) for event_id, _, _ in answers)
    refused = next(event_id for event_id, answer, _ in answers if answer[0] == 503)
    again = next(one.transaction for one in payments if one.transaction.event_id == refused)
    assert degraded(ask(url, "POST", "/fraud/score", encode(again), 5000)) == []
