"""Reports that a command or a process leaves in Redis under a key, for whoever shows them."""

from __future__ import annotations

from threading import Lock
from typing import TypeVar

import msgspec

from stream.connection import RedisConnection, RedisError, RedisUnavailable

SCRAPE_TIMEOUT_MS = 500.0
T = TypeVar("T")


class Published:
    """Reads reports when somebody scrapes, and never otherwise. Threads may share it.

    It has a connection of its own: a scrape that waits for Redis (at most half a second) keeps no request waiting.
    """

    def __init__(self, redis_url: str) -> None:
        self._connection = RedisConnection(redis_url, SCRAPE_TIMEOUT_MS, SCRAPE_TIMEOUT_MS)
        self._lock = Lock()

    def read(self, key: str, kind: type[T]) -> T | None:
        """The report that is kept there. Never raises: None where there is none, or Redis does not answer."""
        try:
            with self._lock:
                content = self._connection.one("GET", key)
            return None if content is None else msgspec.json.decode(content, type=kind)
        except (RedisUnavailable, RedisError, msgspec.DecodeError, UnicodeDecodeError):
            return None

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._connection.close()
