"""How often each rule fired of late, counted in the archive now and then, never while a page waits for it."""

from __future__ import annotations

import logging
from datetime import date, datetime, timedelta
from threading import Event, Lock, Thread

import duckdb

from review.rule_facts import HitsOfDay
from scoring.rule_hits import named_by_day
from stream.archive import Archive

DAYS = 14
KEPT = timedelta(minutes=2)
PATIENCE_S = 0.4
"""How long the first page waits for the first count: a small archive is counted by then."""
logger = logging.getLogger(__name__)

Hits = dict[str, list[HitsOfDay]]


class HitCount:
    """The last days of one use case. Any number of threads may ask; one counts."""

    def __init__(self, archive: Archive, use_case: str) -> None:
        self._archive = archive
        self._use_case = use_case
        self._lock = Lock()
        self._counted: Hits | None = None
        self._counted_at: datetime | None = None
        self._counting: Event | None = None

    def counted(self, now: datetime) -> Hits | None:
        """The newest count, today's last; None while there is none yet. One that failed is made again after `KEPT`."""
        with self._lock:
            is_old = self._counted_at is None or not timedelta() <= now - self._counted_at < KEPT
            if is_old and self._counting is None:
                self._counting = Event()
                Thread(target=self._count, args=(now, self._counting), name="rule-hits", daemon=True).start()
            counting, counted = self._counting, self._counted
        if counted is None and counting is not None:
            counting.wait(PATIENCE_S)
            with self._lock:
                return self._counted
        return counted

    def _count(self, now: datetime, done: Event) -> None:
        today = now.date()
        days = [today - timedelta(days=back) for back in range(DAYS - 1, -1, -1)]
        found: Hits | None = None
        try:
            by_name = named_by_day(self._archive, self._use_case, days[0])
            found = {name: _row(by_day, days) for name, by_day in by_name.items()}
        except (duckdb.Error, OSError) as error:
            # Such as a file that was merged with others meanwhile: the count before is nearer to the truth than none.
            logger.warning("how often rules fired cannot be counted: %s", error)
        finally:
            with self._lock:
                self._counted = self._counted if found is None else found
                self._counted_at, self._counting = now, None
            done.set()


def _row(by_day: dict[date, tuple[int, int, int]], days: list[date]) -> list[HitsOfDay]:
    return [HitsOfDay(day, *by_day.get(day, (0, 0, 0))) for day in days]
