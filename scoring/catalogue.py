"""The catalogue: what is said of items, durable, and at once true for everybody who recommends.

One script on the one Redis that carries the outbox does, in this order:

1. An event id that came before, and what the catalogue says already, change nothing.
2. A full outbox refuses: nothing is written, the sender must come again.
3. The record joins the outbox (the log's streams), from where learners and scorers have it sooner or later.
4. The item is kept, for whoever asks for it, or forgotten.
5. Where it was deleted, or returns, the set of deleted items and the stream of changes to it say so. Every
   recommendation reads that stream first (`scoring/gone.py`), so a deleted item is in none from now on, in any process,
   also while nobody reads the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Literal

import msgspec

from scoring.gone import CHANGES_KEY, COUNT_KEY, DELETED_KEY, KEPT_CHANGES
from scoring.ledger import Ledger
from stream.connection import Command, RedisError, Reply
from stream.log import LogFull, partition_of
from stream.records import Item, decode, encode, micros
from stream.redis_keys import stream_key

DIGEST_BYTES = 12

Said = Literal["accepted", "repeated"]


class ItemConflict(ValueError):
    """The event id came before, with something else said of an item. A retry of the same bytes cannot help."""


class Catalogue:
    """Puts and deletes items over a ledger's connection. Raises `RedisUnavailable` where Redis does not answer."""

    _PUT = """
    local said = redis.call('GET', KEYS[6])
    if said then return said == ARGV[3] and 'repeated' or 'conflict' end
    local was_deleted = redis.call('SISMEMBER', KEYS[3], ARGV[1]) == 1
    local is_deleted = ARGV[4] == '1'
    if is_deleted == was_deleted and (is_deleted or redis.call('HGET', KEYS[1], 'd') == ARGV[3]) then
        return 'repeated'
    end
    if redis.call('XLEN', KEYS[2]) >= tonumber(ARGV[5]) then return redis.error_reply('OUTBOXFULL') end
    redis.call('XADD', KEYS[2], '*', 'k', ARGV[1], 'v', ARGV[2])
    if is_deleted then
        redis.call('DEL', KEYS[1])
        redis.call('SADD', KEYS[3], ARGV[1])
    else
        redis.call('HSET', KEYS[1], 'd', ARGV[3], 'v', ARGV[2])
        redis.call('SREM', KEYS[3], ARGV[1])
    end
    if is_deleted ~= was_deleted then
        local number = redis.call('INCR', KEYS[5])
        redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[7], '*', 'n', number, 'i', ARGV[1], 'd', ARGV[4])
    end
    redis.call('SET', KEYS[6], ARGV[3], 'PX', ARGV[6])
    return 'accepted'
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._put = ledger.connection.script(self._PUT)

    def put(self, items: Sequence[Item], timeout_ms: float | None = None) -> list[Said | Exception]:
        """Take the word of these records, in their order, in one round trip; in its place what became of each.

        `repeated` is what had been said before. `ItemConflict` and `LogFull` stand in the place of what was refused.
        """
        if not items:
            return []
        replies = self.ledger.connection.call([self._command(item) for item in items], timeout_ms)
        return [self._said(item, reply) for item, reply in zip(items, replies, strict=True)]

    def find(self, item_id: str, timeout_ms: float | None = None) -> Item | None:
        """What the catalogue says of an item; None for one that it does not have, or has no longer."""
        reply = self.ledger.connection.call([("HGET", item_key(item_id), "v")], timeout_ms)[0]
        if isinstance(reply, RedisError):
            raise reply
        return None if reply is None else decode(reply, Item)

    def _command(self, item: Item) -> Command:
        keys = [
            item_key(item.item_id),
            stream_key(Item.topic, partition_of(item.key, self.ledger.partitions)),
            DELETED_KEY,
            CHANGES_KEY,
            COUNT_KEY,
            self.ledger.key(item.identity, Item.topic),
        ]
        deleted = "1" if item.deleted else "0"
        limits = (self.ledger.outbox_limit, self.ledger.keep_ms, KEPT_CHANGES)
        return self._put.command(keys, [item.item_id, encode(item), digest_of(item), deleted, *limits])

    def _said(self, item: Item, reply: Reply) -> Said | Exception:
        if isinstance(reply, RedisError):
            if not str(reply).startswith("OUTBOXFULL"):
                return reply
            return LogFull(
                f"the outbox for 'items' holds {self.ledger.outbox_limit} records that nobody has taken; "
                f"{item.item_id!r} was not taken: start the learner or the relay, then send it again"
            )
        if reply == b"conflict":
            return ItemConflict(
                f"event id {item.event_id!r} was sent before with something else; use an id for one event only"
            )
        return "accepted" if reply == b"accepted" else "repeated"


def item_key(item_id: str) -> str:
    """The hash of an item of the catalogue: its record (`v`), and a digest of what it says (`d`)."""
    return f"item:{item_id}"


def digest_of(item: Item) -> str:
    """What tells two records about an item apart, whenever and under whichever event id they came."""
    meaning = (item.item_id, item.deleted, item.title, item.category, item.tags, item.price)
    return blake2b(msgspec.json.encode(meaning), digest_size=DIGEST_BYTES).hexdigest()


def event_id_of(item: Item) -> str:
    """An event id for a record whose sender gave none: the same for the same words about an item at the same time."""
    return f"item-{digest_of(item)}-{micros(item.event_timestamp)}"
