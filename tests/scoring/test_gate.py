"""The gate: who is let through, and what everybody else is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from prometheus_client import REGISTRY

from scoring.asgi import Message, Receive, Scope, Send
from scoring.batch_door import Bounds
from scoring.gate import CALLER, Gate
from scoring.key import NewKey, new_key
from scoring.key_feed import KeyFeed
from scoring.key_log import KeyLog
from scoring.key_scopes import SCOPES, asked_by
from scoring.key_steps import Created
from scoring.openapi import Refusal, paths_of
from scoring.openapi_keys import REFUSALS
from stream.connection import RedisConnection

SCORE, BATCH = "/fraud/score", "/fraud/score/batch"
BOUNDS = Bounds(records=50, body_bytes=2000)
Headers = list[tuple[bytes, bytes]]


class Behind:
    """The application behind the gate: answers 200, and keeps what came to it."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.callers: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.bodies.append(body)
        self.callers.append(scope.get(CALLER, ""))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})


class Site:
    """A gate over real keys in a real Redis, and what is behind it."""

    def __init__(self, redis: str) -> None:
        self.log = KeyLog(RedisConnection(redis))
        self.feed = KeyFeed(KeyLog(RedisConnection(redis)))
        self.behind = Behind()
        self.gate = Gate(self.behind, self.feed, BOUNDS)

    def key(self, *scopes: str, **more: Any) -> NewKey:
        made = new_key()
        now = datetime.now(UTC)
        self.log.append(Created(at=now, by="ann", key=made.id, name="shop", digest=made.digest, scopes=scopes, **more))
        self.feed.refresh()
        return made

    def ask(
        self, path: str, headers: Headers | None = None, body: bytes = b"{}", method: str = "POST", parts: int = 1
    ) -> tuple[int, dict[bytes, bytes], dict[str, Any]]:
        """Status, headers and content of the answer."""
        size = max(1, -(-len(body) // parts))
        pieces = [body[at : at + size] for at in range(0, len(body), size)] or [b""]
        last = len(pieces) - 1
        messages = [{"type": "http.request", "body": one, "more_body": at < last} for at, one in enumerate(pieces)]
        sent: list[Message] = []

        async def receive() -> Message:
            return messages.pop(0) if messages else {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            sent.append(message)

        scope = {"type": "http", "path": path, "method": method, "headers": headers or []}
        asyncio.run(self.gate(scope, receive, send))
        return sent[0]["status"], dict(sent[0]["headers"]), json.loads(sent[1]["body"])


def bearer(key: NewKey) -> Headers:
    return [(b"authorization", b"Bearer " + key.text.encode())]


@pytest.fixture
def site(redis_db: str) -> Iterator[Site]:
    site = Site(redis_db)
    yield site
    site.feed.stop()
    site.log.connection.close()


def test_without_a_key_only_health_is_answered(site: Site) -> None:
    site.key("*:*")
    for path in ("/livez", "/readyz", "/healthz"):
        assert site.ask(path, method="GET")[0] == 200
    for path in (
        SCORE,
        BATCH,
        "/events",
        "/labels",
        "/decisions/a",
        "/metrics",
        "/docs.json",
        "/",
        "/nowhere",
        "/livez/",
    ):
        status, headers, content = site.ask(path)
        assert (status, content["error"]) == (401, "unauthorised"), path
        assert headers[b"www-authenticate"].startswith(b"Bearer")
        assert "Authorization" in content["remedy"]


def test_a_key_is_let_through_by_either_header_with_its_body_untouched(site: Site) -> None:
    key = site.key("fraud:score", body_limit=1000, rate_per_s=100.0, burst=100)
    text = key.text.encode()
    body = b'[{"a": 1}, {"b": "' + b"x" * 500 + b'"}]'
    for headers in (bearer(key), [(b"authorization", b"bearer  " + text)], [(b"x-api-key", text)]):
        for path in (SCORE, BATCH):
            assert site.ask(path, headers, body, parts=7)[0] == 200
    assert site.behind.bodies == [body] * 6
    assert site.behind.callers == [key.id] * 6


def test_a_key_without_the_scope_is_told_which(site: Site) -> None:
    key = site.key("events:*")
    assert site.ask("/events", bearer(key))[0] == 200
    for path, scope in {SCORE: "fraud:score", "/metrics": "metrics:read", "/decisions/x": "fraud:read"}.items():
        status, _, content = site.ask(path, bearer(key))
        assert (status, content["value"]) == (403, scope)
        assert f"--scope {scope}" in content["remedy"]


def test_an_unknown_path_is_404_for_a_key_only(site: Site) -> None:
    key = site.key("*:*")
    for path in ("/nowhere", "/fraud/score/", "//fraud/score", "/fraud/score/submit", "/decisions", ""):
        assert site.ask(path, bearer(key))[0] == 404, path
        assert site.ask(path)[0] == 401, path
    assert site.behind.bodies == []


def test_every_documented_path_has_its_scope() -> None:
    for path in paths_of("fraud"):
        assert asked_by(path) in SCOPES, path


def test_keys_that_are_none_are_refused_whatever_they_are_made_of(site: Site) -> None:
    key = site.key("*:*")
    good, text = bearer(key)[0], key.text.encode()
    wrong: list[Headers] = [
        [(b"authorization", b"")],
        [(b"authorization", b"Bearer")],
        [(b"authorization", text)],
        [(b"authorization", b"Basic " + text)],
        [(b"authorization", b"Bearer " + text[:-1])],
        [(b"authorization", b"Bearer " + text + b"0")],
        [(b"authorization", b"Bearer " + text.upper())],
        [(b"authorization", b"Bearer \xff\xfe\x00" + b"\xf0" * 100)],
        [(b"authorization", b"Bearer " + b"a" * 60_000)],
        [(b"x-api-key", b"")],
        [(b"x-api-key", text + b", " + text)],
        [good, good],
        [good, (b"x-api-key", text)],
        [(b"x-api-key", text), good],
    ]
    for headers in wrong:
        status, _, content = site.ask(SCORE, headers)
        assert (status, content["error"]) == (401, "unauthorised"), headers
        assert text.rpartition(b"_")[2].decode() not in json.dumps(content)
    assert site.behind.bodies == []


def test_a_body_beyond_the_keys_limit_is_413_however_it_is_sent(site: Site) -> None:
    key = site.key("fraud:score", body_limit=100)
    long, good = b'"' + b"x" * 99 + b'"', b'"' + b"x" * 98 + b'"'
    for path in (SCORE, BATCH):
        for parts in (1, 9):
            assert site.ask(path, bearer(key), long, parts=parts)[0] == 413
            assert site.ask(path, bearer(key), good, parts=parts)[0] == 200
        declared = [*bearer(key), (b"content-length", b"101")]
        assert site.ask(path, declared, good)[0] == 413
        lied = [*bearer(key), (b"content-length", b"-7")]
        assert site.ask(path, lied, long)[0] == 413
    assert set(site.behind.bodies) == {good}


def test_a_rate_is_kept_and_a_batch_counts_its_records(site: Site) -> None:
    key = site.key("fraud:*", rate_per_s=0.001, burst=10)
    assert [site.ask(SCORE, bearer(key))[0] for _ in range(4)] == [200] * 4
    assert site.ask(BATCH, bearer(key), b"[1,2,3,4]")[0] == 200
    lines = [*bearer(key), (b"content-type", b"application/x-ndjson; charset=utf-8")]
    status, headers, content = site.ask(BATCH, lines, b"1\n2\n\n3\n")
    assert (status, content["error"], headers[b"retry-after"]) == (429, "too many requests", b"3000")
    assert site.ask(BATCH, lines, b"1\n2\n")[0] == 200
    assert site.ask("/decisions/x", bearer(key), b"", "GET")[0] == 429
    assert site.ask(BATCH, bearer(key), b"[" + b"1," * 10 + b"1]")[0] == 413


def test_a_batch_that_is_refused_whole_costs_one(site: Site) -> None:
    key = site.key("fraud:*", rate_per_s=0.001, burst=10)
    for body in (b"{", b"[]", b"[" + b"1," * 50 + b"1]", b" " * 3000):
        assert site.ask(BATCH, bearer(key), body)[0] == 200  # behind the gate it is refused
    assert site.ask(BATCH, bearer(key), b"[1,2,3,4,5,6,7]")[0] == 429
    assert site.ask(BATCH, bearer(key), b"[1,2,3,4,5,6]")[0] == 200


def test_before_the_keys_were_read_nobody_is_let_through(redis_db: str) -> None:
    site = Site(redis_db)
    status, headers, content = site.ask(SCORE, bearer(new_key()))
    assert (status, content["error"], headers[b"retry-after"]) == (503, "keys not read", b"1")
    assert site.ask("/livez", method="GET")[0] == 200


def test_what_is_refused_is_counted_by_why(site: Site) -> None:
    key = site.key("events:write")
    site.ask(SCORE, bearer(key))
    site.ask(SCORE)
    name = "headrace_gate_refused_total"
    assert REGISTRY.get_sample_value(name, {"reason": "scope", "key": key.id}) == 1
    assert (REGISTRY.get_sample_value(name, {"reason": "no key", "key": ""}) or 0) >= 1


def test_only_http_comes_in(site: Site) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    asyncio.run(site.gate({"type": "websocket", "path": "/", "headers": []}, receive, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]


@pytest.mark.parametrize("status", REFUSALS)
def test_what_is_documented_of_a_refusal_is_one(status: int) -> None:
    words, example = REFUSALS[status]
    assert words
    assert msgspec.convert(example, Refusal).error == example["error"]
