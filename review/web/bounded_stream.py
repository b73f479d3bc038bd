"""Answers that last: their reader has to take them, and nobody has more of them open than a person can look at."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncGenerator

import anyio
from starlette.responses import StreamingResponse
from starlette.types import Message, Send

SEND_LIMIT_S = 20.0
STREAMS_EACH = 40
"""Event streams that one person may have open: each of their tabs has one."""

logger = logging.getLogger(__name__)


class BoundedStream(StreamingResponse):
    """A stream whose reader must take what it is sent within `SEND_LIMIT_S`: one that does not is cut off.

    A browser that went to sleep in the middle would else hold what the stream holds for as long as TCP tries.
    """

    media_type = "text/event-stream"

    async def stream_response(self, send: Send) -> None:
        """Send, and end with an error, on which the server closes the connection, where nobody takes it."""

        async def bounded(message: Message) -> None:
            with anyio.fail_after(SEND_LIMIT_S):
                await send(message)

        try:
            await super().stream_response(bounded)
        except TimeoutError:
            logger.info("a reader did not take what it was sent for %s s and was cut off", SEND_LIMIT_S)
        finally:
            # At once, not when it is collected: it holds a place among the listeners.
            if isinstance(self.body_iterator, AsyncGenerator):
                await self.body_iterator.aclose()


class Seats:
    """How many event streams each person has open."""

    def __init__(self) -> None:
        self._taken: Counter[str] = Counter()

    def take(self, name: str) -> bool:
        """Take a seat. False, and none is taken, where the person has as many as they may."""
        if self._taken[name] >= STREAMS_EACH:
            return False
        self._taken[name] += 1
        return True

    def leave(self, name: str) -> None:
        """Give a seat back."""
        self._taken[name] -= 1
        if not self._taken[name]:
            del self._taken[name]
