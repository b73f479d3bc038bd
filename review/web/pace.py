"""How many requests in a second one browser or address may make: buckets of tokens, in memory, of a bounded number."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

BUCKETS_LIMIT = 20_000


class Rate(NamedTuple):
    """Tokens a second, and how many are saved up."""

    per_s: float
    burst: float


class Pace:
    """One bucket for each key; the ones not used for longest are forgotten first, and a forgotten one is full again."""

    def __init__(self, rate: Rate, limit: int = BUCKETS_LIMIT) -> None:
        self._rate = rate
        self._limit = limit
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str, now_s: float) -> float:
        """Take a token. How many seconds until there is one: 0 when it was taken.

        >>> pace = Pace(Rate(per_s=2.0, burst=1.0))
        >>> pace.take("ann", 10.0), pace.take("ann", 10.0), pace.take("bob", 10.0), pace.take("ann", 10.5)
        (0.0, 0.5, 0.0, 0.0)
        """
        tokens, at_s = self._buckets.pop(key, (self._rate.burst, now_s))
        tokens = min(self._rate.burst, tokens + max(0.0, now_s - at_s) * self._rate.per_s)
        wait_s = 0.0 if tokens >= 1.0 else (1.0 - tokens) / self._rate.per_s
        self._buckets[key] = (tokens - 1.0 if wait_s == 0.0 else tokens, max(now_s, at_s))
        if len(self._buckets) > self._limit:
            self._buckets.popitem(last=False)
        return wait_s
