"""How long a request has waited for the one thread that answers it.

A server reads all sockets that have something to read, then starts the requests one after another: the last of them has
waited for all the others. Its deadline began when it arrived, so what it waited is taken off; where nothing useful is
left, it is refused at once, for a hundredth of the price of an answer. So a flood is answered as far as there is time,
and nobody waits much longer than the deadline for either.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

LEAST_SHARE = 0.2
"""Of the deadline: with less than that left, a request is refused."""


class Turns:
    """The turns of an event loop: what is read together is answered in one turn.

    Only whoever asks takes part: ask once for each request, when it is about to be answered.
    """

    def __init__(self, clock_s: Callable[[], float] = time.perf_counter) -> None:
        self._clock_s = clock_s
        self._began_s = 0.0
        self._before_s = 0.0
        self._ended_s = 0.0
        self._is_on = False

    def waited_ms(self) -> float:
        """Since the request arrived: in the turn before at the earliest, half of which is taken for the average."""
        now_s = self._clock_s()
        if not self._is_on:
            self._is_on = True
            # A turn that did not follow at once on the last one: the loop slept, and nobody waited.
            idle = now_s - self._ended_s > self._before_s
            self._before_s = 0.0 if idle else self._before_s
            self._began_s = now_s
            asyncio.get_running_loop().call_soon(self._end)
        return (now_s - self._began_s + self._before_s / 2) * 1000

    def _end(self) -> None:
        self._is_on = False
        self._ended_s = self._clock_s()
        self._before_s = self._ended_s - self._began_s


def left_ms(deadline_ms: float, waited_ms: float) -> float | None:
    """What is left of a deadline; None where that is too little to begin.

    >>> left_ms(50.0, 20.0), left_ms(50.0, 41.0)
    (30.0, None)
    """
    left = deadline_ms - waited_ms
    return left if left >= deadline_ms * LEAST_SHARE else None
