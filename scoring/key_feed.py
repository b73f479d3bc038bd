"""The keys as a service process knows them, refreshed in the background; no answer waits for Redis because of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from prometheus_client import Gauge

from scoring.background import Background
from scoring.key_allowance import Allowances
from scoring.key_log import KeyLog
from scoring.key_table import KeyTable, table_of
from stream.connection import RedisError, RedisUnavailable

REFRESH_INTERVAL_S = 0.25
TIMEOUT_MS = 300.0
"""Of the connection. An interval, a read that just comes in time and a settlement last less than a second together."""

KEYS = Gauge("headrace_keys", "API keys in the table, of the process that has most.", multiprocess_mode="livemax")
AGE = Gauge(
    "headrace_keys_age_seconds", "Since the keys were last read, of the oldest process.", multiprocess_mode="livemax"
)

_log = logging.getLogger(__name__)


class KeyFeed:
    """Keeps `current` up to date: a created, rotated or revoked key is obeyed within a second.

    `current` is None until the keys were read once. When Redis goes later, the present ones stay, and expire on time;
    what was revoked meanwhile is obeyed within a second of its return. `problem` says what is wrong.
    """

    def __init__(
        self,
        log: KeyLog,
        processes: int = 1,
        interval_s: float = REFRESH_INTERVAL_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.current: KeyTable | None = None
        self.problem = "they were not asked for yet"
        self._key_log = log
        self._allowances = Allowances(log.connection, processes)
        self._seen: int | None = None
        self._clock = clock
        self._read_at_s = clock()
        self._background = Background("key-feed", self.refresh, interval_s)

    def start(self) -> None:
        """Read the keys, then go on in the background."""
        self._background.start()

    def stop(self) -> None:
        """End the background thread, if it was started, give all leases back and close the connection."""
        self._background.stop()
        try:
            self._allowances.settle(closing=True)
        except (RedisUnavailable, RedisError) as error:
            _log.info("what was leased of the keys' rates is not given back: %s", error)
        self._key_log.connection.close()

    def refresh(self) -> None:
        """Look once for new steps, and settle. Never raises: whatever is wrong, the present keys stay in place."""
        try:
            self._read()
            self._read_at_s = self._clock()
            self._allowances.settle()
            self.problem = ""
        except (RedisUnavailable, RedisError) as error:
            self._allowances.go_alone()
            self.problem = str(error)
        except Exception as error:  # nothing may end this thread
            _log.exception("the keys cannot be brought up to date")
            self.problem = str(error)
        AGE.set(self._clock() - self._read_at_s)

    def _read(self) -> None:
        before = self._key_log.book.version
        self._key_log.read()
        if self._key_log.changes == self._seen and self.current is not None:
            return
        book = self._key_log.book
        if book.version < before:
            _log.warning("the keys went back from version %d to %d: Redis has lost steps", before, book.version)
        for version, problem in self._key_log.problems.items():
            _log.warning("step %d of the keys is not followed: %s", version, problem)
        self.current = table_of(book, self._allowances)
        self._seen = self._key_log.changes
        KEYS.set(len(self.current))
