"""Connections dealt again now and then, so that several processes of one service share the clients that stay.

Whichever process wakes first takes all connections that wait, and keeps those that are kept alive: a caller that opens
its pool at once would have one process serve all of it. So every `REDEAL_EVERY` answers of a process, one asks its
client to open its connection anew, and a process that is busy is the last to take it.
"""

from __future__ import annotations

from scoring.asgi import AsgiApp, Message, Receive, Scope, Send

REDEAL_EVERY = 256
CLOSE = (b"connection", b"close")


class Redealing:
    """An ASGI application around another that ends a connection, after its answer, every so many answers."""

    def __init__(self, inner: AsgiApp, every: int = REDEAL_EVERY) -> None:
        self.inner = inner
        self.every = every
        self._answers = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] == "http":
            self._answers += 1
            if self._answers >= self.every:
                self._answers = 0
                await self.inner(scope, receive, _closing(send))
                return
        await self.inner(scope, receive, send)


def _closing(send: Send) -> Send:
    async def closing(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), CLOSE]}
        await send(message)

    return closing
