"""The front door: hot routes answered before BentoML's middleware, everything else passed on to BentoML.

BentoML's middleware costs several times the score itself (`docs/architecture.md` has the figures). The same paths
exist as BentoML endpoints, which document them in OpenAPI and answer when the front door is switched off.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, ClassVar

from _bentoml_sdk import Service

from scoring.api import JSON, Answer, Api, bad_deadline, too_large

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

DECISIONS = "/decisions/"
DEADLINE_LIMIT_MS = 10_000.0


class FrontDoor:
    """An ASGI application around another."""

    def __init__(self, inner: AsgiApp, api: Callable[[], Api | None], body_limit: int) -> None:
        self.inner = inner
        self.api = api
        self.body_limit = body_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a hot route, or pass the request on."""
        api = self.api() if scope["type"] == "http" else None
        if api is not None:
            path, method = scope["path"], scope["method"]
            if method == "POST" and path in api.routes:
                answer = await self._post(api, scope, receive)
                if answer is not None:
                    await _respond(send, answer)
                return
            if method == "GET" and path.startswith(DECISIONS):
                await _respond(send, api.decision(path[len(DECISIONS) :]))
                return
        await self.inner(scope, receive, send)

    async def _post(self, api: Api, scope: Scope, receive: Receive) -> Answer | None:
        """The answer; None where the client left before its body was whole."""
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > self.body_limit:
                return too_large(self.body_limit)
        for name, value in scope["headers"]:
            if name == b"x-deadline-ms":
                deadline_ms = _deadline(value)
                if deadline_ms is None:
                    return bad_deadline(value.decode(errors="replace")[:40])
                return api.post(scope["path"], body, deadline_ms)
        return api.post(scope["path"], body)


class ScoringService(Service[Any]):
    """A BentoML service whose hot routes are served by a front door."""

    def to_asgi(self, is_main: bool = True) -> AsgiApp:
        """BentoML's application behind the front door of the service's class."""
        app: AsgiApp = super().to_asgi(is_main=is_main)
        wrap: Callable[[AsgiApp], AsgiApp] = self.inner.behind_front_door
        return wrap(app)


class Doors:
    """What a BentoML service class inherits to be served by a front door. `api` is set when an instance starts."""

    api: ClassVar[Api | None] = None
    body_limit: ClassVar[int] = 65536
    front_door: ClassVar[bool] = True

    @classmethod
    def behind_front_door(cls, app: AsgiApp) -> AsgiApp:
        """The application that the server runs."""
        return FrontDoor(app, lambda: cls.api, cls.body_limit) if cls.front_door else app


async def _respond(send: Send, answer: Answer) -> None:
    headers = [(b"content-type", JSON), (b"content-length", str(len(answer.body)).encode())]
    if answer.retry_after_s is not None:
        headers.append((b"retry-after", str(answer.retry_after_s).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def _deadline(value: bytes) -> float | None:
    try:
        deadline_ms = float(value)
    except ValueError:
        return None
    return deadline_ms if 1.0 <= deadline_ms <= DEADLINE_LIMIT_MS else None
