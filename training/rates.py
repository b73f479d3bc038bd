"""Shares of events, by the clusters in which events come, and how far two of them can differ by chance."""

from __future__ import annotations

import math

import msgspec


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """How many of how many events, in how many clusters (cards, or moments); and the sums over clusters that chance
    needs: of hits squared, of hits times events, of events squared."""

    hits: int = 0
    events: int = 0
    clusters: int = 0
    hits_squared: int = 0
    hits_events: int = 0
    events_squared: int = 0

    @property
    def share(self) -> float | None:
        """None without events."""
        return self.hits / self.events if self.events else None

    def variance(self, expected: float) -> float:
        """Of the share, where `expected` is the true one: that of a ratio of sums over clusters.

        Or the binomial one, if that is larger: few hits fall by chance into few clusters. Source: W. Cochran, "Sampling
        Techniques", 1977, 2.11.
        """
        by_cluster = (
            self.hits_squared - 2.0 * expected * self.hits_events + expected * expected * self.events_squared
        ) / self.events**2
        return max(by_cluster, expected * (1.0 - expected) / self.events)


def deviations(one: Rate, other: Rate) -> float:
    """By how many standard deviations two shares differ, if both have one true share; 0 where it is 0 or 1.

    >>> few, many = Rate(hits=3, events=10, clusters=10, hits_squared=3, hits_events=3, events_squared=10), Rate(
    ...     hits=10, events=100, clusters=100, hits_squared=10, hits_events=10, events_squared=100)
    >>> round(deviations(few, many), 2)
    1.26
    """
    pooled = (one.hits + other.hits) / (one.events + other.events)
    spread = math.sqrt(one.variance(pooled) + other.variance(pooled))
    return (one.hits / one.events - other.hits / other.events) / spread if spread else 0.0


def deviations_from(one: Rate, share: float) -> float:
    """By how many standard deviations a share differs from a given one."""
    return (one.hits / one.events - share) / math.sqrt(one.variance(share))
