"""Numbers that are counted on the way of a request: plain, so that counting costs tenths of a microsecond.

A metric of prometheus_client takes one to two microseconds an observation, for its locks and its file; a decision has
some twenty.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import TypeVar

import msgspec

Labels = tuple[str, ...]
LABEL_LIMIT = 500
OTHER: Labels = ("other",)


class Tally:
    """A histogram: how many values lie at or below each bound and above the one before it, and their sum.

    >>> tally = Tally((1.0, 2.0))
    >>> for value in (0.5, 2.0, 7.0):
    ...     tally.add(value)
    >>> tally.counts, tally.total
    ([1, 1, 1], 9.5)
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Counts(msgspec.Struct, forbid_unknown_fields=True):
    """What one process has counted so far, by metric and the values of its labels; histograms end with their sum."""

    counters: dict[str, dict[Labels, float]] = {}
    histograms: dict[str, dict[Labels, list[float]]] = {}
    gauges: dict[str, dict[Labels, float]] = {}


N = TypeVar("N", int, float)


def count_bounded(counted: dict[Labels, N], labels: Labels, more: N = 1) -> None:
    """Count `more`, in `OTHER` where there are `LABEL_LIMIT` others: nothing sent may grow a metric for ever."""
    if labels not in counted and len(counted) >= LABEL_LIMIT:
        labels = OTHER * len(labels)
    counted[labels] = counted.get(labels, 0) + more


def merged(every: Iterable[Counts]) -> Counts:
    """All processes as one: counters and histograms added, of a gauge the largest.

    >>> one, two = Counts({"n": {(): 1.0}}, {}, {"age": {(): 5.0}}), Counts({"n": {(): 2.0}}, {}, {"age": {(): 3.0}})
    >>> both = merged([one, two])
    >>> both.counters, both.gauges
    ({'n': {(): 3.0}}, {'age': {(): 5.0}})
    """
    whole = Counts({}, {}, {})
    for one in every:
        for name, by_labels in one.counters.items():
            sums = whole.counters.setdefault(name, {})
            for labels, count in by_labels.items():
                sums[labels] = sums.get(labels, 0.0) + count
        for name, tallies in one.histograms.items():
            added = whole.histograms.setdefault(name, {})
            for labels, counts in tallies.items():
                before = added.get(labels)
                added[labels] = counts if before is None else [a + b for a, b in zip(before, counts, strict=True)]
        for name, by_labels in one.gauges.items():
            largest = whole.gauges.setdefault(name, {})
            for labels, value in by_labels.items():
                largest[labels] = max(value, largest.get(labels, value))
    return whole
