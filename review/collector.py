"""The one thread that asks for numbers: each tick becomes a row of every series, once for all who look."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from threading import Event, Lock, Thread
from types import MappingProxyType
from typing import NamedTuple

from review.scrape import Counts, Readings, ScrapeFailed
from review.series import Series
from review.series_counts import Moment, Unwound, Window
from review.series_file import KEPT_DAYS, MINUTE_S, Minute, SeriesFile, SeriesUnavailable
from review.series_table import KEEP_S, values_of, versions_of

TICK_S = 2.0
IDLE_TICK_S = 10.0
WATCHED_S = 60.0
GAP_S = 45.0
MINUTES_WAITING = 60
JOIN_S = 10.0
logger = logging.getLogger(__name__)


class Tick(NamedTuple):
    """One look: the series that had a value, and why there are none where the service did not answer."""

    at_s: float
    values: dict[str, float]
    trouble: str = ""
    versions: Mapping[tuple[str, str], float] = MappingProxyType({})
    """Scores a second by model and version."""
    away: str = ""
    """Which of several addresses do not answer; the numbers are those of the others."""


Listener = Callable[[Tick], None]


class Collector:
    """Asks `counts` each two seconds while a page is open, else each ten: a look costs the service some scores' time.

    `away` says which of several services did not answer the last look, where others did.

    A tick does, in this order: 1. ask and compute, 2. append to the series, 3. tell the listeners, 4. once a minute
    write to the file. A listener is called in the collector's thread and must not wait; one that raises is logged.
    """

    def __init__(
        self,
        counts: Counts,
        series: Series,
        days: SeriesFile | None = None,
        clock: Callable[[], float] = time.time,
        tick_s: float = TICK_S,
        idle_tick_s: float = IDLE_TICK_S,
        away: Callable[[], str] = str,
    ) -> None:
        self.series = series
        self._counts = counts
        self._away = away
        self._days = days
        self._clock = clock
        self._tick_s, self._idle_tick_s = tick_s, idle_tick_s
        self._unwound = Unwound()
        self._window = Window(KEEP_S, GAP_S)
        self._listeners: list[Listener] = []
        self._lock = Lock()
        self._newest = Tick(0.0, {}, "nobody has asked the service yet")
        self._is_troubled = False
        self._standing: Readings = {}
        self._minute = 0
        self._seen: dict[str, Minute] = {}
        self._unwritten: dict[int, dict[str, Minute]] = {}
        self._forgot_at_minute = 0
        self._watched_at_s = 0.0
        self._wake, self._ended = Event(), Event()
        self._thread: Thread | None = None

    @property
    def newest(self) -> Tick:
        """The last look."""
        return self._newest

    @property
    def standing(self) -> Readings:
        """The numbers of the last look that found some, as the service said them."""
        return self._standing

    def listen(self, listener: Listener) -> None:
        """Call this with every tick from now on."""
        with self._lock:
            self._listeners.append(listener)

    def watched(self) -> None:
        """Say that somebody looks: ticks come quickly for the next minute."""
        is_news = self._clock() - self._watched_at_s > WATCHED_S
        self._watched_at_s = self._clock()
        if is_news:
            self._wake.set()

    def start(self) -> None:
        """Tick until stopped."""
        self._thread = Thread(target=self._run, name="collector", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop, and write the minute that is under way."""
        self._ended.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(JOIN_S)
        self._turn_minute(0)

    def tick(self) -> Tick:
        """Look once. Never raises: what is wrong is in the tick."""
        at_s, trouble, away = self._clock(), "", ""
        values: dict[str, float] = {}
        versions: dict[tuple[str, str], float] = {}
        try:
            readings = self._counts()
        except ScrapeFailed as error:
            trouble = str(error)
        except Exception as error:
            logger.exception("the service's numbers could not be computed")
            trouble = f"the service's numbers could not be computed: {error}"
        else:
            self._window.add(Moment(at_s, self._unwound.add(readings)))
            values, versions = values_of(self._window), versions_of(self._window)
            self._standing = readings
            away = self._away()
        tick = Tick(at_s, values, trouble, versions, away)
        if (trouble or away) and not self._is_troubled:
            logger.warning("%s", trouble or away)
        self._is_troubled = bool(trouble or away)
        if not self.series.append(at_s, values):
            return tick
        self._newest = tick
        with self._lock:
            listeners = list(self._listeners)
        for listener in listeners:
            try:
                listener(tick)
            except Exception:
                logger.exception("a listener of the series failed")
        self._turn_minute(int(at_s // MINUTE_S))
        for name, value in values.items():
            self._seen[name] = self._seen.get(name, Minute(0, 0.0, value)).with_value(value)
        return tick

    def _run(self) -> None:
        while not self._ended.is_set():
            began_s = time.monotonic()
            self.tick()
            quick = self._clock() - self._watched_at_s <= WATCHED_S
            self._wake.wait(max((self._tick_s if quick else self._idle_tick_s) - (time.monotonic() - began_s), 0.1))
            self._wake.clear()

    def _turn_minute(self, minute: int) -> None:
        """Write what was seen in the minute before, where another has begun."""
        if minute == self._minute:
            return
        if self._seen:
            self._unwritten[self._minute] = self._seen
        self._minute, self._seen = minute, {}
        if self._days is None:
            self._unwritten.clear()
            return
        try:
            for old in sorted(self._unwritten):
                self._days.add(old, self._unwritten[old])
                del self._unwritten[old]
            if minute - self._forgot_at_minute >= 60:
                self._days.forget(minute - KEPT_DAYS * 24 * 60)
                self._forgot_at_minute = minute
        except SeriesUnavailable as error:
            logger.warning("the series of a minute are not written yet: %s", error)
            for old in sorted(self._unwritten)[:-MINUTES_WAITING]:
                del self._unwritten[old]
