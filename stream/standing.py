"""Where a group of readers of the log in Redis is: its running members, and how long what it has not read waits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from stream.connection import Command, RedisConnection, RedisError, Reply
from stream.records import TOPICS
from stream.redis_keys import SEQUENCE_BITS, groups_key, members_key, offset_of, offsets_key, stream_id, stream_key

LEASE_MS = 10_000
"""How long after its last poll a member counts as running: `RedisLog`'s lease."""


class Standing(NamedTuple):
    """A group's running members, and how long the oldest unread record of each topic that it ever joined waits."""

    members: int
    late_s_by_topic: dict[str, float]

    @property
    def joined(self) -> bool:
        """Whether it ever joined a topic."""
        return bool(self.late_s_by_topic)

    @property
    def late_s(self) -> float:
        """How long the oldest of them all waits."""
        return max(self.late_s_by_topic.values(), default=0.0)


def standing(connection: RedisConnection, group: str, partitions: int, among: Sequence[str] = TOPICS) -> Standing:
    """Where a group is, in four round trips. Raises `RedisUnavailable` and `RedisError`."""
    joined = answers(connection, [("SISMEMBER", groups_key(topic), group) for topic in among])
    topics = [topic for topic, is_in in zip(among, joined, strict=True) if is_in]
    if not topics:
        return Standing(0, {})
    now = connection.one("TIME")
    now_ms = int(now[0]) * 1000 + int(now[1]) // 1000
    asked: list[Command] = [("ZCOUNT", members_key(group, topic), now_ms - LEASE_MS, "+inf") for topic in topics]
    asked += [("HMGET", offsets_key(group, topic), *range(partitions)) for topic in topics]
    replies = answers(connection, asked)
    places = [
        (topic, number, offset)
        for topic, offsets in zip(topics, replies[len(topics) :], strict=True)
        for number, offset in enumerate(offsets)
    ]
    first_unread = answers(
        connection,
        [
            ("XRANGE", stream_key(topic, number), stream_id(int(offset or 0)), "+", "COUNT", 1)
            for topic, number, offset in places
        ],
    )
    late_s = dict.fromkeys(topics, 0.0)
    for (topic, _, _), entries in zip(places, first_unread, strict=True):
        if entries:
            waiting_ms = now_ms - (offset_of(entries[0][0]) >> SEQUENCE_BITS)
            late_s[topic] = max(late_s[topic], waiting_ms / 1000)
    return Standing(max(replies[: len(topics)]), late_s)


def answers(connection: RedisConnection, commands: Sequence[Command]) -> list[Reply]:
    """One round trip of commands of which none may fail."""
    replies = connection.call(commands)
    for reply in replies:
        if isinstance(reply, RedisError):
            raise reply
    return replies
