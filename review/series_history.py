"""A stretch of time of several series: the last hour as it was seen, what lies before it by the minute or coarser."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from review.series import Columns, Point, Series
from review.series_file import MINUTE_S, SeriesFile, SeriesUnavailable

POINTS_LIMIT = 720
HOUR_S = 3600.0
logger = logging.getLogger(__name__)


class SeriesHistory:
    """What pages and alerts read. Without a file, or while it cannot be read, there is the last hour only."""

    def __init__(self, series: Series, days: SeriesFile | None = None) -> None:
        self.series = series
        self._days = days

    def latest(self, name: str) -> Point | None:
        """The newest value of the last hour, however old; None where there is none."""
        return self.series.latest(name)

    def since(self, name: str, at_s: float) -> Sequence[Point]:
        """The values after a time, oldest first: means of minutes as far as the memory does not reach."""
        newer = self.series.since(name, at_s)
        began_s = self.series.began_s
        if at_s >= began_s:
            return newer
        older = self._read([name], at_s, min(began_s, 1e12), MINUTE_S)
        times = zip(older.at_s, older.values[name], strict=True)
        return [*(Point(at, value) for at, value in times if value is not None and at_s < at < began_s), *newer]

    def names(self) -> list[str]:
        """All series that are known of the last hour or days."""
        try:
            older = self._days.names() if self._days else []
        except SeriesUnavailable:
            older = []
        return sorted({*older, *self.series.names})

    def columns(self, names: Sequence[str], since_s: float, until_s: float) -> Columns:
        """Several series over a stretch of time, in at most about `POINTS_LIMIT` points."""
        length_s = max(until_s - since_s, 1.0)
        if length_s > HOUR_S * 1.5:
            return self._read(names, since_s, until_s, step_of(length_s))
        began_s = self.series.began_s
        newer = thinned(self.series.columns(names, since_s), length_s / POINTS_LIMIT)
        if since_s + MINUTE_S >= began_s:
            return newer
        older = self._read(names, since_s, min(began_s, until_s), MINUTE_S)
        keep = [index for index, at in enumerate(older.at_s) if since_s < at < began_s]
        return Columns(
            [older.at_s[index] for index in keep] + newer.at_s,
            {name: [older.values[name][index] for index in keep] + newer.values[name] for name in names},
        )

    def _read(self, names: Sequence[str], since_s: float, until_s: float, step_s: int) -> Columns:
        if self._days is None:
            return Columns([], {name: [] for name in names})
        try:
            return self._days.read(names, since_s, until_s, step_s)
        except SeriesUnavailable as error:
            logger.warning("the charts of the last days: %s", error)
            return Columns([], {name: [] for name in names})


def step_of(length_s: float) -> int:
    """The step, in seconds, whole minutes, at which a stretch has at most `POINTS_LIMIT` points.

    >>> step_of(86400), step_of(7 * 86400)
    (120, 900)
    """
    least_s = length_s / POINTS_LIMIT
    return next(step for step in (60, 120, 300, 900, 1800, 3600, 7200, 86400) if step >= least_s or step == 86400)


def thinned(columns: Columns, step_s: float) -> Columns:
    """Means over steps of a grid that stays where it is, so that a chart does not tremble as it moves on."""
    at_s = columns.at_s
    if len(at_s) < 2 or (at_s[-1] - at_s[0]) / (len(at_s) - 1) >= step_s:
        return columns
    groups: list[list[int]] = []
    place = None
    for index, at in enumerate(at_s):
        if int(at / step_s) != place:
            place = int(at / step_s)
            groups.append([])
        groups[-1].append(index)
    return Columns(
        [at_s[group[-1]] for group in groups],
        {
            name: [_mean([values[index] for index in group]) for group in groups]
            for name, values in columns.values.items()
        },
    )


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
