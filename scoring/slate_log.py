"""Where slates go: into the outbox, for those who learn from them, and for a day under their id, for feedback."""

from __future__ import annotations

import msgspec

from scoring.ledger import Ledger
from stream.connection import Command, RedisError, Reply
from stream.log import partition_of
from stream.records import Slate, encode
from stream.redis_keys import stream_key

UNREAD_LIMIT = 100_000
"""Slates of one partition that nobody has taken, before new ones are not logged: with vectors each has kilobytes."""


class KeptSlate(msgspec.Struct, frozen=True):
    """What feedback is held to: whose slate it was, and what was in it."""

    user_id: str
    session_id: str | None
    items: list[str]


class SlateLog:
    """Records slates over a ledger's connection; `keep_ms` is how long feedback to one is taken.

    Ask how many slates are unread (`unread_command`) in a round trip that is made anyway, and two plain commands record
    a slate: half of what a script costs Redis, which looks itself. The bound is then as of that round trip, so each
    process that asks at that moment may add one beyond it.
    """

    # What is full loses a slate's lesson, not its feedback: a click must count all the same.
    _ADD = """
    redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[4])
    if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[5]) then return 0 end
    redis.call('XADD', KEYS[1], '*', 'k', ARGV[1], 'v', ARGV[2])
    return 1
    """

    def __init__(self, ledger: Ledger, keep_ms: int) -> None:
        self.ledger = ledger
        self.keep_ms = keep_ms
        self._add = ledger.connection.script(self._ADD)

    def unread_command(self, visitor: str) -> Command:
        """What to ask before a visitor's slate is recorded: its reply is `unread` to `commands`, if it is a number."""
        return ("XLEN", self._stream(visitor))

    def commands(self, slate: Slate, unread: int | None) -> list[Command]:
        """The commands that record a slate, for one round trip; give the replies to `recorded`.

        `unread` is how many slates nobody has taken yet; None where nobody knows: then a script looks.
        """
        kept = msgspec.json.encode(KeptSlate(slate.user_id, slate.session_id, [one.item_id for one in slate.items]))
        stream, key = self._stream(slate.key), slate_key(slate.event_id)
        limit = min(self.ledger.outbox_limit, UNREAD_LIMIT)
        if unread is None:
            return [self._add.command([stream, key], [slate.key, encode(slate), kept, self.keep_ms, limit])]
        keep: Command = ("SET", key, kept, "PX", self.keep_ms)
        # Kept first: a Redis that dies between the two leaves what a full log leaves, feedback without a lesson.
        return [keep] if unread >= limit else [keep, ("XADD", stream, "*", "k", slate.key, "v", encode(slate))]

    @staticmethod
    def recorded(replies: list[Reply]) -> bool:
        """Whether the slate is in the log, and kept for feedback."""
        if len(replies) == 1:
            return bool(replies[0] == 1)
        return not any(isinstance(reply, RedisError) for reply in replies)

    def _stream(self, visitor: str) -> str:
        return stream_key(Slate.topic, partition_of(visitor, self.ledger.partitions))

    def find(self, slate_id: str, timeout_ms: float | None = None) -> KeptSlate | None:
        """A slate that feedback is still taken for. Raises `RedisUnavailable` and `RedisError`."""
        reply = self.ledger.connection.call([("GET", slate_key(slate_id))], timeout_ms)[0]
        if isinstance(reply, RedisError):
            raise reply
        return None if reply is None else msgspec.json.decode(reply, type=KeptSlate)


def slate_key(slate_id: str) -> str:
    """Where a slate is kept for feedback."""
    return f"slate:{slate_id}"
