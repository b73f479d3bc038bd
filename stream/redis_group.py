"""A member of a consumer group on Redis Streams: partitions are held by leases, offsets are fenced by them.

A poll is also the heartbeat, in the same round trip, where the last is `BLOCK_MS` ago: one script a topic counts the
live members, renews this member's leases, gives up what exceeds its fair share and takes what is free. Redis's clock
decides.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from secrets import token_hex

from stream.connection import Command, RedisConnection, RedisError, RedisUnavailable, Reply
from stream.log import Admit, Entry, LogUnavailable, Partition, as_it_is
from stream.redis_keys import entries_of, id_before, lease_key, members_key, offsets_key, stream_key

# How soon a member that waits for entries sees a partition that another has handed over.
BLOCK_MS = 250
NOTHING_HELD_MS = 50

# Answers pairs: a partition number, and "" where the lease was renewed, the committed offset where it is new.
BEAT = """\
local member, lease_ms, topic_size = ARGV[1], tonumber(ARGV[2]), #KEYS - 2
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now_ms - lease_ms)
redis.call('ZADD', KEYS[1], now_ms, member)
local share = math.ceil(topic_size / redis.call('ZCARD', KEYS[1]))
local held, free = {}, {}
for i = 1, topic_size do
  local owner = redis.call('GET', KEYS[i + 2])
  if not owner then
    free[#free + 1] = i
  elseif owner == member then
    if #held / 2 < share then
      redis.call('PEXPIRE', KEYS[i + 2], lease_ms)
      held[#held + 1] = i - 1
      held[#held + 1] = ''
    else
      redis.call('DEL', KEYS[i + 2])
    end
  end
end
for _, i in ipairs(free) do
  if #held / 2 >= share then break end
  redis.call('SET', KEYS[i + 2], member, 'PX', lease_ms)
  held[#held + 1] = i - 1
  held[#held + 1] = redis.call('HGET', KEYS[2], i - 1) or '0'
end
return held
"""

# Offsets are compared as text: a Lua number is exact to 2^53 only.
COMMIT = """\
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local old, new = redis.call('HGET', KEYS[2], ARGV[2]) or '0', ARGV[3]
if #new > #old or (#new == #old and new > old) then redis.call('HSET', KEYS[2], ARGV[2], new) end
return 1
"""

LEAVE = """\
redis.call('ZREM', KEYS[1], ARGV[1])
for i = 2, #KEYS do
  if redis.call('GET', KEYS[i]) == ARGV[1] then redis.call('DEL', KEYS[i]) end
end
return 1
"""


class RedisConsumer:
    """A `Consumer` on its own connection; one thread uses it. Made by `RedisLog.consumer`."""

    def __init__(
        self,
        connection: RedisConnection,
        group: str,
        topics: Iterable[str],
        partitions: int,
        lease_ms: int,
        admit: Admit = as_it_is,
    ) -> None:
        self.member = token_hex(8)
        self._connection = connection
        self._group = group
        self._topics = tuple(dict.fromkeys(topics))
        self._partitions = partitions
        self._lease_ms = lease_ms
        self._admit = admit
        self._block_ms = min(BLOCK_MS, lease_ms // 4)
        self._positions: dict[Partition, int] = {}
        self._beaten_at = 0.0
        self._beat = connection.script(BEAT)
        self._commit = connection.script(COMMIT)
        self._leave = connection.script(LEAVE)

    def poll(self, limit: int, timeout_ms: int) -> dict[Partition, list[Entry]]:
        """New entries, spread evenly over the partitions held. Waits in Redis, not in a busy loop.

        Raises `LogUnavailable`; what was not returned comes with a later poll.
        """
        deadline = time.monotonic() + timeout_ms / 1000
        block_ms = 0
        while True:
            held_before = self._positions.keys()
            found = self._round(limit, block_ms)
            left_ms = int((deadline - time.monotonic()) * 1000)
            # A partition just taken over may have entries waiting: look before blocking or giving up.
            taken_over = not self._positions.keys() <= held_before
            if found or (left_ms <= 0 and not taken_over):
                return found
            block_ms = 0 if taken_over else min(left_ms, self._block_ms)
            if not self._positions:
                time.sleep(min(left_ms, NOTHING_HELD_MS) / 1000)

    def commit(self, next_offsets: Mapping[Partition, int]) -> None:
        """Write each offset if this member still has the lease and it moves the group forward."""
        commands = []
        for part, offset in next_offsets.items():
            keys = [lease_key(self._group, *part), offsets_key(self._group, part.topic)]
            commands.append(self._commit.command(keys, [self.member, part.number, offset]))
        for part, kept in zip(next_offsets, self._call(commands), strict=True):
            if not kept:
                self._positions.pop(part, None)

    def assignment(self) -> frozenset[Partition]:
        """What it holds as of the last poll; nothing once a lease has passed without one."""
        lapsed = (time.monotonic() - self._beaten_at) * 1000 >= self._lease_ms
        return frozenset() if lapsed else frozenset(self._positions)

    def close(self) -> None:
        """Give up the leases, so that another member has them with its next poll."""
        self._positions.clear()
        # If the server is gone the leases end by themselves.
        with suppress(LogUnavailable):
            self._call(
                [
                    self._leave.command([members_key(self._group, t), *self._leases(t)], [self.member])
                    for t in self._topics
                ]
            )
        self._connection.close()

    def _leases(self, topic: str) -> list[str]:
        return [lease_key(self._group, topic, number) for number in range(self._partitions)]

    def _round(self, limit: int, block_ms: int) -> dict[Partition, list[Entry]]:
        # Between two beats the leases of the last one hold; the scripts would cost Redis more than the entries do.
        asked_at = time.monotonic()
        beats = not self._positions or (asked_at - self._beaten_at) * 1000 >= self._block_ms
        commands = [self._beat_command(topic) for topic in self._topics] if beats else []
        asked = {stream_key(*part).encode(): part for part in self._positions}
        if asked:
            commands.append(self._read_command(limit, block_ms))
        replies = self._call(commands, block_ms)
        renewed = set(self._positions)
        if beats:
            renewed = self._apply(replies[: len(self._topics)])
            self._beaten_at = asked_at
        found: dict[Partition, list[Entry]] = {}
        for stream, rows in (replies[-1] if asked else None) or ():
            part = asked[stream]
            # A lease lost or taken anew in this very round: its position was another's, or is stale.
            if part in renewed:
                found[part] = [self._admit(part.topic, entry) for entry in entries_of(rows)]
                self._positions[part] = found[part][-1].offset + 1
        return found

    def _beat_command(self, topic: str) -> Command:
        keys = [members_key(self._group, topic), offsets_key(self._group, topic), *self._leases(topic)]
        return self._beat.command(keys, [self.member, self._lease_ms])

    def _read_command(self, limit: int, block_ms: int) -> Command:
        count = max(1, -(-limit // len(self._positions)))
        wait: Command = ("BLOCK", block_ms) if block_ms > 0 else ()  # BLOCK 0 would be for ever.
        streams = [stream_key(*part) for part in self._positions]
        starts = [id_before(offset) for offset in self._positions.values()]
        return ("XREAD", "COUNT", count, *wait, "STREAMS", *streams, *starts)

    def _apply(self, replies: list[list[Reply]]) -> set[Partition]:
        positions: dict[Partition, int] = {}
        renewed: set[Partition] = set()
        for topic, held in zip(self._topics, replies, strict=True):
            for number, committed in zip(held[::2], held[1::2], strict=True):
                part = Partition(topic, number)
                if committed == b"" and part in self._positions:
                    positions[part] = self._positions[part]
                    renewed.add(part)
                elif committed != b"":
                    positions[part] = int(committed)
        self._positions = positions
        return renewed

    def _call(self, commands: list[Command], block_ms: int = 0) -> list[Reply]:
        return call(self._connection, commands, self._connection.timeout_ms + block_ms)


def call(connection: RedisConnection, commands: list[Command], timeout_ms: float | None = None) -> list[Reply]:
    """All commands in one round trip. Raises `LogUnavailable` if the server is gone or refused any."""
    try:
        replies = connection.call(commands, timeout_ms)
    except (RedisUnavailable, RedisError) as error:
        raise LogUnavailable(str(error)) from error
    for reply in replies:
        if isinstance(reply, RedisError):
            raise LogUnavailable(f"Redis refused a command of the log: {reply}") from reply
    return replies
