"""An answer as ASGI messages."""

from __future__ import annotations

from scoring.api import Answer
from scoring.asgi import Send


async def respond(send: Send, answer: Answer, *more_headers: tuple[bytes, bytes]) -> None:
    """Send an answer, whole, with its headers and more."""
    headers = [(b"content-type", answer.content_type), (b"content-length", str(len(answer.body)).encode())]
    if answer.retry_after_s is not None:
        headers.append((b"retry-after", str(answer.retry_after_s).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": [*headers, *more_headers]})
    await send({"type": "http.response.body", "body": answer.body})
