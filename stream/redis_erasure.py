"""Take entries out of the log in Redis so that none of their bytes is left, also not in its file on disk."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence

from stream.connection import RedisConnection
from stream.mention import Mention
from stream.records import TOPICS
from stream.redis_keys import stream_key

READ_ENTRIES = 500
SCAN_KEYS = 500
REWRITE_TIMEOUT_S = 300.0

# XDEL only marks an entry within its node: its bytes stay in memory and in what Redis writes to disk. So the stream is
# built anew beside it, some entries at a time; the last step copies what has come meanwhile and puts it in its place.
# Whoever lost the lock has lost what was built with it, too, and must not put the rest in the stream's place.
_COPY = """
if redis.call('GET', KEYS[4]) ~= ARGV[4] then return {'', 0, -1} end
local some = redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', ARGV[2])
local last, gone, fresh = ARGV[1], 0, 0
for _, entry in ipairs(some) do
    if entry[1] ~= ARGV[1] then
        fresh = fresh + 1
        if redis.call('SISMEMBER', KEYS[3], entry[1]) == 1 then gone = gone + 1
        else redis.call('XADD', KEYS[2], entry[1], unpack(entry[2])) end
        last = entry[1]
    end
end
redis.call('PEXPIRE', KEYS[2], ARGV[3])
redis.call('PEXPIRE', KEYS[3], ARGV[3])
redis.call('PEXPIRE', KEYS[4], ARGV[3])
if fresh > 0 then return {last, gone, fresh} end
local stream = redis.call('XINFO', 'STREAM', KEYS[1])
for i = 1, #stream, 2 do if stream[i] == 'last-generated-id' then last = stream[i + 1] end end
local empty = redis.call('EXISTS', KEYS[2]) == 0
if empty then redis.call('XADD', KEYS[2], last, 'k', '', 'v', '') end
-- The last id stays, or the next entry could get an offset that was used.
redis.call('XSETID', KEYS[2], last)
if empty then redis.call('XDEL', KEYS[2], last) end
redis.call('PERSIST', KEYS[2])
redis.call('UNLINK', KEYS[1])
redis.call('RENAME', KEYS[2], KEYS[1])
redis.call('DEL', KEYS[3])
return {last, gone, fresh}
"""
COPIED_AT_ONCE = 100
"""Entries in one step: some 4 ms during which Redis does nothing else."""
LOCK_KEY = "log:rebuilding"
LOCK_MS = 30_000
_UNLOCK = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"


def search_streams(connection: RedisConnection, partitions: int, mention: Mention) -> dict[str, list[bytes]]:
    """The ids of entries about the entity, by stream. Two rounds: labels are known by the events of the first."""
    found: dict[str, list[bytes]] = {}
    known = -1
    while known != len(mention.events):
        known = len(mention.events)
        found = {}
        for topic in _topics(connection):
            for number in range(partitions):
                stream = stream_key(topic, number)
                ids = [
                    entry_id
                    for entry_id, key, value in _entries(connection, stream)
                    if mention.find(_kind(topic), value)
                    or (mention.entity == "card_id" and key == mention.value.encode())
                ]
                if ids:
                    found[stream] = ids
    return found


def erase_entries(connection: RedisConnection, found: dict[str, list[bytes]]) -> int:
    """Take these entries out; readers and writers go on meanwhile, and offsets stay.

    Raises `TimeoutError` where somebody else is at it: two at once could bring back what the other took out; and where
    this process was held up for so long that somebody else could have begun.
    """
    if not found:
        return 0
    own = secrets.token_hex(8)
    if connection.one("SET", LOCK_KEY, own, "NX", "PX", LOCK_MS) is None:
        raise TimeoutError("somebody else takes entries out of this log; run the same again in half a minute")
    try:
        return sum(_rebuild(connection, stream, ids, own) for stream, ids in found.items())
    finally:
        connection.one(*connection.script(_UNLOCK).command([LOCK_KEY], [own]))


def _rebuild(connection: RedisConnection, stream: str, ids: list[bytes], own: str) -> int:
    script = connection.script(_COPY)
    anew, doomed = f"{stream}:anew:{own}", f"{stream}:doomed:{own}"
    for first in range(0, len(ids), READ_ENTRIES):
        connection.one("SADD", doomed, *ids[first : first + READ_ENTRIES])
        connection.one("PEXPIRE", doomed, LOCK_MS)
    last: bytes = b"-"
    count, fresh = 0, 1
    while fresh:
        command = script.command([stream, anew, doomed, LOCK_KEY], [last, COPIED_AT_ONCE, LOCK_MS, own])
        last, gone, fresh = connection.one(*command)
        if fresh < 0:
            raise TimeoutError(f"{stream} took too long, and is as it was; run the same again")
        count += gone
    return count


def rewrite_file(connection: RedisConnection, timeout_s: float = REWRITE_TIMEOUT_S) -> bool:
    """Have Redis write its append-only file anew, without what was deleted. False where it keeps none.

    Raises `TimeoutError` where it takes longer.
    """
    until = time.monotonic() + timeout_s
    if _persistence(connection).get("aof_enabled") != "1":
        return False
    while _persistence(connection)["aof_rewrite_in_progress"] == "1":  # one that began before does not count
        _wait(until)
    connection.one("BGREWRITEAOF")
    while True:
        _wait(until)
        now = _persistence(connection)
        if now["aof_rewrite_in_progress"] == "0" and now["aof_rewrite_scheduled"] == "0":
            if now["aof_last_bgrewrite_status"] == "ok":
                return True
            raise TimeoutError("Redis could not rewrite its append-only file; see its log")


def sweep(connection: RedisConnection, mention: Mention) -> Iterator[tuple[str, bool]]:
    """Every key whose name or content still has the value, of whatever kind; and whether as a word of its own."""
    for key in set(keys(connection)):
        parts = [part for part in (key, *_content(connection, key)) if mention.may_be_part_of(part)]
        if parts:
            yield key.decode(errors="replace"), any(mention.is_in(part) for part in parts)


def keys(connection: RedisConnection, pattern: str = "*") -> Iterator[bytes]:
    """All keys; some may come twice."""
    cursor: bytes = b"0"
    while True:
        cursor, some = connection.one("SCAN", cursor, "MATCH", pattern, "COUNT", SCAN_KEYS)
        yield from some
        if cursor == b"0":
            return


def _topics(connection: RedisConnection) -> list[str]:
    known = {topic.decode() for topic in connection.one("SMEMBERS", "log:topics")}
    return sorted(known | set(TOPICS))


def _kind(topic: str) -> str:
    # A topic of a user's own that is to be scored carries transactions.
    return topic if topic in TOPICS else "transactions"


def _entries(connection: RedisConnection, stream: str) -> Iterator[tuple[bytes, bytes, bytes]]:
    start: bytes = b"-"
    while True:
        some = connection.one("XRANGE", stream, start, "+", "COUNT", READ_ENTRIES)
        fresh = [entry for entry in some if entry[0] != start]
        for entry_id, fields in fresh:
            yield entry_id, fields[1], fields[3]
        if not fresh:
            return
        start = fresh[-1][0]


def _content(connection: RedisConnection, key: bytes) -> Iterator[bytes]:
    kind = connection.one("TYPE", key)
    if kind == b"string":
        yield connection.one("GET", key) or b""
    elif kind == b"hash":
        yield from connection.one("HGETALL", key)
    elif kind == b"list":
        yield from connection.one("LRANGE", key, 0, -1)
    elif kind == b"set":
        yield from connection.one("SMEMBERS", key)
    elif kind == b"zset":
        yield from connection.one("ZRANGE", key, 0, -1)
    elif kind == b"stream":
        for _, name, value in _entries(connection, key.decode()):
            yield name
            yield value


def _persistence(connection: RedisConnection) -> dict[str, str]:
    lines: Sequence[str] = connection.one("INFO", "persistence").decode().splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def _wait(until: float) -> None:
    if time.monotonic() > until:
        raise TimeoutError("Redis has not rewritten its append-only file in time; run the same again")
    time.sleep(0.05)
