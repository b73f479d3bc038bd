"""Each tick, put into bytes once and sent to all open dashboards; a page that comes back gets what it missed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from threading import Lock, Thread
from typing import Any

import msgspec

from review.case_store import CaseStore
from review.collector import Collector, Tick
from review.precision import Precision
from review.series_history import SeriesHistory
from review.web.dashboard_view import drifted_of, models_of, tiles_of, trouble_of

HEARTBEAT_S = 10.0
RETRY_MS = 1000
QUEUE_LIMIT = 15
LISTENERS_LIMIT = 500
MISSED_LIMIT = 900
"""Ticks that a page which comes back is told; after more it reads its charts again."""
VERDICTS_EVERY_S = 60.0
VERDICTS_DAYS = 7

logger = logging.getLogger(__name__)
Queue = asyncio.Queue[bytes | None]


class Ticks:
    """What a tick says to people, made once for all pages, in the collector's thread, and only while somebody looks."""

    def __init__(self, collector: Collector, history: SeriesHistory, cases: CaseStore) -> None:
        self._collector = collector
        self._history = history
        self._cases = cases
        self._listeners: dict[Queue, asyncio.AbstractEventLoop] = {}
        self._lock = Lock()
        self._precision: list[Precision] = []
        self._precision_at_s = -VERDICTS_EVERY_S
        self._is_reading = False
        collector.listen(self._tell)

    @property
    def is_full(self) -> bool:
        """Whether as many listen as may."""
        return len(self._listeners) >= LISTENERS_LIMIT

    @contextmanager
    def listening(self) -> Iterator[Queue]:
        """Ticks from now on, on this event loop. None ends them: who does not keep up is better off coming back."""
        queue: Queue = asyncio.Queue(QUEUE_LIMIT)
        with self._lock:
            self._listeners[queue] = asyncio.get_running_loop()
        self._collector.watched()
        try:
            yield queue
        finally:
            with self._lock:
                self._listeners.pop(queue, None)

    def shown(self, tick: Tick) -> dict[str, Any]:
        """What pages show of a tick beside the charts. May read the cases: not for an event loop."""
        if self._is_due():
            self._read_verdicts(tick.at_s)
        return self._said(tick)

    def _said(self, tick: Tick) -> dict[str, Any]:
        values, standing = tick.values, self._collector.standing
        return {
            "tiles": [tile._asdict() for tile in tiles_of(values, self._history.series, tick.at_s)],
            "models": [list(row) for row in models_of(standing, tick.versions, self._precision)],
            "drifted": drifted_of(standing),
            "trouble": trouble_of(tick, self._answered),
        }

    def newest(self) -> Tick:
        """The last look."""
        return self._collector.newest

    def missed(self, after_ms: int) -> bytes:
        """The ticks since, as one event; where they are too many, the word to read all again."""
        ticks = self._history.series.ticks(after_ms / 1000)
        # Of a time before what is kept, or of another clock: only reading all again is right.
        is_ours = self._history.series.began_s * 1000 - after_ms < 5_000
        if not ticks:
            return b""
        if len(ticks) > MISSED_LIMIT or not is_ours:
            return event("again", ticks[-1][0], {})
        return event("missed", ticks[-1][0], {"ticks": [[at_s, rounded(values)] for at_s, values in ticks]})

    def _tell(self, tick: Tick) -> None:
        with self._lock:
            listeners = list(self._listeners.items())
        if not listeners:
            return
        self._collector.watched()
        if self._is_due():
            # Nothing may wait in the collector's thread: alerts go by its numbers, also while the cases hang.
            Thread(target=self._read_verdicts, args=(tick.at_s,), name="verdicts", daemon=True).start()
        said = event("tick", tick.at_s, {"t": tick.at_s, "v": rounded(tick.values), **self._said(tick)})
        for queue, loop in listeners:
            try:
                loop.call_soon_threadsafe(_put, queue, said)
            except RuntimeError:  # Its loop has ended, and the page with it.
                with self._lock:
                    self._listeners.pop(queue, None)

    def _answered(self) -> float | None:
        point = self._history.latest("events_per_s")
        return point.at_s if point else None

    def _is_due(self) -> bool:
        """Whether it is time to read how right flags were; for one of those that ask."""
        with self._lock:
            is_due = not self._is_reading and time.monotonic() - self._precision_at_s >= VERDICTS_EVERY_S
            self._is_reading |= is_due
            return is_due

    def _read_verdicts(self, now_s: float) -> None:
        """How right each model's flags were, by analysts; read once a minute."""
        try:
            since = datetime.fromtimestamp(now_s, UTC) - timedelta(days=VERDICTS_DAYS)
            self._precision = self._cases.precision("model", since)
        except Exception as error:
            logger.warning("how right flags were could not be read: %s", error)
        finally:
            with self._lock:
                self._precision_at_s, self._is_reading = time.monotonic(), False


async def stream_of(ticks: Ticks, after_ms: int | None, heartbeat_s: float = HEARTBEAT_S) -> AsyncIterator[bytes]:
    """Events for one page: that it is heard, what it missed, then each tick."""
    with ticks.listening() as queue:
        # 1. Listen.  2. Tell what was missed.  Reversed, a tick in between would be lost; twice does no harm: the page
        # drops what is not newer.
        # The first word has no number: the page has not seen anything by it.
        yield b"retry: %d\nevent: hello\ndata: {}\n\n" % RETRY_MS
        if after_ms is not None and (missed := ticks.missed(after_ms)):
            yield missed
        while True:
            try:
                said = await asyncio.wait_for(queue.get(), heartbeat_s)
            except TimeoutError:
                yield b": still there\n\n"
                continue
            if said is None:
                return
            yield said


def event(name: str, at_s: float, content: Mapping[str, Any]) -> bytes:
    """One server-sent event; its id is its time in milliseconds."""
    return b"event: %s\nid: %d\ndata: %s\n\n" % (name.encode(), round(at_s * 1000), msgspec.json.encode(content))


def rounded(values: Mapping[str, float]) -> dict[str, float]:
    """In six digits: what a chart cannot show need not be sent.

    >>> rounded({"a": 1.23456789})
    {'a': 1.23457}
    """
    return {name: float(f"{value:.6g}") for name, value in values.items()}


def _put(queue: Queue, said: bytes) -> None:
    if queue.full():
        while not queue.empty():
            queue.get_nowait()
        queue.put_nowait(None)
    else:
        queue.put_nowait(said)
