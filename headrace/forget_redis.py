"""The places in Redis that know an entity."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from features.feature_set import EntityRef
from features.online_store import RedisOnlineStore
from scoring.ledger import ANSWERED
from scoring.rule_redaction import Redaction, redact_book, search_book
from scoring.use_case import USE_CASES
from stream.connection import RedisConnection
from stream.mention import Mention
from stream.records import Decision
from stream.redis_erasure import erase_entries, keys, search_streams

PENDING = b"p:"
READ_AT_ONCE = 500


class LogPlace:
    """The log's streams in Redis, the outbox and dead letters among them."""

    name = "log in Redis"
    is_held = False

    def __init__(self, connection: RedisConnection, partitions: int) -> None:
        self._connection = connection
        self._partitions = partitions

    def search(self, mention: Mention) -> int:
        """See `Place`."""
        return sum(map(len, search_streams(self._connection, self._partitions, mention).values()))

    def erase(self, mention: Mention) -> int:
        """See `Place`."""
        return erase_entries(self._connection, search_streams(self._connection, self._partitions, mention))


class AnswerPlace:
    """Answers kept for retries."""

    name = "answers"
    is_held = False

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection

    def search(self, mention: Mention) -> int:
        """See `Place`."""
        return len(self._keys(mention))

    def erase(self, mention: Mention) -> int:
        """See `Place`."""
        return sum(self._connection.one("DEL", key) for key in self._keys(mention))

    def _keys(self, mention: Mention) -> set[bytes]:
        found: set[bytes] = set()
        known = -1
        while known != len(mention.events):  # a label's answer may come before its event's
            known = len(mention.events)
            for key, content in self._contents():
                _, _, identity = key.decode().split(":", 2)
                is_own = not content.startswith(ANSWERED) and mention.find(Decision.topic, content)
                if is_own or identity in mention.events or identity.split("|")[0] in mention.events:
                    found.add(key)
        return found

    def _contents(self) -> Iterator[tuple[bytes, bytes]]:
        every = keys(self._connection, "answer:*")
        while some := list(islice(every, READ_AT_ONCE)):
            for key, content in zip(some, self._connection.one("MGET", *some), strict=True):
                if content is not None:
                    yield key, content


class StorePlace:
    """The entity's hash in the online store, and its unfolded events at the other entities."""

    name = "online store"
    is_held = False

    def __init__(self, store: RedisOnlineStore) -> None:
        self._store = store

    def search(self, mention: Mention) -> int:
        """See `Place`."""
        own = self._own(mention)
        count = 0 if own is None else int(self._store.connection.one("EXISTS", own))
        return count + sum(len(fields) for _, fields in self._pending(mention))

    def erase(self, mention: Mention) -> int:
        """See `Place`."""
        own = self._own(mention)
        count = 0 if own is None else int(self._store.connection.one("DEL", own))
        for key, fields in self._pending(mention):
            count += int(self._store.connection.one("HDEL", key, *fields))
        return count

    def _own(self, mention: Mention) -> bytes | None:
        known = mention.entity in self._store.plan.key_prefixes
        return self._store.key(EntityRef(mention.entity, mention.value)) if known else None

    def _pending(self, mention: Mention) -> Iterator[tuple[bytes, list[bytes]]]:
        events: dict[bytes, set[bytes]] = {}
        for event_id, members in mention.events.items():
            for entity, value in members.items():
                if entity in self._store.plan.key_prefixes and (entity, value) != (mention.entity, mention.value):
                    events.setdefault(self._store.key(EntityRef(entity, value)), set()).add(event_id.encode())
        for key, own in events.items():
            fields = [field for field in self._store.connection.one("HKEYS", key) if field.startswith(PENDING)]
            # A label's identity begins with the id of its event.
            found = [field for field in fields if field[2:] in own or field[2:].split(b"|")[0] in own]
            if found:
                yield key, found


class RulePlace:
    """The rule books in Redis: lists, snoozes, and texts that people wrote."""

    name = "rule book"
    is_held = False

    def __init__(self, connection: RedisConnection, redaction: Redaction) -> None:
        self._connection = connection
        self._redaction = redaction

    def search(self, mention: Mention) -> int:
        """See `Place`."""
        return sum(len(search_book(self._connection, name, self._redaction)) for name in USE_CASES)

    def erase(self, mention: Mention) -> int:
        """See `Place`."""
        return sum(redact_book(self._connection, name, self._redaction) for name in USE_CASES)
