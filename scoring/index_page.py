"""BentoML's page at `/`, which describes the API, without what it would load from elsewhere.

The page itself has a tag manager of another company; browsers heed the policy that it comes with and leave that out.
"""

from __future__ import annotations

from scoring.asgi import Message, Send

PATH = "/"
POLICY = b"default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-src 'none'"


def kept_to_itself(send: Send) -> Send:
    """Send an answer with a policy that lets browsers load nothing but from this service."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), (b"content-security-policy", POLICY)]
        await send(message)

    return sent
