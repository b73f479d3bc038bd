"""Counters that never go back, whatever restarts, and how much they grew in the last seconds."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from review.scrape import Labels, Readings

HISTOGRAM_ENDS = ("_bucket", "_count", "_sum")
COUNTERS_ENDS = ("_total", *HISTOGRAM_ENDS)
COUNTS_BY_ANOTHER_NAME = ("headrace_recommender_shown",)
"""A gauge to Prometheus, for another process counts it: it only grows, and begins anew with that process."""

LABELS_LIMIT = 2_000


class Moment(NamedTuple):
    """All numbers at a time, in s since 1970: counters as if no process had ever begun anew, gauges as they are."""

    at_s: float
    readings: Readings


class Unwound:
    """Adds up what counters have counted over all lives of the processes that count.

    A counter that is lower than before has begun anew at 0. A histogram begins anew as a whole: its buckets may have
    overtaken what they were while its number of values has not, so one that went back speaks for all of them.
    """

    def __init__(self) -> None:
        self._last: Readings = {}
        self._before: Readings = {}

    def add(self, readings: Mapping[str, Mapping[Labels, float]]) -> Readings:
        """The same, counters with what they had before each restart. One that is gone keeps what it had.

        It would else come back as if all that it ever counted had been counted since: a process that has just begun
        says nothing of what has not happened yet, and a part of /metrics that comes late is left out of one look.
        """
        fell = {
            _group(name, labels)
            for name, series in readings.items()
            if is_counter(name)
            for labels, value in series.items()
            if value < self._last.get(name, {}).get(labels, 0.0)
        }
        begun = {name for name, series in readings.items() if any(_group(name, labels) in fell for labels in series)}
        whole: Readings = {}
        for name, series in readings.items():
            if not is_counter(name):
                whole[name] = dict(series)
                continue
            last, before = self._last.setdefault(name, {}), self._before.setdefault(name, {})
            if len(last) > LABELS_LIMIT:
                self._forget(name, set(series))
            for labels, value in series.items():
                if fell and _group(name, labels) in fell:
                    before[labels] = before.get(labels, 0.0) + last.get(labels, 0.0)
                last[labels] = value
            if name in begun:
                for labels in last.keys() - series.keys():
                    before[labels] = before.get(labels, 0.0) + last[labels]
                    last[labels] = 0.0
        for name, last in self._last.items():
            before = self._before[name]
            whole[name] = {labels: value + before.get(labels, 0.0) for labels, value in last.items()}
        return whole

    def _forget(self, name: str, kept: set[Labels]) -> None:
        """Series that are gone, such as of models that score no more: their names may not pile up."""
        for sums in (self._last[name], self._before[name]):
            for labels in sums.keys() - kept:
                del sums[labels]


class Window:
    """The numbers of the last minutes. Of one thread.

    After a silence of more than `gap_s`, or a clock that was set back, it begins anew: what was counted meanwhile
    belongs to no moment of it, and a rate over it would be made up.
    """

    def __init__(self, keep_s: float, gap_s: float) -> None:
        self._keep_s = keep_s
        self._gap_s = gap_s
        self._moments: deque[Moment] = deque()

    def add(self, moment: Moment) -> None:
        """Take in the numbers of now."""
        moments = self._moments
        if moments and not 0.0 < moment.at_s - moments[-1].at_s <= self._gap_s:
            moments.clear()
        moments.append(moment)
        while len(moments) > 2 and moments[1].at_s <= moment.at_s - self._keep_s:
            moments.popleft()

    @property
    def now(self) -> Readings:
        """The newest numbers."""
        return self._moments[-1].readings if self._moments else {}

    def over(self, window_s: float) -> Growth | None:
        """What was counted in about the last `window_s`, or since the first look; None with one look or none."""
        if len(self._moments) < 2:
            return None
        newest = self._moments[-1]
        # The bounds are looks, so that a little less than a step must not make the window a step longer.
        beginning_s = newest.at_s - window_s - 0.25
        earlier = next(moment for moment in self._moments if moment.at_s >= beginning_s)
        if earlier is newest:
            earlier = self._moments[-2]
        return Growth(newest.at_s - earlier.at_s, earlier.readings, newest.readings)


def is_counter(name: str) -> bool:
    """Whether a sample only grows.

    >>> is_counter("headrace_outcomes_total"), is_counter("headrace_lag_seconds")
    (True, False)
    """
    return name.endswith(COUNTERS_ENDS) or name in COUNTS_BY_ANOTHER_NAME


class Growth(NamedTuple):
    """Two looks at all numbers and the time between them."""

    took_s: float
    earlier: Readings
    later: Readings

    def knows(self, name: str) -> bool:
        """Whether anybody can say how much a name grew. A gauge that was not said before need not have begun at 0."""
        return name in self.later and (name in self.earlier or name.endswith(COUNTERS_ENDS))

    def of(self, name: str) -> dict[Labels, float]:
        """How much each series of a name grew, where anybody `knows`. One that was not there before began at 0."""
        if not self.knows(name):
            return {}
        earlier = self.earlier.get(name, {})
        return {labels: value - earlier.get(labels, 0.0) for labels, value in self.later.get(name, {}).items()}


def _group(name: str, labels: Labels) -> tuple[str, Labels]:
    """What begins anew together: a counter alone, a histogram with all its buckets."""
    for end in HISTOGRAM_ENDS:
        if name.endswith(end):
            return name.removesuffix(end), tuple(pair for pair in labels if pair[0] != "le")
    return name, labels
