"""Now and then a connection is dealt again."""

from __future__ import annotations

import asyncio

from scoring.asgi import Message, Receive, Scope, Send
from scoring.redeal import CLOSE, Redealing


def test_every_so_many_answers_one_ends_its_connection_and_nothing_else_about_it_changes() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError("nobody asks")

    dealing = Redealing(app, every=3)
    for _ in range(7):
        asyncio.run(dealing({"type": "http"}, receive, send))
    starts = [message for message in sent if message["type"] == "http.response.start"]
    assert [CLOSE in message["headers"] for message in starts] == [False, False, True, False, False, True, False]
    assert all((b"content-length", b"2") in message["headers"] for message in starts)
    assert [message["body"] for message in sent if message["type"] == "http.response.body"] == [b"ok"] * 7
