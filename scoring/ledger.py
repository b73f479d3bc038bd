"""The ledger: one place where an answered event becomes durable, all of it or nothing of it.

One script on the one Redis that carries the outbox does, in this order:

1. An event that has been answered before is answered as before; nothing is written.
2. A full outbox refuses: nothing is written, the sender must come again. So does a key that holds something else.
3. The record joins the outbox (the log's streams), and its decision too.
4. The answer is kept for retries, and the record is pending at each of its entities, where readers see it at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b

from features.feature_set import EntityRef
from features.online_store import RedisOnlineStore
from stream.connection import Command, RedisConnection, RedisError
from stream.log import LogFull, partition_of
from stream.records import Decision, Event, Label, Transaction, decode, encode
from stream.redis_keys import stream_key

ANSWERED = b"answered"
"""What is kept of an event that nobody scored, followed by `:` and a digest of the record where that was kept."""
DIGEST_BYTES = 12
DIGEST_KEY = b"headrace answer"


class Ledger:
    """Reads and writes what was answered. Raises `RedisUnavailable` when Redis does not answer in time."""

    _COMMIT = """
    local existing = redis.call('GET', KEYS[1])
    if existing then return existing end
    if redis.call('XLEN', KEYS[2]) >= tonumber(ARGV[6]) then return redis.error_reply('OUTBOXFULL') end
    local fields = {}
    for i = 4, #KEYS do fields[i] = redis.call('HLEN', KEYS[i]) end
    redis.call('XADD', KEYS[2], '*', 'k', ARGV[1], 'v', ARGV[2])
    if ARGV[3] ~= '' then redis.call('XADD', KEYS[3], '*', 'k', ARGV[1], 'v', ARGV[3]) end
    redis.call('SET', KEYS[1], ARGV[3] ~= '' and ARGV[3] or ARGV[8], 'PX', ARGV[4])
    local full, limit = 0, tonumber(ARGV[7])
    for i = 4, #KEYS do
        if fields[i] >= limit then
            full = full + 1
        else
            redis.call('HSET', KEYS[i], ARGV[5], ARGV[i * 2 + 1])
            if fields[i] == 0 then redis.call('PEXPIRE', KEYS[i], ARGV[i * 2 + 2]) end
        end
    end
    return full
    """

    def __init__(
        self,
        connection: RedisConnection,
        store: RedisOnlineStore,
        partitions: int,
        keep_ms: int,
        outbox_limit: int,
        pending_limit: int,
    ) -> None:
        self.connection = connection
        self.store = store
        self.partitions = partitions
        self.keep_ms = keep_ms
        self.outbox_limit = outbox_limit
        self.pending_limit = pending_limit
        self._commit = connection.script(self._COMMIT)

    @staticmethod
    def key(identity: str, topic: str = Transaction.topic) -> str:
        """Where the answer to one event is kept."""
        return f"answer:{topic}:{identity}"

    def read_command(self, event_id: str) -> Command:
        """The command that reads an earlier answer, for a caller with more to ask in the same round trip."""
        return ("GET", self.key(event_id))

    def answer(self, event_id: str, timeout_ms: float | None = None) -> bytes | None:
        """The stored decision of an event, or None."""
        found = self.connection.call([self.read_command(event_id)], timeout_ms)[0]
        if isinstance(found, RedisError):
            raise found
        return None if found is None or found.startswith(ANSWERED) else bytes(found)

    def commit(
        self,
        record: Event | Label,
        pending: Mapping[EntityRef, bytes],
        decision: Decision | None = None,
        timeout_ms: float | None = None,
    ) -> bytes | int:
        """Make an answer durable. The earlier answer's bytes if there is one, else how many entities were too full.

        `pending` is what each entity shows to readers until a worker has folded the record (`FeatureSet.pending`).
        An entity with too many pending records does not take another: its features lag until a worker has caught up.
        Raises `LogFull` when the outbox has reached its bound; nothing was written.
        """
        kept = b"" if decision is None else encode(decision)
        return self.committed(record, self.connection.call([self.command(record, pending, kept)], timeout_ms)[0])

    def command(self, record: Event | Label, pending: Mapping[EntityRef, bytes], kept: bytes = b"") -> Command:
        """The command of `commit`; `kept` is the decision's bytes, if there is one."""
        number = partition_of(record.key, self.partitions)
        keys: list[str | bytes] = [
            self.key(record.identity, record.topic),
            stream_key(record.topic, number),
            stream_key(Decision.topic, number),
            *(self.store.key(ref) for ref in pending),
        ]
        payload = encode(record)
        args: list[str | bytes | int] = [
            record.key,
            payload,
            kept,
            self.keep_ms,
            f"p:{record.identity}",
            self.outbox_limit,
            self.pending_limit,
            b"" if kept else marker_of(record),
        ]
        for ref, rows in pending.items():
            args += (rows, self.store.ttl_ms(ref.entity))
        return self._commit.command(keys, args)

    def committed(self, record: Event | Label, reply: object) -> bytes | int:
        """What a reply to `command` says."""
        if isinstance(reply, RedisError):
            if str(reply).startswith("OUTBOXFULL"):
                raise LogFull(
                    f"the outbox for {record.topic!r} holds {self.outbox_limit} records that nobody has taken; "
                    f"{record.event_id!r} was not accepted: start a worker or the relay, then send it again"
                )
            raise reply
        assert isinstance(reply, bytes | int)
        return reply


def marker_of(record: Event | Label) -> bytes:
    """What is kept of a record that nobody scored, so that another under the same id is not taken for a repeat of it.

    A label keeps no digest: its identity is the verdict itself, and what the service fills in may differ with the time.
    """
    if isinstance(record, Label):
        return ANSWERED
    digest = blake2b(encode(record), digest_size=DIGEST_BYTES, key=DIGEST_KEY)
    return b"%b:%b" % (ANSWERED, digest.hexdigest().encode())


def is_of(record: Event | Label, kept: bytes) -> bool:
    """Whether what is kept is the answer to this very record. A marker without a digest is taken to be."""
    if not kept.startswith(ANSWERED):
        return bool(decode(kept, Decision).record == record)
    return kept == ANSWERED or kept == marker_of(record)
