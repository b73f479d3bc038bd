"""A request's body read before its turn, to see how long it is and how many records it has, then given again."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from scoring.api import JSON
from scoring.asgi import Message, Receive, Scope, header_of
from scoring.batch_door import Bounds, InvalidBatch, is_lines, records_of


class WholeBody(NamedTuple):
    """The messages of a body, up to its end or to the first that exceeds a limit; `length` is theirs, in bytes.

    `is_whole` is False where it exceeds the limit, or the client left.
    """

    messages: list[Message]
    length: int
    is_whole: bool

    @classmethod
    async def read(cls, receive: Receive, limit: int) -> WholeBody:
        """Read until the end, the limit or the client's leaving."""
        messages: list[Message] = []
        length = 0
        while length <= limit:
            message = await receive()
            messages.append(message)
            length += len(message.get("body", b""))
            if message["type"] == "http.disconnect":
                break
            if not message.get("more_body", False):
                return cls(messages, length, length <= limit)
        return cls(messages, length, False)

    def again(self, receive: Receive) -> Receive:
        """Gives what was read, then what `receive` gives."""
        waiting = deque(self.messages)

        async def receive_again() -> Message:
            return waiting.popleft() if waiting else await receive()

        return receive_again


def content_length(scope: Scope) -> int:
    """What the header says; 0 where it says nothing that can be used."""
    value = header_of(scope, b"content-length") or b""
    return int(value) if value.isdigit() else 0


def records_in(whole: WholeBody, scope: Scope, bounds: Bounds) -> int:
    """How many records of a batch would be scored; 1 for a body that the batch door will refuse whole."""
    if not whole.is_whole:
        return 1
    body = b"".join(message.get("body", b"") for message in whole.messages)
    try:
        found = len(records_of(body, is_lines(header_of(scope, b"content-type") or JSON)))
    except InvalidBatch:
        return 1
    return found if 0 < found <= bounds.records else 1
