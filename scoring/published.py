"""Reports that a command or a process leaves in Redis under a key, for whoever shows them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
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

    def read(self, keys: Sequence[str], kind: type[T]) -> list[T | None]:
        """The reports that are kept there. Never raises: None where there is none, or Redis does not answer."""
        try:
            with self._lock:
                contents = self._connection.one("MGET", *keys)
        except (RedisUnavailable, RedisError):
            return [None] * len(keys)
        return [_decoded(content, kind) for content in contents]

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._connection.close()


class ReportFeed(ABC):
    """The newest reports of some subjects (use cases, schedules) as text, for whoever scrapes."""

    def __init__(self, redis_url: str, names: Iterable[str]) -> None:
        self._published = Published(redis_url)
        self._names = tuple(names)

    @abstractmethod
    def text(self) -> str:
        """The metrics as they are now, in Prometheus's text format. Never raises: reports may be missing."""

    def close(self) -> None:
        """Close the connection."""
        self._published.close()

    def newest(self, key_of: Callable[[str], str], kind: type[T]) -> dict[str, T | None]:
        """The report of each subject; None where there is none."""
        found = self._published.read([key_of(name) for name in self._names], kind)
        return dict(zip(self._names, found, strict=True))

    def there(self, key_of: Callable[[str], str], kind: type[T]) -> dict[str, T]:
        """The reports that there are."""
        return {name: found for name, found in self.newest(key_of, kind).items() if found is not None}


def _decoded(content: bytes | None, kind: type[T]) -> T | None:
    try:
        return None if content is None else msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
