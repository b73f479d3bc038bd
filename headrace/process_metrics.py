"""Metrics of a process without HTTP of its own: Prometheus's text on a port, where one is set."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Lock

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from headrace.settings import Settings
from headrace.watched_log import LogCounts, WatchedLog
from scoring.metric_table import EVERY, families
from scoring.tally import Counts, Labels, merged
from stream.connection import RedisConnection, RedisError, RedisUnavailable
from stream.log import Log, LogUnavailable
from stream.relay import GROUP as RELAY
from stream.standing import standing

KEPT_S = 5.0
SCRAPE_TIMEOUT_MS = 1000.0


class InvalidPort(ValueError):
    """A port that cannot be listened on."""


@contextmanager
def watched(settings: Settings, log: Log, more: Callable[[], Counts] = Counts) -> Iterator[Log]:
    """The log, and while it is used its counts at `metrics_port`; with port 0 the log as it is.

    `more` is what else is told. Raises `InvalidPort`.
    """
    if not settings.metrics_port:
        yield log
        return
    counted = LogCounts()
    lateness = Lateness(settings, counted)
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    registry.register(_Told([counted.counts, lateness, more]))
    try:
        server, thread = start_http_server(settings.metrics_port, addr=settings.host, registry=registry)
    except OSError as error:
        raise InvalidPort(
            f"HEADRACE_METRICS_PORT={settings.metrics_port} on {settings.host}: {error}; give a free one, or 0 for none"
        ) from error
    try:
        yield WatchedLog(log, counted)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        lateness.close()


class Lateness:
    """How late the groups of this process are, asked over a connection of its own, at most every `KEPT_S`."""

    def __init__(self, settings: Settings, counted: LogCounts) -> None:
        self._settings = settings
        self._counted = counted
        self._redis: RedisConnection | None = None
        self._lock = Lock()
        self._counts, self._read_at_s = Counts(), -KEPT_S

    def __call__(self) -> Counts:
        """The lag now, or a moment ago; nothing where the log does not answer."""
        with self._lock:
            if time.monotonic() - self._read_at_s >= KEPT_S:
                try:
                    self._counts = self._read()
                except (RedisUnavailable, RedisError, LogUnavailable, OSError):
                    self._counts = Counts()
                self._read_at_s = time.monotonic()
            return self._counts

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            if self._redis is not None:
                self._redis.close()

    def _read(self) -> Counts:
        counts = Counts()
        for group, topics in self._counted.groups.copy().items():
            # The relay reads the outbox, everybody else what it fills.
            if self._settings.kafka and group != RELAY:
                counts = merged([counts, self._on_kafka(group)])
            else:
                counts = merged([counts, self._on_redis(group, topics)])
        return counts

    def _on_redis(self, group: str, topics: tuple[str, ...]) -> Counts:
        self._redis = self._redis or RedisConnection(self._settings.redis, SCRAPE_TIMEOUT_MS)
        found = standing(self._redis, group, self._settings.partitions, topics)
        late_s: dict[Labels, float] = {(group, topic): seconds for topic, seconds in found.late_s_by_topic.items()}
        members: dict[Labels, float] = {(group,): float(found.members)}
        return Counts(gauges={"headrace_lag_seconds": late_s, "headrace_group_members": members})

    def _on_kafka(self, group: str) -> Counts:
        from stream.kafka_client import contact, standings

        security = self._settings.kafka_options
        contact(self._settings.kafka, security.get("ssl_context"))
        found = standings(self._settings.kafka, [group], security)[group]
        behind: dict[Labels, float] = {
            (group, place.topic, str(place.number)): float(count) for place, count in found.behind_by_partition.items()
        }
        members: dict[Labels, float] = {(group,): float(found.members)}
        return Counts(gauges={"headrace_lag_records": behind, "headrace_group_members": members})


class _Told(Collector):
    def __init__(self, sources: list[Callable[[], Counts]]) -> None:
        self._sources = sources

    def collect(self) -> Iterable[Family]:
        return families(merged([source() for source in self._sources]), EVERY.values())
