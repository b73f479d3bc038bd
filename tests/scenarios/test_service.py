"""The real BentoML service, as `headrace serve` starts it: its pages, hostile bodies, and its end."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from headrace.stack import Stack
from review.account import Caller
from review.accounts import Accounts
from review.case_store import CaseStore
from stream.played import Played
from stream.records import encode
from tests import patient
from tests.patient import SOCKET_LIMIT_S
from tests.review.office import CHEAP
from tests.scenarios.documented import every_answer_is_as_documented
from tests.until import until

pytestmark = pytest.mark.slow

END_LIMIT_S = 120.0
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
    """One request, as often as it is refused for now."""
    status, _, content = patient.ask(url, method, path, body)
    return status, content


def test_the_service_serves_documents_withstands_and_ends(stack: Stack, payments: list[Played], tmp_path: Path) -> None:
    stack.settings = stack.settings.but(review_pages="on")
    url = stack.start_service()
    it_answers(url, encode(payments[0].transaction), payments[0].transaction.event_id)
    session = it_serves_the_pages_beside_the_api(stack, url, encode(payments[2].transaction))
    it_documents_itself(url)
    every_answer_is_as_documented(url, tmp_path)
    it_withstands_hostile_bodies(url, encode(payments[1].transaction))
    with open_stream(url, session):
        it_ends_and_leaves_nothing(stack, url)


def test_without_the_front_door_and_without_a_database_of_cases_it_answers_alike(
    stack: Stack, payments: list[Played]
) -> None:
    absent = stack.settings.home / "absent"
    cases = f"sqlite:///{(absent / 'review.sqlite').resolve()}"
    stack.settings = stack.settings.but(front_door="off", review_pages="on", cases=cases)
    url = stack.start_service()
    with httpx.Client(base_url=url, timeout=SOCKET_LIMIT_S, headers={"accept": "text/html"}) as stranger:
        page = stranger.get("/review")
    assert (page.status_code, "Scoring goes on without it" in page.text) == (503, True)
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
    absent.mkdir()
    with httpx.Client(base_url=url, timeout=SOCKET_LIMIT_S, headers={"accept": "text/html"}) as stranger:
        until(lambda: stranger.get("/review").status_code == 303, "the pages, once there is a place for their store")


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


def it_serves_the_pages_beside_the_api(stack: Stack, url: str, payment: bytes) -> dict[str, str]:
    with closing(CaseStore(stack.settings.home / "review.sqlite")) as cases:
        accounts, now = Accounts(cases.database, CHEAP), datetime.now(UTC)
        token = accounts.invite("ann", "analyst", "test", now)
        signed_in = accounts.links.use(token, "ann", "a long password of hers", Caller("127.0.0.1", "", ""), now)
    cookies, cookie = {"headrace-session": signed_in.session}, f"headrace-session={signed_in.session}"
    with httpx.Client(base_url=url, timeout=SOCKET_LIMIT_S, headers={"accept": "text/html"}) as stranger:
        assert stranger.get("/review").headers["location"] == "/sign-in?next=/review"
        page = stranger.get("/sign-in")
        assert (page.status_code, "Sign in" in page.text) == (200, True)
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    with httpx.Client(base_url=url, timeout=SOCKET_LIMIT_S, headers={"accept": "text/html"}, cookies=cookies) as ann:
        assert ann.get("/review").status_code == 200
        assert "HEADRACE_REVIEW_SERVICE" not in ann.get("/").text
        # The numbers are the service's own: nobody named it.
        until(lambda: "events_per_s" in ann.get("/dashboard/series?name=events_per_s").json()["v"], "the first look")
        answer = patient.ask(url, "POST", "/fraud/score", payment, patient.HEADERS | {"cookie": cookie})
        assert (answer.status, "content-security-policy" in answer.headers) == (200, False)
        assert ann.get("/metrics").headers["content-type"].startswith("text/plain")
    return cookies


@contextmanager
def open_stream(url: str, cookies: dict[str, str]) -> Iterator[None]:
    """An open dashboard, which asks for nothing more and stays."""
    headers = {"accept": "text/event-stream"}
    with (
        httpx.Client(base_url=url, timeout=SOCKET_LIMIT_S, cookies=cookies, headers=headers) as client,
        client.stream("GET", "/dashboard/events") as answer,
    ):
        assert next(answer.iter_bytes())
        yield


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
