"""How full the outbox is and how late its readers are, read from Redis when somebody scrapes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from threading import Lock

from scoring.metric_table import OF_LOG
from scoring.metric_text import counts_text
from scoring.tally import Counts, Labels
from stream.connection import RedisConnection, RedisError, RedisUnavailable
from stream.records import TOPICS
from stream.redis_keys import stream_key
from stream.standing import answers, standings

SCRAPE_TIMEOUT_MS = 500.0
KEPT_S = 1.0


class LogFeed:
    """Reads the outbox and the standing of groups, over a connection of its own, at most once a second or less often.

    Without Redis there is no such metric, rather than an old one. With Kafka, give the one group that reads the outbox:
    the relay.
    """

    def __init__(
        self,
        redis_url: str,
        partitions: int,
        outbox_limit: int,
        groups: Sequence[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection = RedisConnection(redis_url, SCRAPE_TIMEOUT_MS, SCRAPE_TIMEOUT_MS)
        self._partitions = partitions
        self._outbox_limit = outbox_limit
        self._groups = tuple(groups)
        self._clock = clock
        self._lock = Lock()
        self._text, self._read_at_s = "", -KEPT_S

    def text(self, kept_s: float = KEPT_S) -> str:
        """The metrics as they are now, or were less than `kept_s` ago. Never raises."""
        with self._lock:
            if self._clock() - self._read_at_s >= kept_s:
                try:
                    self._text = counts_text(self._counts(), OF_LOG)
                except (RedisUnavailable, RedisError):
                    self._text = ""
                self._read_at_s = self._clock()
            return self._text

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._connection.close()

    def _counts(self) -> Counts:
        places = [(topic, number) for topic in TOPICS for number in range(self._partitions)]
        lengths = answers(self._connection, [("XLEN", stream_key(*place)) for place in places])
        records: dict[Labels, float] = {(topic,): 0.0 for topic in TOPICS}
        for (topic, _), length in zip(places, lengths, strict=True):
            records[topic,] += length
        late_s: dict[Labels, float] = {}
        members: dict[Labels, float] = {}
        for group, found in standings(self._connection, self._groups, self._partitions).items():
            if found.joined:
                members[group,] = float(found.members)
            late_s |= {(group, topic): seconds for topic, seconds in found.late_s_by_topic.items()}
        fullest: dict[Labels, float] = {(): max(lengths) / self._outbox_limit}
        return Counts(
            gauges={
                "headrace_lag_seconds": late_s,
                "headrace_outbox_records": records,
                "headrace_outbox_fullest_ratio": fullest,
                "headrace_group_members": members,
            }
        )
