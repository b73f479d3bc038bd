"""Rounds: requests that a server reads together are scored together, and share the round trips to Redis.

One client alone never waits for others. Where several came in one turn of the event loop, the next turn's first request
waits until the others of its turn are in, which is until the loop has come round. What has waited until nothing useful
is left of its deadline is refused.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import NamedTuple

from scoring.api import Answer, Api, Post, overloaded
from scoring.arrival import left_ms

ROUND_LIMIT = 8
"""Requests in a round: all of it is decided before the first of them is answered."""


class _Waiting(NamedTuple):
    post: Post
    since_s: float
    answer: asyncio.Future[Answer]


class Rounds:
    """Gathers the scoring requests of one service; belongs to the event loop of its first request."""

    def __init__(self, limit: int = ROUND_LIMIT) -> None:
        self._limit = limit
        self._came = 0
        self._came_before = 0
        self._waiting: deque[_Waiting] = deque()

    async def score(self, api: Api, post: Post) -> Answer:
        """The answer to one request, scored alone or with others."""
        loop = asyncio.get_running_loop()
        self._came += 1
        if self._came == 1:
            loop.call_soon(self._turn_over)
            if self._came_before <= 1 and not self._waiting:
                return api.score_all([post])[0]
        waiting = _Waiting(post, time.perf_counter(), loop.create_future())
        self._waiting.append(waiting)
        if len(self._waiting) == 1:
            loop.call_soon(self._score, api)
        return await waiting.answer

    def _turn_over(self) -> None:
        self._came_before, self._came = self._came, 0

    def _score(self, api: Api) -> None:
        together: list[_Waiting] = []
        posts: list[Post] = []
        while self._waiting and len(posts) < self._limit:
            one = self._waiting.popleft()
            waited_ms = (time.perf_counter() - one.since_s) * 1000
            remaining_ms = left_ms(one.post.deadline_ms, waited_ms)
            if one.answer.done():
                continue  # its client has left
            if remaining_ms is None:
                one.answer.set_result(overloaded(waited_ms))
                continue
            together.append(one)
            posts.append(one.post._replace(deadline_ms=remaining_ms))
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._score, api)
        for one, answer in zip(together, api.score_all(posts) if posts else (), strict=True):
            one.answer.set_result(answer)
