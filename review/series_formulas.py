"""How a series is computed from counters and gauges: a rate, a share, a percentile, a mean, a gauge as it is.

A formula answers values by a label's value, or by "" where it is one number; nothing where nobody can say.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from review.scrape import Labels
from review.series_counts import Growth, Window

Where = Mapping[str, str | tuple[str, ...]]
RATE_WINDOW_S = 10.0
LATENCY_WINDOW_S = 30.0
SHARE_WINDOW_S = 60.0


class Formula(Protocol):
    """One series, or one for each value of a label."""

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the samples that it needs."""
        ...

    @property
    def window_s(self) -> float:
        """How far back it looks."""
        ...

    def values(self, window: Window) -> dict[str, float]:
        """Its values now."""
        ...


@dataclass(frozen=True)
class Rate:
    """How much a counter grew in a second, times `scale`.

    `is_there` says that a service which answers has it, said or not: 0 a second where nothing was ever counted.
    """

    counter: str
    where: Where = field(default_factory=dict)
    by: str = ""
    scale: float = 1.0
    window_s: float = RATE_WINDOW_S
    is_there: bool = False

    @property
    def reads(self) -> tuple[str, ...]:
        """See `Formula`."""
        return (self.counter,)

    def values(self, window: Window) -> dict[str, float]:
        """See `Formula`."""
        grown = window.over(self.window_s)
        if grown is None:
            return {}
        sums = summed(grown.of(self.counter), self.where, self.by)
        # What is counted by its labels, such as failures by status, is not there until it happens.
        if not self.by and not sums and (self.is_there or grown.knows(self.counter)):
            sums = {"": 0.0}
        # Of a gauge that only ever seems to grow, such as the length of a topic, what is trimmed is no growth.
        return {name: self.scale * max(value, 0.0) / grown.took_s for name, value in sums.items()}


@dataclass(frozen=True)
class Total:
    """What a counter has counted in all its lives since the first look: differences of it are exact."""

    counter: str
    where: Where = field(default_factory=dict)
    by: str = ""
    window_s: float = 0.0

    @property
    def reads(self) -> tuple[str, ...]:
        """See `Formula`."""
        return (self.counter,)

    def values(self, window: Window) -> dict[str, float]:
        """See `Formula`."""
        return summed(window.now.get(self.counter, {}), self.where, self.by)


@dataclass(frozen=True)
class Share:
    """Which share of one counter another is; nothing where the whole did not grow.

    `most` says that the parts overlap, so that their sum means nothing: the largest speaks for all.
    """

    part: str
    whole: str
    where: Where = field(default_factory=dict)
    of: Where = field(default_factory=dict)
    by: str = ""
    most: bool = False
    window_s: float = SHARE_WINDOW_S

    @property
    def reads(self) -> tuple[str, ...]:
        """See `Formula`."""
        return (self.part, self.whole)

    def values(self, window: Window) -> dict[str, float]:
        """See `Formula`."""
        grown = window.over(self.window_s)
        whole = sum(summed(grown.of(self.whole), self.of).values()) if grown else 0.0
        if grown is None or whole <= 0.0:
            return {}
        parts = summed(grown.of(self.part), self.where, self.by)
        if self.most or not self.by:
            parts = {"": max(parts.values(), default=0.0)}
        return {name: min(max(value, 0.0) / whole, 1.0) for name, value in parts.items()}


@dataclass(frozen=True)
class Percentile:
    """A percentile of a histogram's values in the window, times `scale`; exact to its bucket, straight within it.

    Above the last bound nobody knows: it is the bound then, which means "at least".
    """

    histogram: str
    at: float
    scale: float = 1000.0
    window_s: float = LATENCY_WINDOW_S

    @property
    def reads(self) -> tuple[str, ...]:
        """See `Formula`."""
        return (f"{self.histogram}_bucket",)

    def values(self, window: Window) -> dict[str, float]:
        """See `Formula`."""
        value = percentile(grown_buckets(window.over(self.window_s), self.histogram), self.at)
        return {} if value is None else {"": self.scale * value}


@dataclass(frozen=True)
class Above:
    """Which values of a histogram are above one of its bounds: their share, or how many in a second."""

    histogram: str
    bound: float
    per_s: bool = False
    window_s: float = SHARE_WINDOW_S

    @property
    def reads(self) -> tuple[str, ...]:
        """See `Formula`."""
        return (f"{self.histogram}_bucket",)

    def values(self, window: Window) -> dict[str, float]:
        """See `Formula`."""
        grown = window.over(self.window_s)
        buckets = dict(grown_buckets(grown, self.histogram))
        whole, below = buckets.get(math.inf, 0.0), buckets.get(self.bound)
        if grown is None or below is None or (whole <= 0.0 and not self.per_s):
            return {}
        return {"": max(whole - below, 0.0) / (grown.took_s if self.per_s else whole)}


@dataclass(frozen=True)
class Mean:
    """The mean of a histogram's values by a label, times `scale`."""

    histogram: str
    by: str = ""
    scale: float = 1000.0
    window_s: float = LATENCY_WINDOW_S

    @property
    def reads(self) -> tuple[str, ...]:
        """See `Formula`."""
        return (f"{self.histogram}_sum", f"{self.histogram}_count")

    def values(self, window: Window) -> dict[str, float]:
        """See `Formula`."""
        grown = window.over(self.window_s)
        if grown is None:
            return {}
        sums, counts = (summed(grown.of(f"{self.histogram}{end}"), {}, self.by) for end in ("_sum", "_count"))
        return {name: self.scale * sums.get(name, 0.0) / count for name, count in counts.items() if count > 0}


@dataclass(frozen=True)
class Gauge:
    """A gauge as it is; of several that are one to us the largest, or what else `join` makes of them."""

    gauge: str
    where: Where = field(default_factory=dict)
    by: str = ""
    join: Callable[[Iterable[float]], Any] = max
    window_s: float = 0.0

    @property
    def reads(self) -> tuple[str, ...]:
        """See `Formula`."""
        return (self.gauge,)

    def values(self, window: Window) -> dict[str, float]:
        """See `Formula`."""
        groups: defaultdict[str, list[float]] = defaultdict(list)
        for labels, value in matching(window.now.get(self.gauge, {}), self.where):
            groups[labels.get(self.by, "")].append(value)
        return {name: float(self.join(values)) for name, values in groups.items()}


def matching(series: Mapping[Labels, float], where: Where) -> Iterable[tuple[dict[str, str], float]]:
    """The samples with these values of their labels; a tuple names several."""
    for labels, value in series.items():
        by_name = dict(labels)
        if all(
            by_name.get(name) == wanted if isinstance(wanted, str) else by_name.get(name) in wanted
            for name, wanted in where.items()
        ):
            yield by_name, value


def summed(series: Mapping[Labels, float], where: Where, by: str = "") -> dict[str, float]:
    """Sums by a label's value.

    >>> summed({(("a", "1"), ("b", "x")): 2.0, (("a", "1"), ("b", "y")): 3.0}, {"a": "1"}, "b")
    {'x': 2.0, 'y': 3.0}
    """
    sums: defaultdict[str, float] = defaultdict(float)
    for labels, value in matching(series, where):
        sums[labels.get(by, "")] += value
    return dict(sums)


def grown_buckets(grown: Growth | None, histogram: str) -> list[tuple[float, float]]:
    """Bounds, the last of them infinite, and how many values came in at or below each."""
    if grown is None:
        return []
    sums = summed(grown.of(f"{histogram}_bucket"), {}, "le")
    return sorted((float(bound), value) for bound, value in sums.items() if bound)


def percentile(buckets: list[tuple[float, float]], at: float) -> float | None:
    """A percentile of cumulated buckets; None without a value.

    >>> percentile([(1.0, 50.0), (2.0, 100.0), (math.inf, 100.0)], 0.75)
    1.5
    >>> percentile([(1.0, 50.0), (2.0, 60.0), (math.inf, 100.0)], 0.99), percentile([], 0.5)
    (2.0, None)
    """
    if not buckets or buckets[-1][1] <= 0.0:
        return None
    goal = at * buckets[-1][1]
    low, below = 0.0, 0.0
    for bound, cumulated in buckets:
        if cumulated >= goal and cumulated > below:
            return low if math.isinf(bound) else low + (bound - low) * (goal - below) / (cumulated - below)
        if not math.isinf(bound):
            low, below = bound, cumulated
    return low
