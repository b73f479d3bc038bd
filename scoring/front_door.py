"""The front door: hot routes answered before BentoML's middleware, everything else passed on to BentoML.

BentoML's middleware costs several times the score itself (`docs/architecture.md` has the figures). The paths that take
one record exist as BentoML endpoints too, which answer when the front door is switched off; what BentoML cannot express
(batches by content type, ids in the path) is served here all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar

from _bentoml_sdk import Service

from scoring.api import JSON, Answer, Api, Post, bad_deadline, invalid, overloaded, too_large, wrong_method
from scoring.arrival import Turns, left_ms
from scoring.asgi import AsgiApp, Message, Receive, Scope, Send, header_of
from scoring.asgi_answer import respond
from scoring.batch_door import USUAL, BatchDoor, Bounds
from scoring.gate import Gate
from scoring.index_page import PATH as INDEX
from scoring.index_page import kept_to_itself
from scoring.key_feed import KeyFeed
from scoring.metrics_door import PATH as METRICS
from scoring.metrics_door import MetricsDoor, Tells
from scoring.pages_door import Pages, PagesDoor
from scoring.redeal import Redealing
from scoring.rounds import Rounds
from scoring.whole_body import WholeBody
from stream.card_numbers import mask
from stream.invalid_record import InvalidRecord

if TYPE_CHECKING:
    from scoring.recommend_api import RecommendApi

DECISIONS = "/decisions/"
EXPLANATIONS = "/explanations/"
DEADLINE_LIMIT_MS = 10_000.0


class FrontDoor:
    """An ASGI application around another."""

    def __init__(
        self,
        inner: AsgiApp,
        api: Callable[[], Api | None],
        body_limit: int,
        bounds: Bounds = USUAL,
        takes_records: bool = True,
        recommend: Callable[[], RecommendApi | None] = lambda: None,
        telling: Callable[[], Tells | None] = lambda: None,
    ) -> None:
        from scoring.recommend_door import RecommendDoor  # here, as BentoML's parent process has no door

        self.inner = inner
        self.api = api
        self.recommend = recommend
        self.body_limit = body_limit
        self.takes_records = takes_records
        self._turns = Turns()
        self._rounds = Rounds()
        self._batches = BatchDoor(bounds, self._rounds)
        self._recommendations = RecommendDoor(self._turns, body_limit, bounds)
        self._metrics = MetricsDoor(telling)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a hot route, or pass the request on."""
        api = self.api() if scope["type"] == "http" else None
        if api is not None:
            path, method = scope["path"], scope["method"]
            if method == "POST" and path in api.routes and self.takes_records:
                answer = await self._post(api, scope, receive)
                if answer is not None:
                    await respond(send, answer)
                return
            if method == "POST" and path == api.batch_route:
                answer = await self._batch(api, scope, receive)
                if answer is not None:
                    api.count(path, answer.status)
                    await respond(send, answer)
                return
            if method == "GET" and path.startswith(DECISIONS):
                found = api.decision(path[len(DECISIONS) :])
                api.count(DECISIONS, found.status)
                await respond(send, found)
                return
            if method == "GET" and path.startswith(EXPLANATIONS):
                found = api.decision(path[len(EXPLANATIONS) :])
                if found.status == HTTPStatus.OK:
                    found = await asyncio.to_thread(api.explanation, found.body)
                api.count(EXPLANATIONS, found.status)
                await respond(send, found)
                return
            if method == "POST" and path in api.routes:
                body = await _read(receive, self.body_limit)
                cleaned = _cleaned(api, body) if isinstance(body, bytes) else body
                if isinstance(cleaned, Answer):
                    api.count(path, cleaned.status)
                    await respond(send, cleaned)
                elif cleaned is not None:
                    await self.inner(*_with_body(scope, receive, cleaned), send)
                return
            if method == "GET" and path == METRICS and self.takes_records and scope.get("query_string"):
                told = await self._metrics.answer(scope["query_string"])
                if told is not None:
                    await respond(send, told)
                    return
            recommend = self.recommend()
            if recommend is not None and (route := self._recommendations.route_of(method, path)) is not None:
                found_or_left = await self._recommend(recommend, route, scope, receive)
                if found_or_left is not None:
                    api.count(route, found_or_left.status)
                    await respond(send, found_or_left)
                return
            if method != "OPTIONS" and (there := self._methods_of(api, recommend, path)) and method not in there:
                await respond(send, wrong_method(method, path, there), (b"allow", ", ".join(there).encode()))
                return
            if path == INDEX:
                send = kept_to_itself(send)
        await self.inner(scope, receive, send)

    def _methods_of(self, api: Api, recommend: RecommendApi | None, path: str) -> tuple[str, ...]:
        if path in api.routes or path == api.batch_route:
            return ("POST",)
        if path.startswith((DECISIONS, EXPLANATIONS)):
            return ("GET",)
        return () if recommend is None else self._recommendations.methods_of(path)

    async def _recommend(self, api: RecommendApi, route: str, scope: Scope, receive: Receive) -> Answer | None:
        """The answer of recommending; None where the client left before its body was whole."""
        deadline_ms = _deadline_of(scope)
        if isinstance(deadline_ms, Answer):
            return deadline_ms

        async def read(limit: int) -> bytes | Answer | None:
            return await _read(receive, limit)

        return await self._recommendations.answer(api, route, scope, read, deadline_ms)

    async def _post(self, api: Api, scope: Scope, receive: Receive) -> Answer | None:
        """The answer; None where the client left before its body was whole."""
        answer = await _read(receive, self.body_limit)
        if isinstance(answer, bytes):
            deadline_ms = _deadline_of(scope)
            if not isinstance(deadline_ms, Answer):
                traceparent = None if api.observed.traces is None else header_of(scope, b"traceparent")
                waited_ms = self._turns.waited_ms()
                remaining_ms = left_ms(api.deadline_ms if deadline_ms is None else deadline_ms, waited_ms)
                if remaining_ms is not None and scope["path"] == api.score_route:
                    scored = await self._rounds.score(api, Post(answer, remaining_ms, traceparent))
                    api.count(api.score_route, scored.status)
                    return scored
                if remaining_ms is not None:
                    return api.post(scope["path"], answer, remaining_ms)
                deadline_ms = overloaded(waited_ms)
            answer = deadline_ms
        if answer is not None:
            api.count(scope["path"], answer.status)
        return answer

    async def _batch(self, api: Api, scope: Scope, receive: Receive) -> Answer | None:
        """The answer to a batch; None where the client left before that."""
        body = await _read(receive, self._batches.bounds.body_bytes)
        if not isinstance(body, bytes):
            return body
        deadline_ms = _deadline_of(scope)
        if isinstance(deadline_ms, Answer):
            return deadline_ms
        content_type = header_of(scope, b"content-type") or JSON
        # After the whole body there is nothing to receive but that the client has left.
        left = asyncio.ensure_future(receive())
        try:
            return await self._batches.answer(api, body, content_type, deadline_ms, lambda: not _has_left(left))
        finally:
            left.cancel()


class Documented:
    """A BentoML document that says of our routes how they are answered."""

    def __init__(self, spec: Any) -> None:
        self._spec = spec

    def asdict(self) -> dict[str, Any]:
        """As `/docs.json` gives it."""
        from scoring.openapi import amended

        return amended(self._spec.asdict())


class ScoringService(Service[Any]):
    """A BentoML service whose hot routes are served by a front door."""

    @property
    def openapi_spec(self) -> Documented:
        """BentoML's document, amended; BentoML asks it for `asdict()`."""
        return Documented(super().openapi_spec)

    def to_asgi(self, is_main: bool = True) -> AsgiApp:
        """BentoML's application behind the front door of the service's class."""
        app: AsgiApp = super().to_asgi(is_main=is_main)
        wrap: Callable[[AsgiApp], AsgiApp] = self.inner.behind_front_door
        return wrap(app)


class Doors:
    """What a BentoML service class inherits to be served by a front door. `api` is set when an instance starts."""

    api: ClassVar[Api | None] = None
    recommend: ClassVar[RecommendApi | None] = None
    telling: ClassVar[Tells | None] = None
    """What tells some samples of /metrics."""
    body_limit: ClassVar[int] = 65536
    batch_bounds: ClassVar[Bounds] = USUAL
    front_door: ClassVar[bool] = True
    processes: ClassVar[int] = 1
    keys: ClassVar[KeyFeed | None] = None
    """None where nobody is asked for a key: then there is no gate."""
    has_pages: ClassVar[bool] = False
    pages: ClassVar[Pages | None] = None
    """Pages beside the API, where there are any: set when an instance starts."""

    @classmethod
    def behind_front_door(cls, app: AsgiApp) -> AsgiApp:
        """The application that the server runs."""
        door = FrontDoor(
            app,
            lambda: cls.api,
            cls.body_limit,
            cls.batch_bounds,
            cls.front_door,
            lambda: cls.recommend,
            lambda: cls.telling,
        )
        guarded: AsgiApp = door if cls.keys is None else Gate(door, cls.keys, cls.batch_bounds)
        if cls.has_pages:
            guarded = PagesDoor(guarded, lambda: cls.pages)
        return Redealing(guarded) if cls.processes > 1 else guarded


async def _read(receive: Receive, limit: int) -> bytes | Answer | None:
    """The body; an answer where it is longer than the limit, None where the client left before it was whole."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > limit:
            return too_large(limit)
    return body


def _has_left(waiting: asyncio.Future[Message]) -> bool:
    return waiting.done() and waiting.exception() is None and waiting.result()["type"] == "http.disconnect"


def _cleaned(api: Api, body: bytes) -> bytes | Answer:
    """The body for BentoML, which quotes what it refuses: without card numbers, or the answer that there is one."""
    try:
        return api.cards.clean(body)
    except InvalidRecord as error:
        return invalid(error)


def _with_body(scope: Scope, receive: Receive, body: bytes) -> tuple[Scope, Receive]:
    """The same request with another body."""
    kept = [(name, value) for name, value in scope["headers"] if name not in (b"content-length", b"transfer-encoding")]
    whole = WholeBody([{"type": "http.request", "body": body, "more_body": False}], len(body), True)
    return {**scope, "headers": [*kept, (b"content-length", str(len(body)).encode())]}, whole.again(receive)


def _deadline_of(scope: Scope) -> float | Answer | None:
    """What `X-Deadline-Ms` asks for, None where there is none, an answer where it is no such number."""
    value = header_of(scope, b"x-deadline-ms")
    if value is None:
        return None
    try:
        deadline_ms = float(value)
    except ValueError:
        deadline_ms = 0.0
    return deadline_ms if 1.0 <= deadline_ms <= DEADLINE_LIMIT_MS else bad_deadline(_shown(value))


def _shown(value: bytes) -> str:
    return mask(value.decode(errors="replace"))[:40]
