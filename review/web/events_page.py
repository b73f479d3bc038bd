"""`GET /review/events`: what happens to cases, as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from review.web.bounded_stream import BoundedStream
from review.web.deed_watch import DeedWatch, News

HEARTBEAT_S = 10.0
"""A line that means nothing, so that whoever is between knows that the connection lives, and the gate looks again."""
RETRY_MS = 1000


class EventsPage:
    """The stream of one watch. An event's id is the number of the deed: a page that comes back says which it has."""

    def __init__(self, watch: DeedWatch, heartbeat_s: float = HEARTBEAT_S) -> None:
        self._watch = watch
        self._heartbeat_s = heartbeat_s

    async def page(self, request: Request) -> Response:
        """Answer with a stream that ends when the page goes, or 503 where too many listen."""
        came_with = request.headers.get("last-event-id") or request.query_params.get("after", "")
        after = int(came_with) if came_with.isascii() and came_with.isdigit() and len(came_with) < 19 else None
        if self._watch.is_full:
            return PlainTextResponse("as many pages listen as may; close some", 503, headers={"retry-after": "10"})
        headers = {"x-accel-buffering": "no"}
        return BoundedStream(self._stream(after), headers=headers)

    async def _stream(self, after: int | None) -> AsyncIterator[bytes]:
        async with self._watch.listening() as queue:
            # 1. Listen.  2. Read what was missed.  Reversed, what happens in between would be lost.
            missed = [] if after is None else await self._watch.missed(after)
            last = await self._watch.last() if after is None or missed is None else after
            yield b"retry: %d\n" % RETRY_MS + _event("again" if missed is None else "hello", last, b"{}")
            for news in missed or ():
                last = news.number
                yield _told(news)
            while True:
                try:
                    batch = await asyncio.wait_for(queue.get(), self._heartbeat_s)
                except TimeoutError:
                    yield b": still there\n\n"
                    continue
                if not batch:
                    yield _event("again", await self._watch.last(), b"{}")
                told = [news for news in batch if news.number > last or news.deed == "arrived"]
                last = max([last, *(news.number for news in told)])
                if told:
                    yield b"".join(map(_told, told))


def _told(news: News) -> bytes:
    return _event("deed", news.number, msgspec.json.encode({"case": news.case_id, "deed": news.deed, "by": news.by}))


def _event(name: str, number: int, content: bytes) -> bytes:
    return b"event: %s\nid: %d\ndata: %s\n\n" % (name.encode(), number, content)
