"""The body of a form, read once within a bound and given to the page as if it came now."""

from __future__ import annotations

from urllib.parse import parse_qs

import anyio
from starlette.types import Message, Receive, Scope

FIELDS_LIMIT = 2000
READ_WITHIN_S = 30.0


class BodyRefused(ValueError):
    """The body is too large, too slow or no form."""

    def __init__(self, status: int, sentence: str) -> None:
        self.status = status
        super().__init__(sentence)


async def read_body(scope: Scope, receive: Receive, bytes_limit: int) -> bytes:
    """All of it. Raises `BodyRefused` as soon as it is known to be too large: what is sent after that is not read."""
    for name, value in scope["headers"]:
        if name == b"content-length" and (not value.isdigit() or len(value) > 18 or int(value) > bytes_limit):
            raise BodyRefused(413, f"a form may have at most {bytes_limit} bytes")
    parts: list[bytes] = []
    size, more = 0, True
    with anyio.move_on_after(READ_WITHIN_S) as patience:
        while more:
            message = await receive()
            if message["type"] != "http.request":
                raise BodyRefused(400, "the request ended before its form")
            part: bytes = message.get("body", b"")
            size += len(part)
            if size > bytes_limit:
                raise BodyRefused(413, f"a form may have at most {bytes_limit} bytes")
            parts.append(part)
            more = message.get("more_body", False)
    if patience.cancelled_caught:
        raise BodyRefused(408, f"a form has to arrive within {READ_WITHIN_S:.0f} s")
    return b"".join(parts)


def again(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body first."""
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def given() -> Message:
        return first.pop() if first else await receive()

    return given


def field_of(body: bytes, content_type: str, name: str) -> str:
    """A field of a urlencoded form; nothing where there is none. Raises `BodyRefused` for another kind of body."""
    if not body:
        return ""
    if content_type.partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise BodyRefused(415, "send a form as application/x-www-form-urlencoded")
    try:
        return parse_qs(body.decode(), max_num_fields=FIELDS_LIMIT).get(name, [""])[0]
    except ValueError:
        raise BodyRefused(400, f"a form has at most {FIELDS_LIMIT} fields, in UTF-8") from None
