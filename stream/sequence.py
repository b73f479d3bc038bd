"""The sequence: what arrived on several partitions, in one order for everybody who follows it.

It is one Redis stream and a hash of marks: for each source (a partition of a log) the highest offset that is in it.
An append names the mark that it goes on from, and one script compares, appends and moves the mark, or does nothing. So
each entry is in it exactly once, whoever crashes, lags or believes to be the only one.

Trap: a sequence that was lost (Redis restarted without its newest second, or emptied) goes on with other entries.
`read` notices that what it was asked to go on from is not there, and raises `SequenceGap`: begin again from a snapshot.
"""

from __future__ import annotations

from collections.abc import Sequence as Listed
from typing import Any, NamedTuple

from stream.connection import Command, RedisConnection, RedisError
from stream.log import Partition
from stream.standing import answers

START = b"0-0"
"""The id before the first entry."""
NO_MARK = -1
APPEND_LIMIT = 500
"""Entries of one append: Redis does nothing else meanwhile."""
TRIM_LIMIT = 10_000
"""Entries that one trim deletes, for the same reason."""

# Offsets are compared as text: a Lua number is exact to 2^53 only. The empty mark stands for none.
APPEND = """\
local stream, marks, source = KEYS[1], KEYS[2], ARGV[1]
if (redis.call('HGET', marks, source) or '') ~= ARGV[2] then return 0 end
local number = tonumber(redis.call('HGET', marks, '#count') or '0')
for i = 3, #ARGV, 2 do
  number = number + 1
  redis.call('XADD', stream, '*', 'n', number, 's', source, 'o', ARGV[i], 'v', ARGV[i + 1])
end
redis.call('HSET', marks, source, ARGV[#ARGV - 1], '#count', number)
return number
"""

# Never past the snapshot: its own entry stays, so that whoever has just read it can go on. The floor is the first entry
# that is left.
TRIM = """\
local unsaved = tonumber(redis.call('HGET', KEYS[2], '#count') or '0') - tonumber(ARGV[2])
local keep = math.max(tonumber(ARGV[1]), unsaved + 1)
local gone = redis.call('XTRIM', KEYS[1], 'MAXLEN', '~', keep, 'LIMIT', ARGV[3])
if gone > 0 then redis.call('HSET', KEYS[2], '#floor', redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1][1]) end
return gone
"""


class SequenceGap(RuntimeError):
    """Entries that were asked for are gone. A retry cannot help: begin from the newest snapshot, or from nothing."""


class Sequenced(NamedTuple):
    """One entry: its id, the partition it came from (`source_of`), its offset there, the record's bytes.

    `number` counts entries from 1 on: the difference of two is how many lie between them.
    """

    id: bytes
    source: str
    offset: int
    payload: bytes
    number: int


def source_of(log_name: str, partition: Partition) -> str:
    """What marks call a partition of a log: offsets mean nothing in another log.

    >>> source_of("redis", Partition("actions", 3))
    'redis/actions/3'
    """
    return f"{log_name}/{partition.topic}/{partition.number}"


def order_of(entry_id: bytes) -> tuple[int, int]:
    """What two ids compare by.

    >>> order_of(b"9-1") < order_of(b"10-0")
    True
    """
    ms, _, place = entry_id.partition(b"-")
    return int(ms), int(place or 0)


class Sequence:
    """The sequence `name` over a connection; one thread uses it. Every call may raise `RedisUnavailable`."""

    def __init__(self, connection: RedisConnection, name: str = "recommendation") -> None:
        self.name = name
        self.connection = connection
        self.key = f"sequence:{name}"
        self.marks_key = f"sequence:{name}:marks"
        self._append = connection.script(APPEND)
        self._trim = connection.script(TRIM)

    def append(self, source: str, expected_mark: int, entries: Listed[tuple[int, bytes]]) -> bool:
        """Append (offset, payload) pairs of a source, in order, if its mark still is `expected_mark` (-1: none yet).

        False, and nothing done, where it is not: somebody else has appended; look at `marks` and leave out what is
        there. After `RedisUnavailable` it may be done or not: the marks say. Up to `APPEND_LIMIT` entries a call.
        """
        if not entries:
            return True
        if len(entries) > APPEND_LIMIT:
            raise ValueError(f"{len(entries)} entries in one append; give at most {APPEND_LIMIT}")
        if source.startswith("#"):
            raise ValueError(f"the source {source!r} begins with '#', as this sequence's own fields do; rename it")
        expected = "" if expected_mark == NO_MARK else str(expected_mark)
        given: list[str | bytes | int | float] = [source, expected]
        for offset, payload in entries:
            given += (offset, payload)
        return bool(self._one(self._append.command([self.key, self.marks_key], given)))

    def marks(self) -> dict[str, int]:
        """The highest offset that is in the sequence, by source."""
        found = self._one(("HGETALL", self.marks_key))
        pairs = zip(found[::2], found[1::2], strict=True)
        return {source.decode(): int(mark) for source, mark in pairs if not source.startswith(b"#")}

    def read(self, after_id: bytes, count: int, block_ms: int = 0) -> list[Sequenced]:
        """Up to `count` entries after an id (`START`: from the first on); waits up to `block_ms` for one.

        Raises `SequenceGap` where entries after that id have been trimmed, or the id itself was lost by the server.
        """
        wait: Command = ("BLOCK", block_ms) if block_ms > 0 else ()
        asked: list[Command] = [
            ("XRANGE", self.key, after_id, after_id, "COUNT", 1),
            ("XREAD", "COUNT", count, *wait, "STREAMS", self.key, after_id),
            # After the entries were read: a trim in between is seen.
            ("HMGET", self.marks_key, "#floor", "#count"),
        ]
        replies = self.connection.call(asked, self.connection.timeout_ms + block_ms)
        for reply in replies:
            if isinstance(reply, RedisError):
                raise reply
        here, found, (floor, _) = replies
        if floor is not None and order_of(after_id) < order_of(floor):
            raise SequenceGap(f"{self.key} begins at {floor.decode()}, asked for is what follows {after_id.decode()}")
        if after_id != START and not here:
            raise SequenceGap(f"{self.key} has no entry {after_id.decode()} any more: its server has lost some")
        return [_sequenced(entry_id, fields) for entry_id, fields in (found[0][1] if found else ())]

    def trim(self, keep: int, saved_number: int) -> int:
        """Delete the oldest entries beyond about `keep`, `TRIM_LIMIT` at most; how many.

        `saved_number` is the number of the last entry that the newest snapshot has: what follows it stays, and it too.
        """
        return int(self._one(self._trim.command([self.key, self.marks_key], [keep, saved_number, TRIM_LIMIT])))

    @property
    def length(self) -> int:
        """How many entries are kept."""
        return int(self._one(("XLEN", self.key)))

    @property
    def count(self) -> int:
        """How many were ever appended: the number of the newest."""
        return int(self._one(("HGET", self.marks_key, "#count")) or 0)

    @property
    def floor(self) -> bytes:
        """The oldest entry that is kept, once something was trimmed; `START` before. Who has read less has a gap."""
        return bytes(self._one(("HGET", self.marks_key, "#floor")) or START)

    @property
    def first_id(self) -> bytes | None:
        """The id of the oldest entry that is kept; None where there is none."""
        return self._id_of(("XRANGE", self.key, "-", "+", "COUNT", 1))

    @property
    def last_id(self) -> bytes | None:
        """The id of the newest entry; None where there is none."""
        return self._id_of(("XREVRANGE", self.key, "+", "-", "COUNT", 1))

    def _id_of(self, command: Command) -> bytes | None:
        found = self._one(command)
        return bytes(found[0][0]) if found else None

    def _one(self, command: Command) -> Any:
        return answers(self.connection, [command])[0]


def _sequenced(entry_id: bytes, fields: list[bytes]) -> Sequenced:
    return Sequenced(entry_id, fields[3].decode(), int(fields[5]), fields[7], int(fields[1]))
