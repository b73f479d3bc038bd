"""Reports that a command or a process leaves in Redis under a key, for whoever shows them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from threading import Lock
from typing import Any, TypeVar

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
        contents = self.contents(keys)
        return [None] * len(keys) if contents is None else [_decoded(content, kind) for content in contents]

    def contents(self, keys: Sequence[str]) -> list[bytes | None] | None:
        """What is kept there, as it is. Never raises: None where Redis does not answer."""
        try:
            with self._lock:
                found: list[bytes | None] = self._connection.one("MGET", *keys)
                return found
        except (RedisUnavailable, RedisError):
            return None

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._connection.close()


class PublishedTogether(Published):
    """Reads the reports of several feeds in one round trip, and decodes what has changed. Of one thread at a time.

    What is read is what was there at the last `renew`; a key that is asked for the first time is read then. A Redis
    that hangs is waited for once in each `renew`, however many feeds ask.
    """

    def __init__(self, redis_url: str) -> None:
        super().__init__(redis_url)
        self._contents: dict[str, bytes | None] = {}
        self._decoded: dict[str, tuple[bytes | None, Any]] = {}
        self._is_away = False

    def renew(self) -> None:
        """Read all that was ever asked for anew. Never raises: without Redis there is nothing."""
        self._is_away = False
        keys, self._contents = list(self._contents), dict.fromkeys(self._contents)
        self._fetch(keys)

    def read(self, keys: Sequence[str], kind: type[T]) -> list[T | None]:
        """The reports as they were at the last `renew`. Never raises."""
        self._fetch([key for key in keys if key not in self._contents])
        return [self._report(key, kind) for key in keys]

    def _fetch(self, keys: Sequence[str]) -> None:
        if keys and not self._is_away:
            contents = self.contents(keys)
            self._is_away = contents is None
            self._contents |= zip(keys, contents or (), strict=False)

    def _report(self, key: str, kind: type[T]) -> T | None:
        content = self._contents.get(key)
        known = self._decoded.get(key)
        if known is None or known[0] != content:
            known = self._decoded[key] = content, _decoded(content, kind)
        report: T | None = known[1]
        return report


class ReportFeed(ABC):
    """The newest reports of some subjects (use cases, schedules) as text, for whoever scrapes.

    It reads them from `published`, or over a connection of its own where none is given.
    """

    def __init__(self, redis_url: str, names: Iterable[str], published: Published | None = None) -> None:
        self._published = Published(redis_url) if published is None else published
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
