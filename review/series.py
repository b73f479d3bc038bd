"""The last hour of every series, in memory: a ring of numbers for each, over one ring of times."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping
from threading import Lock
from typing import NamedTuple

TICKS_LIMIT = 1_800
"""An hour at a tick in two seconds."""
NAMES_LIMIT = 250
SET_BACK_S = 60.0


class Point(NamedTuple):
    """A value at a time, in seconds since 1970."""

    at_s: float
    value: float


class Columns(NamedTuple):
    """Several series over the same times; None where nobody could say."""

    at_s: list[float]
    values: dict[str, list[float | None]]


class Series:
    """What the collector appends and pages and alerts read; any thread may do either.

    Some 15 KB a series, however long it runs. Names that come after `NAMES_LIMIT` others are left out: labels are a
    sender's, and may not fill the memory.
    """

    def __init__(self, ticks_limit: int = TICKS_LIMIT, names_limit: int = NAMES_LIMIT) -> None:
        self._limit = ticks_limit
        self._names_limit = names_limit
        self._times = array("d", [0.0]) * ticks_limit
        self._rings: dict[str, array[float]] = {}
        self._count = 0
        self._lock = Lock()

    def append(self, at_s: float, values: Mapping[str, float]) -> bool:
        """Add one tick; nothing, and False, where it is not later than the last one.

        A clock that was set back by more than `SET_BACK_S` begins the hour anew: else nothing was taken in for as long.
        """
        with self._lock:
            newest_s = self._times[(self._count - 1) % self._limit] if self._count else -math.inf
            if at_s < newest_s - SET_BACK_S:
                self._count = 0
                for ring in self._rings.values():
                    ring[:] = array("d", [math.nan]) * self._limit
            elif at_s <= newest_s:
                return False
            place = self._count % self._limit
            self._times[place] = at_s
            for name in values:
                if name not in self._rings and len(self._rings) < self._names_limit:
                    self._rings[name] = array("d", [math.nan]) * self._limit
            for name, ring in self._rings.items():
                ring[place] = values.get(name, math.nan)
            self._count += 1
            return True

    @property
    def names(self) -> list[str]:
        """All series that ever had a value, sorted."""
        with self._lock:
            return sorted(self._rings)

    def latest(self, name: str) -> Point | None:
        """The newest value, which may be old; None where there was none in the last hour."""
        with self._lock:
            ring = self._rings.get(name)
            for place in self._newest_first() if ring is not None else ():
                if ring is not None and not math.isnan(ring[place]):
                    return Point(self._times[place], ring[place])
            return None

    def since(self, name: str, at_s: float) -> list[Point]:
        """The values after a time, oldest first, those of the last hour at most."""
        with self._lock:
            ring = self._rings.get(name)
            if ring is None:
                return []
            places = [place for place in self._after(at_s) if not math.isnan(ring[place])]
            return [Point(self._times[place], ring[place]) for place in places]

    def columns(self, names: Iterable[str], at_s: float) -> Columns:
        """Several series after a time; one that nobody knows is None throughout."""
        with self._lock:
            places = self._after(at_s)
            nothing = array("d", [math.nan]) * self._limit
            rings = {name: self._rings.get(name, nothing) for name in names}
            return Columns(
                [self._times[place] for place in places],
                {name: [_known(ring[place]) for place in places] for name, ring in rings.items()},
            )

    def ticks(self, at_s: float) -> list[tuple[float, dict[str, float]]]:
        """All ticks after a time with the values that they had, oldest first."""
        with self._lock:
            return [
                (
                    self._times[place],
                    {name: ring[place] for name, ring in self._rings.items() if not math.isnan(ring[place])},
                )
                for place in self._after(at_s)
            ]

    @property
    def began_s(self) -> float:
        """The time of the oldest tick that is kept; infinite where there is none."""
        with self._lock:
            return self._times[max(self._count - self._limit, 0) % self._limit] if self._count else math.inf

    def _newest_first(self) -> Iterable[int]:
        for number in range(self._count - 1, max(self._count - self._limit, 0) - 1, -1):
            yield number % self._limit

    def _after(self, at_s: float) -> list[int]:
        places = []
        for place in self._newest_first():
            if self._times[place] <= at_s:
                break
            places.append(place)
        return places[::-1]


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
