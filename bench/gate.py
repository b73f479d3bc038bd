"""What the gate adds to a request: the same application with the gate before it and without, no network between."""

from __future__ import annotations

import statistics
import time
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any

from bench.figures import Figure, Figures, medians
from scoring.asgi import AsgiApp, Message, Receive, Scope, Send
from scoring.gate import Gate
from scoring.key import NewKey, new_key
from scoring.key_allowance import Allowances
from scoring.key_book import KEYS_LIMIT, KeyBook
from scoring.key_steps import Created
from scoring.key_table import KeyTable, table_of
from stream.connection import RedisConnection

RUNS = 5
ROUNDS = 20_000
BUDGET_US = 10.0
MANY = 1_000_000
HEADERS = [
    (b"host", b"127.0.0.1:3000"),
    (b"accept", b"*/*"),
    (b"accept-encoding", b"gzip, deflate"),
    (b"connection", b"keep-alive"),
    (b"user-agent", b"python-httpx/0.28"),
    (b"content-type", b"application/json"),
    (b"x-deadline-ms", b"50"),
]


class Held:
    """Keys that are there already."""

    def __init__(self, current: KeyTable) -> None:
        self.current: KeyTable | None = current
        self.problem = ""


def measure(rounds: int = ROUNDS) -> Figures:
    """All figures, in this process. Takes some seconds."""
    return medians([_run(rounds) for _ in range(RUNS)])


def _run(rounds: int) -> Figures:
    plain, rated, limited, wrong = new_key(), new_key(), new_key(), new_key()
    book = KeyBook()
    for _ in range(KEYS_LIMIT - 3):
        book.apply(_created(new_key()))
    book.apply(_created(plain))
    book.apply(_created(rated, rate_per_s=1.0, burst=MANY))
    book.apply(_created(limited, body_limit=1000))
    allowances = Allowances(RedisConnection("redis://127.0.0.1:1/0"))
    allowance = allowances.of(rated.id, 1.0, MANY)
    gate = Gate(_behind, Held(table_of(book, allowances)))

    def added(key: NewKey, budget: float | None = None) -> Figure:
        allowance.settled(allowance.part(), MANY, MANY, 1, True)
        more = _per_request(gate, key, rounds) - _per_request(_behind, key, rounds)
        return Figure(more, "us", budget, "lower", "processor time added to one request")

    return {
        "a key with a scope": added(plain, BUDGET_US),
        "a key with a rate too": added(rated, BUDGET_US),
        "a key with a body limit too": added(limited),
        "a key that is none: the whole answer": added(wrong),
    }


def _created(key: NewKey, **more: Any) -> Created:
    at = datetime(2026, 1, 31, 12, tzinfo=UTC)
    return Created(at=at, by="ann", key=key.id, name="shop", digest=key.digest, scopes=("fraud:*",), **more)


async def _behind(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()


def _per_request(app: AsgiApp, key: NewKey, rounds: int) -> float:
    scope: Scope = {"type": "http", "path": "/fraud/score", "method": "POST"}
    scope["headers"] = [*HEADERS, (b"authorization", b"Bearer " + key.text.encode()), (b"content-length", b"300")]
    message: Message = {"type": "http.request", "body": b"x" * 300, "more_body": False}

    async def receive() -> Message:
        return message

    async def send(_: Message) -> None:
        pass

    took = []
    for _ in range(20):
        started = time.thread_time()
        for _ in range(rounds // 20):
            _finish(app(scope, receive, send))
        took.append((time.thread_time() - started) / (rounds // 20) * 1e6)
    return statistics.median(took)


def _finish(work: Any) -> None:
    """Run what waits for nothing, without a loop."""
    coroutine: Coroutine[Any, Any, None] = work
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise RuntimeError("it waits for something")
