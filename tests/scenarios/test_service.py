"""The real BentoML service, as `headrace serve` starts it: its pages, hostile bodies, and its end."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import time
from contextlib import closing
from urllib.parse import urlsplit

import psutil
import pytest

from headrace.stack import Stack
from stream.played import Played
from stream.records import encode

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("stack")]

END_LIMIT_S = 8.0
HOSTILE = [
    b"",
    b"{",
    b"\xff\xfe",
    b"null",
    b"[" * 30_000,
    b'{"type":"transaction","event_id":' + b"[" * 30_000,
    b'{"type":"transaction","amount":1e999}',
    b'{"type":"transaction","amount":NaN}',
    b'{"type":"transaction","amount":' + b"9" * 10_000 + b"}",
    b'{"type":"decision"}',
    b" " * 200_000,
]


def ask(url: str, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    """One request over a connection of its own."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    with closing(http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)) as link:
        link.request(method, path, body, {"content-type": "application/json", "x-deadline-ms": "9000"})
        with link.getresponse() as answer:
            return answer.status, answer.read()


def test_the_service_serves_documents_withstands_and_ends(stack: Stack, payments: list[Played]) -> None:
    url = stack.start_service()
    it_answers(url, encode(payments[0].transaction), payments[0].transaction.event_id)
    it_documents_itself(url)
    it_withstands_hostile_bodies(url, encode(payments[1].transaction))
    it_ends_and_leaves_nothing(stack, url)


def test_without_the_front_door_bentoml_answers_alike(stack: Stack, payments: list[Played]) -> None:
    stack.settings = stack.settings.but(front_door="off")
    url = stack.start_service()
    body = json.loads(encode(payments[0].transaction))
    status, answer = ask(url, "POST", "/fraud/score", json.dumps(body).encode())
    assert (status, json.loads(answer)["degraded"]) == (200, []), answer
    assert ask(url, "POST", "/fraud/score", json.dumps(body).encode())[0] == 200
    for wrong in ({"amount": str(body["amount"])}, {"amont": 1}, {"event_timestamp": "2026-01-31T12:00:00"}):
        status, answer = ask(url, "POST", "/fraud/score", json.dumps(body | wrong).encode())
        assert 400 <= status < 500, answer
    assert ask(url, "POST", "/fraud/score", json.dumps(body | {"amount": 0.5}).encode())[0] == 409
    # What BentoML cannot express is served all the same.
    assert ask(url, "GET", f"/decisions/{body['event_id']}")[0] == 200
    status, answer = ask(url, "POST", "/fraud/score/batch", json.dumps([body, 7]).encode())
    assert (status, [item["status"] for item in json.loads(answer)]) == (200, [200, 400])


def it_answers(url: str, body: bytes, event_id: str) -> None:
    assert ask(url, "GET", "/livez")[0] == 200
    assert ask(url, "GET", "/readyz")[0] == 200
    status, answer = ask(url, "POST", "/fraud/score", body)
    assert status == 200, answer
    assert ask(url, "POST", "/fraud/score", body) == (200, answer)
    assert ask(url, "GET", f"/decisions/{event_id}") == (200, answer)
    assert ask(url, "GET", "/decisions/nobody")[0] == 404
    status, explained = ask(url, "GET", f"/explanations/{event_id}")
    assert status == 200, explained
    parts = json.loads(explained)
    added = sum(one["contribution"] for one in parts["contributions"])
    assert abs(added - (parts["margin"] - parts["base"])) < 1e-6
    assert json.loads(answer)["degraded"] == []


def it_documents_itself(url: str) -> None:
    status, metrics = ask(url, "GET", "/metrics")
    assert status == 200
    assert b"headrace_requests" in metrics
    status, page = ask(url, "GET", "/docs.json")
    assert status == 200
    documented = json.loads(page)
    assert documented["openapi"] == "3.1.0"
    for path in ("/fraud/score", "/fraud/score/batch", "/events", "/labels"):
        assert "post" in documented["paths"][path]
    for path in ("/decisions/{event_id}", "/livez"):
        assert "get" in documented["paths"][path]


def it_withstands_hostile_bodies(url: str, good: bytes) -> None:
    for path in ("/fraud/score", "/events", "/labels"):
        for body in HOSTILE:
            status, answer = ask(url, "POST", path, body)
            assert 400 <= status < 500, (path, body[:50], status, answer[:200])
    status, answer = ask(url, "POST", "/fraud/score", good)
    assert (status, json.loads(answer)["degraded"]) == (200, [])


def it_ends_and_leaves_nothing(stack: Stack, url: str) -> None:
    service = stack.children["service"]
    family = psutil.Process(service.pid).children(recursive=True)
    started = time.monotonic()
    psutil.Process(service.pid).send_signal(signal.SIGTERM)
    assert service.wait(END_LIMIT_S), service.log_tail()
    _, alive = psutil.wait_procs(family, timeout=max(0.1, END_LIMIT_S - (time.monotonic() - started)))
    assert alive == []
    parts = urlsplit(url)
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((parts.hostname, parts.port))
