"""The places that know an entity, each with its way to find it and to erase it."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Protocol

import msgspec

from features.feature_set import EntityRef
from features.online_store import RedisOnlineStore
from review.case_store import CaseStore
from scoring.audit_artefacts import Steps, steps_artefact
from scoring.ledger import ANSWERED
from scoring.rule_redaction import Redaction, redact_book, search_book
from scoring.use_case import USE_CASES
from stream.archive import Archive
from stream.archive_erasure import erase_from_archive, rewrite, search_archive
from stream.chain import Chain
from stream.chain_check import Erasure
from stream.chain_entry import NOTHING, ChainEntry, Draft
from stream.chain_index import Spot
from stream.connection import RedisConnection
from stream.mention import Mention
from stream.records import Decision
from stream.redis_erasure import erase_entries, keys, search_streams
from training.learner_store import LearnerStore

PENDING = b"p:"
NAMED_AT_ONCE = 10_000
READ_AT_ONCE = 500


class Place(Protocol):
    """Somewhere an entity may be known. Repeats of both calls do no harm; each finds all that its own events tell."""

    name: str
    is_held: bool
    """Whether nobody else writes there meanwhile: one erasure is enough."""

    def search(self, mention: Mention) -> int:
        """How much is about the entity; notes its events. Changes nothing."""

    def erase(self, mention: Mention) -> int:
        """Erase what is about the entity, as far as it is there now; how much it was."""


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


class ArchivePlace:
    """The Parquet archive. For whoever has entered it."""

    name = "archive"
    is_held = True

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def search(self, mention: Mention) -> int:
        """See `Place`."""
        return sum(search_archive(self._archive, mention).values())

    def erase(self, mention: Mention) -> int:
        """See `Place`."""
        return erase_from_archive(self._archive, search_archive(self._archive, mention), mention)


class StatesPlace:
    """The states that `headrace features states` wrote for Feast."""

    name = "batch states"
    is_held = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def search(self, mention: Mention) -> int:
        """See `Place`."""
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        columns = (pq.read_table(path, columns=[mention.entity]).column(0) for path in self._files(mention))
        return sum(pc.sum(pc.equal(column, mention.value)).as_py() or 0 for column in columns)

    def erase(self, mention: Mention) -> int:
        """See `Place`."""
        own = mention.entity
        return sum(rewrite(path, lambda row: row[own] == mention.value, [own]) for path in self._files(mention))

    def _files(self, mention: Mention) -> Iterator[Path]:
        import pyarrow.parquet as pq

        for path in sorted(self._folder.glob("*.parquet")):
            if mention.entity in pq.read_schema(path).names:
                yield path


class LearnerPlace:
    """The learner's file: decisions that wait for their labels, labels, scores."""

    name = "learner"
    is_held = False

    def __init__(self, path: Path) -> None:
        self._path = path

    def search(self, mention: Mention) -> int:
        """See `Place`."""
        with closing(LearnerStore(self._path)) as store:
            return store.erase(mention.events, mention.is_of, dry_run=True)

    def erase(self, mention: Mention) -> int:
        """See `Place`."""
        with closing(LearnerStore(self._path)) as store:
            return store.erase(mention.events, mention.is_of)


class CasePlace:
    """Cases under review, their events and the labels they gave."""

    name = "cases"
    is_held = False

    def __init__(self, path: Path) -> None:
        self._path = path

    def search(self, mention: Mention) -> int:
        """See `Place`."""
        with closing(CaseStore(self._path)) as store:
            found = store.flagged(mention.is_of)
        for decision in found:
            mention.note(decision)
        return len(found)

    def erase(self, mention: Mention) -> int:
        """See `Place`."""
        with closing(CaseStore(self._path)) as store:
            return store.erase(mention.is_of)


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


class ChainPlace:
    """The audit chain: payloads go, entries stay, and an entry of its own says what was erased."""

    name = "audit chain"
    is_held = False

    def __init__(self, chain: Chain, redaction: Redaction, said: Erasure) -> None:
        self._chain = chain
        self._redaction = redaction
        self._said = said

    def search(self, mention: Mention) -> int:
        """See `Place`."""
        return len(self._doomed(mention)[0])

    def erase(self, mention: Mention) -> int:
        """In this order: 1. Rule books are kept anew without the value.  2. Say which payloads go.  3. They go.

        A crash between 2 and 3 leaves payloads that should be gone: `audit verify` says so, and the next time they go.
        """
        doomed, late = self._doomed(mention)
        # 1.
        self._chain.append([anew for name in USE_CASES if (anew := self._restated(name, doomed)) is not None])
        # 2.
        numbers = [spot.number for spot in doomed]
        self.say([numbers[at : at + NAMED_AT_ONCE] for at in range(0, len(numbers), NAMED_AT_ONCE)])
        # 3.
        return self._chain.overwrite([*doomed, *late])

    def say(self, parts: Iterable[list[int]]) -> None:
        """Append an erasure of these entries for each part."""
        erasures = (msgspec.structs.replace(self._said, entries=part) for part in parts)
        self._chain.append([Draft("erasure", NOTHING, NOTHING, msgspec.json.encode(one)) for one in erasures])

    def _doomed(self, mention: Mention) -> tuple[list[Spot], list[Spot]]:
        """What is to be erased; and what an earlier time said it would erase and did not."""
        doomed: list[Spot] = []
        kept: dict[int, Spot] = {}
        said: set[int] = set()
        for _, entry in self._chain.entries():
            if entry.kind == "erasure":
                said |= set(msgspec.json.decode(entry.payload, type=Erasure).entries)
        for spot, entry in self._chain.entries():
            if spot.number in said:
                if not entry.is_erased:
                    kept[spot.number] = spot
            elif not entry.is_erased and self._is_of(entry, mention):
                doomed.append(spot)
        return doomed, list(kept.values())

    def _is_of(self, entry: ChainEntry, mention: Mention) -> bool:
        if entry.kind == "decision":
            return mention.find(Decision.topic, entry.payload)
        if entry.kind == "unreadable":
            return mention.is_in(b64decode(entry.payload))
        if entry.subject.startswith("rules:"):
            steps = msgspec.json.decode(entry.payload, type=Steps).steps
            return any(self._redaction.of(step.encode()) is not None for step in steps)
        return False

    def _restated(self, name: str, doomed: list[Spot]) -> Draft | None:
        """The newest book in the chain, from its first step, with the value redacted; None where it stays as it is."""
        gone = {spot.number for spot in doomed}
        book: list[str] = []
        touched = False
        for entry in self._chain.find(f"rules:{name}:"):
            if entry.is_erased:
                continue
            part = msgspec.json.decode(entry.payload, type=Steps)
            if part.first == 1:
                touched = False
            touched |= entry.number in gone
            book[part.first - 1 :] = part.steps
        if not touched:
            return None
        redacted = [(self._redaction.of(step.encode()) or step.encode()).decode() for step in book]
        return steps_artefact(name, 1, redacted)


class SpoolPlace:
    """Answers on disk that are not recorded yet. They go when they are recorded: only then are they anywhere else."""

    name = "spool"
    is_held = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def search(self, mention: Mention) -> int:
        """See `Place`."""
        files = [path for path in self._folder.rglob("*") if path.is_file()]
        return sum(mention.is_in(line) for path in files for line in path.read_bytes().splitlines())

    def erase(self, mention: Mention) -> int:
        """Nothing: what waits here belongs to a scorer that runs."""
        return 0
