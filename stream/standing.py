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
    """Where a group is, in three round trips. Raises `RedisUnavailable` and `RedisError`."""
    return standings(connection, [group], partitions, among)[group]


def standings(
    connection: RedisConnection, groups: Sequence[str], partitions: int, among: Sequence[str] = TOPICS
) -> dict[str, Standing]:
    """Where each of these groups is, in three round trips together. Raises `RedisUnavailable` and `RedisError`."""
    pairs = [(group, topic) for group in groups for topic in among]
    now, *joined = answers(
        connection, [("TIME",), *(("SISMEMBER", groups_key(topic), group) for group, topic in pairs)]
    )
    pairs = [pair for pair, is_in in zip(pairs, joined, strict=True) if is_in]
    if not pairs:
        return dict.fromkeys(groups, Standing(0, {}))
    now_ms = int(now[0]) * 1000 + int(now[1]) // 1000
    asked: list[Command] = [("ZCOUNT", members_key(*pair), now_ms - LEASE_MS, "+inf") for pair in pairs]
    asked += [("HMGET", offsets_key(*pair), *range(partitions)) for pair in pairs]
    replies = answers(connection, asked)
    members = dict(zip(pairs, replies[: len(pairs)], strict=True))
    places = [
        (pair, number, offset)
        for pair, offsets in zip(pairs, replies[len(pairs) :], strict=True)
        for number, offset in enumerate(offsets)
    ]
    first_unread = answers(
        connection,
        [
            ("XRANGE", stream_key(topic, number), stream_id(int(offset or 0)), "+", "COUNT", 1)
            for (_, topic), number, offset in places
        ],
    )
    late_s = dict.fromkeys(pairs, 0.0)
    for (pair, _, _), entries in zip(places, first_unread, strict=True):
        if entries:
            waiting_ms = now_ms - (offset_of(entries[0][0]) >> SEQUENCE_BITS)
            late_s[pair] = max(late_s[pair], waiting_ms / 1000)
    return {
        group: Standing(
            max((members[pair] for pair in pairs if pair[0] == group), default=0),
            {topic: seconds for (joiner, topic), seconds in late_s.items() if joiner == group},
        )
        for group in groups
    }


def answers(connection: RedisConnection, commands: Sequence[Command]) -> list[Reply]:
    """One round trip of commands of which none may fail."""
    replies = connection.call(commands)
    for reply in replies:
        if isinstance(reply, RedisError):
            raise reply
    return replies
