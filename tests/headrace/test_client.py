"""The clients against servers that misbehave in one way each; `tests/scenarios/test_client.py` has the real service."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from headrace.client import (
    Answered,
    AsyncHeadraceClient,
    Decision,
    EventConflict,
    HeadraceClient,
    InvalidRequest,
    Label,
    Refused,
    Transaction,
    Unavailable,
    UnexpectedAnswer,
)
from headrace.client_call import TRIES, Call
from scoring.examples import LABEL_EXAMPLE
from scoring.openapi import DECISION_EXAMPLE, REFUSALS
from stream.records import convert

AT = datetime(2026, 1, 31, 12, tzinfo=UTC)
PAYMENT = Transaction(event_id="tx-1001", event_timestamp=AT, card_id="c", merchant_id="m", amount=129.9)
LABEL = Label(event_id="tx-1001", label="fraud", labelled_at=AT)
Reply = tuple[int, Any] | tuple[int, Any, dict[str, str]] | Exception
Ask = Callable[..., Any]
GOOD: Reply = (200, DECISION_EXAMPLE)
PATIENT_MS = 60_000.0
"""Of a call whose test is not about its time: a busy machine may hold this process up for more than a second."""


class Server:
    """Answers each request with the next of its replies, the last one for ever."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, Exception):
            raise reply
        status, body, headers = (*reply, {})[:3]
        return httpx.Response(status, json=body, headers=headers)


def call_sync(target: str | Server, name: str, *arguments: Any, **options: Any) -> Any:
    transport = None if isinstance(target, str) else httpx.MockTransport(target)
    url = target if isinstance(target, str) else "http://test"
    with HeadraceClient(url, transport=transport, deadline_ms=PATIENT_MS) as client:
        return getattr(client, name)(*arguments, **options)


def call_async(target: str | Server, name: str, *arguments: Any, **options: Any) -> Any:
    async def main() -> Any:
        transport = None if isinstance(target, str) else httpx.MockTransport(target)
        url = target if isinstance(target, str) else "http://test"
        async with AsyncHeadraceClient(url, transport=transport, deadline_ms=PATIENT_MS) as client:
            return await getattr(client, name)(*arguments, **options)

    return asyncio.run(main())


@pytest.fixture(params=[call_sync, call_async], ids=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    found: Ask = request.param
    return found


def test_answers_are_typed(ask: Ask) -> None:
    decision = ask(Server(GOOD), "score", PAYMENT)
    assert isinstance(decision, Decision)
    assert (decision.outcome, decision.record.event_id, decision.vector) == ("review", "tx-1001", [1.0, None])
    accepted = {"event_id": "tx-1001", "status": "accepted"}
    assert ask(Server((202, accepted)), "event", PAYMENT) is True
    assert ask(Server((202, accepted | {"status": "repeated"})), "label", LABEL) is False
    assert ask(Server((404, REFUSALS[404][1])), "decision", "a/b") is None


def test_an_id_is_one_part_of_the_path(ask: Ask) -> None:
    server = Server(GOOD)
    ask(server, "decision", "a/b?c")
    assert server.requests[0].url.raw_path == b"/decisions/a%2Fb%3Fc"


def test_a_newer_service_may_say_more(ask: Ask) -> None:
    newer = DECISION_EXAMPLE | {"mood": "good", "record": DECISION_EXAMPLE["record"] | {"mood": "bad"}}
    assert ask(Server((200, newer)), "score", PAYMENT).outcome == "review"


@pytest.mark.parametrize(
    ("status", "kind"), [(400, InvalidRequest), (413, InvalidRequest), (409, EventConflict), (404, Refused)]
)
def test_a_refusal_is_raised_once_with_what_is_to_be_done(ask: Ask, status: int, kind: type[Refused]) -> None:
    server = Server((status, REFUSALS[status][1]))
    with pytest.raises(kind) as caught:
        ask(server, "score", PAYMENT)
    assert len(server.requests) == 1
    assert str(caught.value) == REFUSALS[status][1]["message"]
    assert caught.value.status == status
    if status == 400:
        assert (caught.value.field, caught.value.value, caught.value.remedy) == (
            "amount",
            "-1",
            "expected float >= 0.0",
        )


@pytest.mark.parametrize("reply", [(500, {"detail": "oops"}), (404, "not here"), (200, {"hello": "world"}), (302, {})])
def test_another_servers_answer_is_not_taken_for_ours(ask: Ask, reply: Reply) -> None:
    server = Server(reply)
    with pytest.raises(UnexpectedAnswer):
        ask(server, "score", PAYMENT)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "first",
    [
        (503, REFUSALS[503][1]),
        (502, "a proxy"),
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("late"),
        httpx.RemoteProtocolError("closed"),
    ],
    ids=str,
)
def test_what_may_pass_is_tried_again_with_the_same_bytes(ask: Ask, first: Reply) -> None:
    server = Server(first, first, GOOD)
    assert ask(server, "score", PAYMENT).event_id == "tx-1001"
    assert len({request.content for request in server.requests}) == 1
    assert json.loads(server.requests[0].content)["event_id"] == "tx-1001"
    assert len(server.requests) == 3


def test_tries_are_bounded_and_the_last_reason_is_told(ask: Ask) -> None:
    server = Server((503, REFUSALS[503][1]))
    with pytest.raises(Unavailable, match=f"within 50000 ms and {TRIES} tries; the last: 503: Redis") as caught:
        ask(server, "score", PAYMENT, deadline_ms=50_000)
    assert caught.value.tries == len(server.requests) == TRIES


def test_each_attempt_has_half_of_what_is_left_the_last_one_all_of_it_and_the_service_is_told() -> None:
    now = [0.0]
    call = Call(8000, lambda: now[0])
    attempts = []
    for _ in range(TRIES):
        attempts.append(call.attempt_s())
        now[0] += attempts[-1]
    assert attempts == [4, 2, 1, 1]
    assert [call.header(attempt_s) for attempt_s in attempts] == ["3600", "1800", "900", "900"]
    assert [call.header(attempt_s) for attempt_s in (60, 0.0001)] == ["10000", "1"]
    with pytest.raises(Unavailable):
        call.attempt_s()


def test_retry_after_is_waited_for_where_the_time_allows(ask: Ask) -> None:
    started = time.monotonic()
    server = Server((503, REFUSALS[503][1], {"retry-after": "1"}), GOOD)
    ask(server, "score", PAYMENT, deadline_ms=30_000)
    assert time.monotonic() - started >= 1.0
    started = time.monotonic()
    server = Server((503, REFUSALS[503][1], {"retry-after": "60"}), GOOD)
    with pytest.raises(Unavailable) as caught:
        ask(server, "score", PAYMENT, deadline_ms=50_000)
    assert caught.value.retry_after_s == 60.0
    assert time.monotonic() - started < 40  # no use in waiting for what comes too late


def test_pauses_grow_and_differ() -> None:
    def pauses() -> list[float]:
        call, found = Call(100_000), []
        for _ in range(TRIES - 1):
            call.attempt_s()
            found.append(call.pause_s())
        return found

    first, second = pauses(), pauses()
    assert first != second
    for number, pause in enumerate(first):
        assert 0.005 * 2**number <= pause <= 0.01 * 2**number


def test_a_batch_is_answered_in_its_places_and_only_what_waits_is_sent_again(ask: Ask) -> None:
    good = {"status": 200, "decision": DECISION_EXAMPLE}
    bad = {"status": 400, "refusal": REFUSALS[400][1]}
    late = {"status": 503, "refusal": REFUSALS[503][1]}
    server = Server((200, [good, late, bad]), (200, [good]))
    answers: list[Answered] = ask(server, "score_batch", [PAYMENT, PAYMENT, PAYMENT])
    assert [type(answer) for answer in answers] == [Decision, Decision, InvalidRequest]
    assert [len(json.loads(request.content)) for request in server.requests] == [3, 1]


def test_a_batch_keeps_what_it_has_when_its_time_is_over(ask: Ask) -> None:
    items = [{"status": 200, "decision": DECISION_EXAMPLE}, {"status": 503, "refusal": REFUSALS[503][1]}]
    answers = ask(Server((200, items), httpx.ConnectError("gone")), "score_batch", [PAYMENT, PAYMENT])
    assert [type(answer) for answer in answers] == [Decision, Unavailable]
    with pytest.raises(Unavailable):
        ask(Server(httpx.ConnectError("gone")), "score_batch", [PAYMENT])


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server whose every connection is handled by a function, in a thread."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    link, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(link,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def silent(link: socket.socket) -> None:
    with link:
        time.sleep(120)


def trickling(link: socket.socket) -> None:
    with link:
        link.recv(65536)
        try:
            link.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 12000\r\n\r\n")
            for _ in range(12_000):
                link.sendall(b" ")
                time.sleep(0.01)
        except OSError:
            pass  # it has gone


@pytest.mark.parametrize("serve", [silent, trickling])
def test_the_time_is_kept_whatever_the_server_does(ask: Ask, serve: Callable[[socket.socket], None]) -> None:
    with listening(serve) as url:
        started = time.monotonic()
        with pytest.raises(Unavailable, match="within 400 ms"):
            ask(url, "score", PAYMENT, deadline_ms=400)
        assert 0.1 < time.monotonic() - started < 60  # the server would take two minutes; machines are busy


def test_a_connection_is_used_again_and_a_closed_one_is_opened_anew() -> None:
    class Page(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        connections: set[Any] = set()  # noqa: RUF012 -- of this test
        closes = False

        def do_POST(self) -> None:
            Page.connections.add(self.client_address)
            self.rfile.read(int(self.headers["content-length"]))
            body = json.dumps(DECISION_EXAMPLE).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = Page.closes  # without a word, as a server that restarts

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with HeadraceClient(f"http://127.0.0.1:{server.server_port}", deadline_ms=60_000) as client:
            for _ in range(20):
                client.score(PAYMENT)
            assert len(Page.connections) == 1
            Page.closes = True
            for _ in range(5):
                client.score(PAYMENT)
            assert len(Page.connections) > 1
        server.shutdown()


def test_a_deadline_that_is_none_is_refused(ask: Ask) -> None:
    with pytest.raises(ValueError, match="deadline_ms is 0"):
        ask(Server(GOOD), "score", PAYMENT, deadline_ms=0)


def test_examples_are_records() -> None:
    assert convert(LABEL_EXAMPLE, Label).label == "fraud"


BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ROOMS:
            raise ImportError(f"the client wants {name}")
ROOMS = {"numpy", "redis", "hiredis", "bentoml", "feast", "kafka", "onnxruntime", "river", "pydantic", "duckdb",
         "numba", "starlette", "prometheus_client", "pyarrow", "scoring", "features", "models", "training", "review"}
sys.meta_path.insert(0, Blocked())
import headrace.client
assert not ROOMS & {name.partition(".")[0] for name in sys.modules}
"""


def test_the_client_needs_nothing_of_the_server() -> None:
    subprocess.run([sys.executable, "-c", BLOCKED], check=True, timeout=240)
