"""The numbers of several services as those of one: counted apart, then added.

What one of them counted while nobody could ask it belongs to no moment, and is left out: it would else look as if all
of it had happened at the look that found it again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from review.scrape import Readings
from review.series_counts import COUNTERS_ENDS, LABELS_LIMIT, Unwound

SUMMED_GAUGES = ("headrace_spool_waiting",)
"""Of what each has for itself. Other gauges are of something that all of them see: the largest is told."""


class CountedApart:
    """What one service has counted since somebody looks: its counters never fall, whatever becomes of it.

    `from_now` is whether what it counted before its first look is left out.
    """

    def __init__(self, from_now: bool) -> None:
        self._unwound = Unwound()
        self._was_away = from_now
        self._more: Readings = {}
        self.counters: Readings = {}
        self.gauges: Readings = {}

    def add(self, readings: Readings) -> None:
        """Take in what it says now."""
        whole = self._unwound.add(readings)
        if self._was_away:
            self._more = {
                name: {labels: self.counters.get(name, {}).get(labels, 0.0) - value for labels, value in series.items()}
                for name, series in whole.items()
                if _is_counter(name)
            }
        self._was_away = False
        self.gauges = {name: dict(series) for name, series in readings.items() if not _is_counter(name)}
        self.counters = {
            name: {labels: value + self._more.get(name, {}).get(labels, 0.0) for labels, value in series.items()}
            for name, series in whole.items()
            if _is_counter(name)
        }

    def miss(self) -> None:
        """It did not say: its counters stay as they are, nobody knows its gauges."""
        self._was_away = True
        self.gauges = {}


def together(counted: Iterable[CountedApart], ended: Readings) -> Readings:
    """Counters added, with what those counted that have ended; of a gauge the largest, but for `SUMMED_GAUGES`."""
    whole: Readings = {name: dict(series) for name, series in ended.items()}
    for one in counted:
        _add(whole, one.counters)
        for name, series in one.gauges.items():
            joined = whole.setdefault(name, {})
            for labels, value in series.items():
                if name in SUMMED_GAUGES:
                    joined[labels] = joined.get(labels, 0.0) + value
                else:
                    joined[labels] = max(value, joined.get(labels, value))
    return whole


def bury(ended: Readings, gone: CountedApart, others: Collection[CountedApart]) -> None:
    """Add what a service counted that is there no longer.

    Where there are very many series those are dropped that nobody counts any more, such as of models that are gone:
    what has no number at all has not fallen.
    """
    _add(ended, gone.counters)
    for name, series in ended.items():
        if len(series) > LABELS_LIMIT:
            known = {labels for one in others for labels in one.counters.get(name, ())}
            for labels in series.keys() - known:
                del series[labels]


def _add(sums: Readings, more: Readings) -> None:
    for name, series in more.items():
        added = sums.setdefault(name, {})
        for labels, value in series.items():
            added[labels] = added.get(labels, 0.0) + value


def _is_counter(name: str) -> bool:
    return name.endswith(COUNTERS_ENDS)
