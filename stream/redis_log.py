"""The log on one machine: partitioned Redis Streams, durable by Redis's append-only file.

The scorer's own script appends to the same streams (`XADD <stream_key> * k <key> v <record>`), so what it
answers and what it records are one step, and the outbox *is* the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from threading import Lock
from typing import Any

from stream.connection import Command, RedisConnection, RedisError, RedisUnavailable
from stream.log import Admit, Entry, LogFull, LogUnavailable, Message, Partition, as_it_is, partition_of
from stream.redis_group import RedisConsumer, call
from stream.redis_keys import (
    SEQUENCE_BITS,
    TOPICS_KEY,
    entries_of,
    groups_key,
    offset_of,
    offsets_key,
    stream_id,
    stream_key,
)
from stream.tls import without_password

__all__ = ["RedisLog", "offset_of", "stream_id", "stream_key"]

# A trim deletes at most this many entries of each partition, so that the scorer never waits for it.
TRIM_LIMIT = 10_000
APPEND_CHUNK = 1_000
MIN_LEASE_MS = 200


class RedisLog:
    """A `Log` over `partitions` streams a topic. Safe to share among threads; each consumer belongs to one.

    `retention_ms` is how long entries stay that every group has committed; `outbox_limit` is how many entries
    a partition may hold before `append` is refused; `lease_ms` is how long a crashed member keeps its
    partitions; `admit` sees every entry before its readers do. Trap: all who use a server must agree on `partitions`;
    `consumer` checks that.
    """

    def __init__(
        self,
        url: str,
        partitions: int = 8,
        *,
        retention_ms: int = 3_600_000,
        outbox_limit: int = 1_000_000,
        lease_ms: int = 10_000,
        timeout_ms: float = 5000,
        admit: Admit = as_it_is,
    ) -> None:
        if lease_ms < MIN_LEASE_MS:
            raise ValueError(
                f"lease_ms is {lease_ms}; use at least {MIN_LEASE_MS}, or members lose leases as they poll"
            )
        self.name = "redis"
        self.url = url
        self.retention_ms = retention_ms
        self.outbox_limit = outbox_limit
        self.lease_ms = lease_ms
        self._partitions = partitions
        self._admit = admit
        self._timeout_ms = timeout_ms
        self._connection = RedisConnection(url, timeout_ms)
        self._turn = Lock()

    def append(self, messages: Sequence[Message]) -> None:
        """Write all messages, or raise `LogFull` and write none. How durable is the server's `appendfsync`.

        The bound is checked once, before: a call may pass it by its own messages.
        """
        placed = [(stream_key(m.topic, partition_of(m.key, self._partitions)), m) for m in messages]
        streams = list(dict.fromkeys(stream for stream, _ in placed))
        for stream, length in zip(streams, self._call([("XLEN", s) for s in streams]), strict=True):
            if length >= self.outbox_limit:
                raise LogFull(
                    f"stream {stream} holds {length} entries, its limit is {self.outbox_limit}; "
                    "see that the relay or worker runs and catches up, or raise the outbox limit"
                )
        for start in range(0, len(placed), APPEND_CHUNK):
            chunk = placed[start : start + APPEND_CHUNK]
            self._call([("XADD", stream, "*", "k", m.key, "v", m.value) for stream, m in chunk])

    def partitions(self, topic: str) -> int:
        """The same number for every topic."""
        return self._partitions

    def read(self, partition: Partition, start: int, limit: int) -> list[Entry]:
        """Up to `limit` entries from offset `start` on."""
        rows = self._call([("XRANGE", stream_key(*partition), stream_id(start), "+", "COUNT", limit)])[0]
        return [self._admit(partition.topic, entry) for entry in entries_of(rows)]

    def end(self, partition: Partition) -> int:
        """The offset after the newest entry, also if that has been trimmed; 0 if there never was one."""
        try:
            with self._turn:
                answer = self._connection.one("XINFO", "STREAM", stream_key(*partition))
        except RedisError as error:
            if "no such key" in str(error):
                return 0
            raise LogUnavailable(str(error)) from error
        except RedisUnavailable as error:
            raise LogUnavailable(str(error)) from error
        fields = dict(zip(answer[::2], answer[1::2], strict=True))
        return offset_of(fields[b"last-generated-id"]) + 1

    def committed(self, group: str, partition: Partition) -> int:
        """Where the group goes on in this partition; 0 if it never committed."""
        return int(self._call([("HGET", offsets_key(group, partition.topic), partition.number)])[0] or 0)

    def consumer(self, group: str, topics: Iterable[str]) -> RedisConsumer:
        """Join a group; from now on `trim` keeps what it has not committed.

        Raises `ValueError` if the server's streams have another number of partitions than this log was given.
        """
        topics = tuple(topics)
        join: list[Command] = [("SET", "log:partitions", self._partitions, "NX"), ("GET", "log:partitions")]
        join += [("SADD", TOPICS_KEY, *topics), *(("SADD", groups_key(topic), group) for topic in topics)]
        found = int(self._call(join)[1])
        if found != self._partitions:
            raise ValueError(
                f"the log at {without_password(self.url)} has {found} partitions a topic, not {self._partitions}; set "
                f"partitions to {found}, or let every group finish, then delete the key log:partitions"
            )
        connection = RedisConnection(self.url, self._timeout_ms)
        return RedisConsumer(connection, group, topics, self._partitions, self.lease_ms, self._admit)

    def trim(self, limit: int = TRIM_LIMIT) -> int:
        """Delete what is older than `retention_ms` and committed by every group of its topic; answer how many.

        Call it every minute or so; at most about `limit` entries of each partition go in one call. Redis
        frees whole nodes, so up to a hundred more stay in each partition. A partition filled beyond half its
        bound keeps no committed entries: retention must not cause `LogFull`. A topic that no group has joined
        is kept whole.
        """
        topics_reply, now = self._call([("SMEMBERS", TOPICS_KEY), ("TIME",)])
        topics = [topic.decode() for topic in topics_reply]
        now_ms = int(now[0]) * 1000 + int(now[1]) // 1000
        kept_from = max(0, now_ms - self.retention_ms) << SEQUENCE_BITS
        groups = self._call([("SMEMBERS", groups_key(topic)) for topic in topics])
        cuts: list[Command] = []
        for topic, members in zip(topics, groups, strict=True):
            every = range(self._partitions)
            lengths = self._call([("XLEN", stream_key(topic, number)) for number in every])
            offsets = self._call([("HMGET", offsets_key(group.decode(), topic), *every) for group in members])
            for number, length, *committed in zip(every, lengths, *offsets, strict=True):
                finished = min(int(offset or 0) for offset in committed)
                crowded = length > self.outbox_limit // 2
                cut = stream_id(finished if crowded else min(finished, kept_from))
                cuts.append(("XTRIM", stream_key(topic, number), "MINID", "~", cut, "LIMIT", limit))
        return sum(self._call(cuts))

    def close(self) -> None:
        """Release the connection; consumers have their own."""
        self._connection.close()

    def _call(self, commands: list[Command]) -> list[Any]:
        if not commands:
            return []
        with self._turn:
            return call(self._connection, commands)
