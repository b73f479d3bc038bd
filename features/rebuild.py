"""Rebuild every history from the log or the archive, beside the live ones, then put each in its place.

While live traffic goes on, in this order:

1. Fold what was recorded into a second online store that nobody reads, up to where the workers have committed. All
   that lies before a commit is in the live states of every entity, and no longer pending at any.
2. For each entity, replace the live state by compare-and-set, if the rebuilt one has every offset that the live one
   has. A worker that came first wins: fold what it has committed meanwhile, and try again. Primary entities first, the
   shared ones when all of those are done; a state that stays is written too, with its next revision.
3. Delete the second store.

Were the rebuilt states ahead of the commits, a reader could count a pending event twice, and a worker that finds an
event in the primary state would not fold it into the others. Without the order and the revisions of step 2, a worker
that took a copy for new, by a primary state that had lost it, could fold it into a shared state that still has it.
A crash leaves each live state whole, old or rebuilt.
"""

from __future__ import annotations

import math
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from threading import Event

import msgspec

from features.feature_set import EntityRef
from features.history import CorruptState, History, revision_of
from features.online_store import OnlineStore, RedisOnlineStore, Replacement, StoredEntity
from features.pipeline import GROUP
from features.recorded import CHUNK, committed_streams, partitions_of, time_us
from features.view import View
from features.worker import Folder
from stream.archive import Archive
from stream.log import Entry, Log, Partition, source_id

SWITCH_BATCH = 200
RETRY_S = 0.002
NEXT_TTL_MS = 86_400_000
DELETE_BATCH = 1000
FAR_FUTURE_US = 1 << 62
_TIME = struct.Struct("<q")


@dataclass
class RebuildCount:
    """What a rebuild came to. Every rebuilt entity is in one of the last five.

    `replaced` differed from what was live, `restored` were missing, `same` were as rebuilt. `longer_live` stay as they
    are: the live state reaches further back than what was replayed. `behind` were written by workers in every try;
    their live states stay, and a second rebuild may take them.
    """

    records: int = 0
    folded: int = 0
    entities: int = 0
    replaced: int = 0
    restored: int = 0
    same: int = 0
    longer_live: int = 0
    behind: int = 0


@dataclass
class _Remembering:
    """A store that knows which entities it was given."""

    store: OnlineStore
    refs: dict[EntityRef, None] = field(default_factory=dict)

    def read(self, refs: Sequence[EntityRef]) -> list[StoredEntity]:
        return self.store.read(refs)

    def read_states(self, refs: Sequence[EntityRef]) -> list[StoredEntity]:
        return self.store.read_states(refs)

    def add_pending(self, refs: Sequence[EntityRef], identity: str, record: bytes) -> None:
        self.store.add_pending(refs, identity, record)

    def replace(self, replacements: Sequence[Replacement]) -> list[bool]:
        self.refs |= dict.fromkeys(replacement.ref for replacement in replacements)
        return self.store.replace(replacements)


class Rebuild:
    """One rebuild of all views.

    Parameters
    ----------
    live
        The store that workers write and scorers read.
    beside
        An empty store for the rebuilt states, such as `store_beside` gives.
    archive
        Where to begin; None begins at the oldest entry that the log still has.
    force
        Also replace live states that reach further back than what was replayed, or that hold offsets of logs which
        were not: for when these are known to be wrong.
    """

    def __init__(
        self,
        live: OnlineStore,
        beside: OnlineStore,
        views: Sequence[View],
        log: Log,
        archive: Archive | None = None,
        *,
        force: bool = False,
    ) -> None:
        self.live = live
        self.beside = _Remembering(beside)
        self.views = {view.name: view for view in views}
        self.log = log
        self.archive = archive
        self.force = force
        self.count = RebuildCount()
        self._all_views = list(views)
        self._folder = Folder(self.beside, views, log.name)
        self._positions: dict[Partition, int] = {}

    @property
    def refs(self) -> list[EntityRef]:
        """The entities that lie in the second store."""
        return list(self.beside.refs)

    def run(
        self,
        stop: Event,
        *,
        patience_s: float = 30.0,
        on_progress: Callable[[str, RebuildCount], None] = lambda *_: None,
    ) -> RebuildCount:
        """Steps 1 and 2; whoever made the second store deletes it.

        Gives up on entities that are `behind` once none of them could be switched for `patience_s`, however long it was
        held up before it tried. Stopped early, the live states that were not reached stay.
        """
        self._replay(stop, on_progress)
        done: set[EntityRef] = set()
        for primary in (True, False):
            self._switch_all(primary, done, stop, patience_s, on_progress)
        self.count.behind = len(self.beside.refs) - len(done)
        return self.count

    def _switch_all(
        self,
        primary: bool,
        done: set[EntityRef],
        stop: Event,
        patience_s: float,
        on_progress: Callable[[str, RebuildCount], None],
    ) -> None:
        size = SWITCH_BATCH
        gained_at = math.inf
        while not stop.is_set():
            self.catch_up()
            # What catching up takes the first time is no sign that anything cannot be switched.
            gained_at = min(gained_at, time.monotonic())
            # Events that came meanwhile may have brought new entities.
            self.count.entities = len(self.beside.refs)
            left = [
                ref
                for ref in self.beside.refs
                if ref not in done and not (primary and ref.entity in self._folder.shared)
            ]
            if not left:
                return
            before = len(done)
            for start in range(0, len(left), size):
                if start:
                    self.catch_up()
                tried = left[start : start + size]
                done |= set(tried) - set(self.switch(tried))
                on_progress("switching", self.count)
            if len(done) > before:
                gained_at = time.monotonic()
            elif time.monotonic() - gained_at > patience_s:
                return
            # The fewer at once, the sooner after the catch-up each is tried: busy entities have their turn too.
            size = max(1, size // 2)
            stop.wait(RETRY_S if len(done) < len(self.beside.refs) else 0)

    def catch_up(self) -> None:
        """Fold what the workers have committed since the last time."""
        for partition in self._partitions():
            committed = self.log.committed(GROUP, partition)
            while (start := self._positions.get(partition, 0)) < committed:
                found = [entry for entry in self.log.read(partition, start, CHUNK) if entry.offset < committed]
                if not found:
                    self._positions[partition] = committed
                    break
                self._fold(self._folder, partition, found)
                self._positions[partition] = found[-1].offset + 1

    def switch(self, refs: Sequence[EntityRef]) -> list[EntityRef]:
        """Replace live states by rebuilt ones where nothing would be lost; the entities to be tried again."""
        again: list[EntityRef] = []
        replacements: list[Replacement] = []
        fates: list[str] = []
        for ref, rebuilt, live in zip(refs, self.beside.read_states(refs), self.live.read_states(refs), strict=True):
            new = {name: History.decode(self.views[name], state) for name, state in rebuilt.states.items()}
            old = {name: _readable(self.views[name], live.states.get(name)) for name in new}
            verdicts = {self._verdict(history, old[name]) for name, history in new.items()}
            if "again" in verdicts:
                again.append(ref)
                continue
            if "longer" in verdicts:
                fate = "longer_live"
                kept = {name: history for name, history in old.items() if history is not None}
            elif all(history is not None and _content(history) == _content(new[name]) for name, history in old.items()):
                fate, kept = "same", new
            else:
                fate, kept = "replaced" if live.states else "restored", new
            for name, history in kept.items():
                history.revision = revision_of(live.states.get(name))
            states = {name: history.encode() for name, history in kept.items()}
            newest_us = max((history.newest_us for history in kept.values()), default=0)
            replacements.append(Replacement(ref, {name: live.states.get(name) for name in states}, states, newest_us))
            fates.append(fate)
        for replacement, fate, done in zip(replacements, fates, self.live.replace(replacements), strict=True):
            if done:
                setattr(self.count, fate, getattr(self.count, fate) + 1)
            else:
                again.append(replacement.ref)
        return again

    def _verdict(self, rebuilt: History, live: History | None) -> str:
        if live is None:
            return "take"
        ahead = {source for source, offset in live.sources.items() if rebuilt.applied(source) < offset}
        for partition in self._partitions():
            source = source_id(self.log.name, partition)
            if source in ahead and live.applied(source) >= self._positions.get(partition, 0):
                return "again"
            # What lies before our position was replayed: if it is not in the rebuilt state, it was a duplicate.
            ahead.discard(source)
        if not self.force and (ahead or _oldest_us(live) < _oldest_us(rebuilt)):
            return "longer"
        return "take"

    def _partitions(self) -> list[Partition]:
        return partitions_of(self.log, self._folder.topics)

    def _replay(self, stop: Event, on_progress: Callable[[str, RebuildCount], None]) -> None:
        """All partitions side by side, the one whose next chunk began first goes on: nearly as it once came."""
        folders = {self.log.name: self._folder}
        streams: dict[tuple[str, Partition], Iterator[Entry]] = {}
        for (name, partition), stream in committed_streams(self.log, self.archive, self._folder.topics).items():
            streams[name, partition] = stream
            folders.setdefault(name, Folder(self.beside, self._all_views, name))
        chunks = {key: _chunk(stream) for key, stream in streams.items()}
        begins = {key: time_us(chunk) for key, chunk in chunks.items() if chunk}
        while begins and not stop.is_set():
            key = min(begins, key=lambda one: begins[one])
            name, partition = key
            self._fold(folders[name], partition, chunks[key])
            if name == self.log.name:
                self._positions[partition] = chunks[key][-1].offset + 1
            on_progress("replaying", self.count)
            chunks[key] = _chunk(streams[key])
            if chunks[key]:
                begins[key] = time_us(chunks[key])
            else:
                del begins[key]

    def _fold(self, folder: Folder, partition: Partition, found: list[Entry]) -> None:
        counted = folder.fold({partition: found})
        self.count.records += counted.records
        self.count.folded += counted.folded


def store_beside(live: RedisOnlineStore, run_id: str) -> RedisOnlineStore:
    """A store in the same Redis whose keys end in another project: neither Feast nor a scorer ever sees them.

    What a crash leaves there goes by itself within a day.
    """
    plan = msgspec.structs.replace(live.plan, project=f"{live.plan.project}.next.{run_id}")
    return RedisOnlineStore(live.connection, plan, NEXT_TTL_MS)


def delete_all(store: RedisOnlineStore, refs: Sequence[EntityRef]) -> None:
    """Delete the hashes of these entities."""
    for start in range(0, len(refs), DELETE_BATCH):
        store.connection.call([("UNLINK", *(store.key(ref) for ref in refs[start : start + DELETE_BATCH]))])


def _chunk(stream: Iterator[Entry]) -> list[Entry]:
    return list(islice(stream, CHUNK))


def _readable(view: View, state: bytes | None) -> History | None:
    """The live history; None where there is none, or none that can be read."""
    if state is None:
        return None
    try:
        return History.decode(view, state)
    except CorruptState:
        return None


def _content(history: History) -> tuple[object, ...]:
    return (history.sources, history.merged, history.rows, history.members, history.ids, history.evicted_until_us)


def _oldest_us(history: History) -> int:
    """The time of the oldest event; far in the future where there is none."""
    firsts = [_TIME.unpack_from(rows)[0] for rows in (history.merged, history.rows) if rows]
    return min(firsts, default=FAR_FUTURE_US)
