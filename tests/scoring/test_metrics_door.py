"""Who asks for some samples is answered at the front door, who asks for anything else by BentoML."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any
from urllib.parse import urlencode

import pytest

from review.series_table import WANTED
from scoring.asgi import Message, Receive, Scope, Send
from scoring.front_door import FrontDoor
from scoring.gate import Gate
from scoring.metrics_door import NAMES_LIMIT, names_in
from tests.scoring.test_gate import Headers, Site, bearer

SOME = urlencode([("name[]", "headrace_model"), ("name[]", "headrace_outcomes_total")]).encode()


class Tells:
    def some(self, names: Collection[str]) -> str:
        return "".join(f"{name} 1.0\n" for name in sorted(names))


class Routes:
    """Of the API, what the front door looks at before it comes to metrics."""

    routes = frozenset({"/fraud/score"})
    batch_route = "/fraud/score/batch"


async def bentoml(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"all of it"})


def front(takes_records: bool = True, tells: bool = True) -> FrontDoor:
    api: Any = Routes()
    return FrontDoor(
        bentoml, lambda: api, 4096, takes_records=takes_records, telling=lambda: Tells() if tells else None
    )


def asked(
    app: FrontDoor | Gate, query: bytes, headers: Headers | None = None, method: str = "GET"
) -> tuple[int, dict[bytes, bytes], bytes]:
    """Status, headers and body of a request for /metrics."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "path": "/metrics", "method": method, "headers": headers or [], "query_string": query}
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


def test_who_names_samples_is_told_these_as_prometheus_text() -> None:
    status, headers, body = asked(front(), SOME)
    assert (status, body) == (200, b"headrace_model 1.0\nheadrace_outcomes_total 1.0\n")
    assert headers[b"content-type"].startswith(b"text/plain; version=0.0.4")
    assert headers[b"content-length"] == str(len(body)).encode()


@pytest.mark.parametrize(
    "query",
    [
        b"",
        b"name[]=bentoml_request_total",
        SOME + b"&name[]=process_cpu_seconds_total",
        SOME + b"&format=x",
        b"name[]=",
    ],
    ids=["all", "another's", "another's too", "another question", "no name"],
)
def test_any_other_question_is_bentomls(query: bytes) -> None:
    assert asked(front(), query)[2] == b"all of it"


def test_without_a_front_door_or_before_the_service_has_begun_bentoml_answers() -> None:
    assert asked(front(takes_records=False), SOME)[2] == b"all of it"
    assert asked(front(tells=False), SOME)[2] == b"all of it"
    assert asked(front(), SOME, method="POST")[2] == b"all of it"


def test_what_the_dashboard_asks_is_answered_here() -> None:
    query = urlencode([("name[]", name) for name in WANTED]).encode()
    assert names_in(query) == WANTED
    assert names_in(query * NAMES_LIMIT) == frozenset(), "a question has a bound"


def test_the_gate_asks_for_the_scope_of_metrics(redis_db: str) -> None:
    site = Site(redis_db)
    gate = Gate(front(), site.feed)
    may, may_not = site.key("metrics:read"), site.key("fraud:score")
    assert asked(gate, SOME)[0] == 401
    assert asked(gate, SOME, bearer(may_not))[0] == 403
    assert asked(gate, SOME, bearer(may))[2].startswith(b"headrace_model")
    site.feed.stop()
    site.log.connection.close()
