"""The door of recommending: which request goes to which of its routes, behind the one front door."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from scoring.api import JSON, Answer, overloaded, refusal
from scoring.arrival import Turns, left_ms
from scoring.asgi import Scope, header_of
from scoring.batch_door import Bounds, InvalidBatch, is_lines, records_of
from scoring.recommend_api import TOGETHER, RecommendApi, whole_of

RECOMMEND, FEEDBACK, TRENDING, ITEMS = "/recommend", "/feedback", "/trending", "/items"
SIMILAR, ITEM = "/similar/", "/items/"

ReadBody = Callable[[int], Awaitable[bytes | Answer | None]]
"""Reads a body of at most so many bytes: an answer where it is longer, None where the client has left."""


class RecommendDoor:
    """Answers the paths of recommending on the loop that answers everything else; `turns` are that loop's."""

    def __init__(self, turns: Turns, body_limit: int, bounds: Bounds) -> None:
        self._turns = turns
        self._body_limit = body_limit
        self._bounds = bounds

    @staticmethod
    def route_of(method: str, path: str) -> str | None:
        """The route of a request, as it is counted; None for one of somebody else."""
        if path.startswith(ITEM):
            return ITEM if method in ("GET", "PUT", "DELETE") else None
        if path.startswith(SIMILAR):
            return SIMILAR if method == "GET" else None
        if method == "POST":
            return path if path in (RECOMMEND, FEEDBACK, ITEMS) else None
        return TRENDING if method == "GET" and path == TRENDING else None

    @staticmethod
    def methods_of(path: str) -> tuple[str, ...]:
        """The methods that a path of recommending has; none for one of somebody else."""
        if path.startswith(ITEM):
            return "GET", "PUT", "DELETE"
        if path in (RECOMMEND, FEEDBACK, ITEMS):
            return ("POST",)
        return ("GET",) if path == TRENDING or path.startswith(SIMILAR) else ()

    async def answer(
        self, api: RecommendApi, route: str, scope: Scope, read: ReadBody, deadline_ms: float | None
    ) -> Answer | None:
        """The answer to a request of that route; None where the client left before its body was whole."""
        method, path = scope["method"], scope["path"]
        body = b""
        if method in ("POST", "PUT"):
            whole = await read(self._bounds.body_bytes if route == ITEMS else self._body_limit)
            if not isinstance(whole, bytes):
                return whole
            body = whole
        if route == ITEMS:
            return await self._items(api, body, scope, deadline_ms)
        waited_ms = self._turns.waited_ms()
        left = left_ms(api.deadline_ms if deadline_ms is None else deadline_ms, waited_ms)
        if left is None:
            return overloaded(waited_ms)
        query = scope.get("query_string", b"")
        match route, method:
            case (_, "POST") if route == RECOMMEND:
                return api.recommend(body, left)
            case (_, "POST"):
                return api.feedback(body, left)
            case (_, "PUT"):
                return api.put_item(path[len(ITEM) :], body, left)
            case (_, "DELETE"):
                return api.delete_item(path[len(ITEM) :], left)
            case _ if route == ITEM:
                return api.item(path[len(ITEM) :], left)
            case _ if route == SIMILAR:
                return api.similar(path[len(SIMILAR) :], query, left)
            case _:
                return api.trending(query, left)

    async def _items(self, api: RecommendApi, body: bytes, scope: Scope, deadline_ms: float | None) -> Answer:
        """Many items, some at a time: between them others are answered."""
        lines = is_lines(header_of(scope, b"content-type") or JSON)
        try:
            bodies = [body] if not lines and body.lstrip()[:1] == b"{" else records_of(body, lines)
        except InvalidBatch as error:
            remedy = "send one item, a JSON array of items, or one item a line as application/x-ndjson"
            return refusal(400, "invalid", f"{error}; {remedy}", field="(body)", value=repr(body[:40]), remedy=remedy)
        if len(bodies) > self._bounds.records:
            return too_large_batch(len(bodies), self._bounds.records)
        limit_ms = self._bounds.deadline_ms if deadline_ms is None else deadline_ms
        parts = []
        for first in range(0, len(bodies), TOGETHER):
            parts.append(api.put_items(bodies[first : first + TOGETHER], first, limit_ms))
            await asyncio.sleep(0)
        return Answer(200, msgspec.json.encode(whole_of(parts)))


def too_large_batch(records: int, limit: int) -> Answer:
    """More items than one request may have."""
    return refusal(413, "too large", f"a request has at most {limit} items, this one has {records}; send several")
