"""Calls that block, beside the loop that answers: a few threads, so that no flood of pages takes all of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

from anyio import CapacityLimiter, to_thread

THREADS = 8
"""As many as the store has connections."""

P = ParamSpec("P")
T = TypeVar("T")


class OffLoop:
    """Runs calls in threads, at most `threads` at a time; the others wait their turn. Of one event loop."""

    def __init__(self, threads: int = THREADS) -> None:
        self._threads = threads
        self.inside = 0
        """How many calls run or wait."""
        self._limiter: CapacityLimiter | None = None

    async def __call__(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What the call returns or raises."""
        if self._limiter is None:
            self._limiter = CapacityLimiter(self._threads)
        self.inside += 1
        try:
            return await to_thread.run_sync(partial(call, *args, **kwargs), limiter=self._limiter)
        finally:
            self.inside -= 1
