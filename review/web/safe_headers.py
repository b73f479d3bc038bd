"""What every answer of the pages says to the browser: run nothing but ours, tell nobody, show us in no frame."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "object-src 'none'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'self'",
    )
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Not `no-referrer`: browsers would then send forms with the origin `null`, which the gate refuses.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
NOBODY = "frame-ancestors 'none'"
_FRAMED_BY = "headrace.framed_by"


def framed_by(scope: Scope, origins: Iterable[str]) -> None:
    """Let the pages of these origins, and no others, show this answer in a frame. They are written as they are given.

    For a page of nobody's: one that acts for its viewer could be clicked through a frame.
    """
    scope[_FRAMED_BY].extend(origins)


class SafeHeaders:
    """An ASGI application around another; whatever answers, errors too, has these headers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and add the headers to what comes back. What a page tells is nobody else's to keep."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        # One list, whoever copies the scope on its way in.
        origins: list[str] = []

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                if origins:
                    headers["content-security-policy"] = POLICY.replace(NOBODY, f"frame-ancestors {' '.join(origins)}")
                    headers["cross-origin-resource-policy"] = "cross-origin"
                    # It can name no origin, and where both are there some browsers obey it.
                    del headers["x-frame-options"]
                headers.setdefault("cache-control", "no-store")
            await send(message)

        await self.app({**scope, _FRAMED_BY: origins}, receive, with_headers)
