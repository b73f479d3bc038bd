"""Streams that end with their session: an answer that lasts for hours must not outlive the right to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import monotonic

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from review.web.bounded_stream import Seats

LOOK_EVERY_S = 15.0
FULL = "as many pages listen as one person may have open; close some\n"


class _Over(Exception):
    """The session is over, and with it what was being sent."""


async def watched(
    app: ASGIApp,
    scope: Scope,
    receive: Receive,
    send: Send,
    is_alive: Callable[[], Awaitable[bool]],
    look_every_s: float = LOOK_EVERY_S,
    seats: Seats | None = None,
    name: str = "",
) -> None:
    """Run `app`; before a part of an event stream goes out, ask at times whether its reader may still have it.

    Where not, the stream ends as if the server had; the browser asks again and is sent to sign in. A stream has to send
    something, if only a comment, for this to be seen. One for which its reader has no seat left is a 503 instead.
    """
    is_stream, is_over, looked_at_s = False, False, monotonic()

    async def looking(message: Message) -> None:
        nonlocal is_stream, is_over, looked_at_s
        if is_over:
            raise _Over
        if message["type"] == "http.response.start":
            is_stream = any(
                header.lower() == b"content-type" and value.startswith(b"text/event-stream")
                for header, value in message["headers"]
            )
            if is_stream and seats is not None and not seats.take(name):
                is_stream, is_over = False, True
                await PlainTextResponse(FULL, 503, headers={"retry-after": "10"})(scope, receive, send)
                raise _Over
        elif is_stream and monotonic() - looked_at_s >= look_every_s:
            looked_at_s = monotonic()
            if not await is_alive():
                is_over = True
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                raise _Over
        await send(message)

    try:
        await app(scope, receive, looking)
    except Exception:
        # Whatever the application made of `_Over`: its answer has ended.
        if not is_over:
            raise
    finally:
        if is_stream and seats is not None:
            seats.leave(name)
