"""The worker's fold: a batch of log entries becomes new states, exactly once in effect.

For one batch, in this order:

1. Read the states of every entity that the batch touches, and fold the records over them in memory.
2. Write the states of the other entities, each with compare-and-set.
3. Write the states of the primary entities. A primary state that has an offset or an event id therefore says that all
   the others have it too: a repeat, a duplicate or a zombie finds nothing left to do. Whoever restores states keeps to
   the other order, primary first, and the worker reads them last, so that what it decides from them is never older
   than what it writes over.
4. Commit the offsets to the log. Reversed, a crash between 3 and 4 would lose the batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from features.feature_set import EntityRef
from features.history import CorruptState, History, revision_of
from features.online_store import OnlineStore, Replacement
from features.view import View, member_hash
from stream.log import Entry, Partition, source_id
from stream.records import RECORD_TYPES, DeadLetter, InvalidRecord, decode

CONFLICT_LIMIT = 200


class TooManyConflicts(RuntimeError):
    """Other writers kept winning on one entity. A retry can help; if it does not, two pipelines write one store."""


@dataclass(slots=True)
class _Item:
    """One record on its way into the states."""

    partition: Partition
    entry: Entry
    source: int
    record: Any
    identity: int
    late: bool | None = None
    """Whether every view that was offered the record found it too old; None while none was offered it."""


@dataclass(slots=True)
class _Share:
    """What a batch does to one entity: rows by view, duplicates to note, and the events that stop being pending."""

    rows: list[tuple[_Item, View, bytes]] = field(default_factory=list)
    duplicates: list[_Item] = field(default_factory=list)
    folded: dict[str, None] = field(default_factory=dict)


@dataclass
class FoldCount:
    """What became of a batch: records read, folded, known before (repeats and duplicates), refused, and retries."""

    records: int = 0
    folded: int = 0
    repeated: int = 0
    conflicts: int = 0
    dead: list[DeadLetter] = field(default_factory=list)


Shares = dict[EntityRef, _Share]


class Folder:
    """Folds batches of log entries into an online store.

    Parameters
    ----------
    views
        All views. For each type of record the first view is the primary one: its entity is the key by which the log
        keeps the record's order, and its state remembers which records it has seen.
    log_name
        The log that the entries come from: offsets mean nothing in another.

    Attributes
    ----------
    shared
        The entities whose states are written before the primary ones of some type of record.
    """

    def __init__(self, store: OnlineStore, views: Sequence[View], log_name: str) -> None:
        self.store = store
        self.log_name = log_name
        self._by_topic: dict[str, list[View]] = {}
        self._entity_views: dict[str, list[View]] = {}
        for view in views:
            self._by_topic.setdefault(view.source.topic, []).append(view)
            self._entity_views.setdefault(view.entity, []).append(view)
        self._primary = {topic: own[0] for topic, own in self._by_topic.items()}
        self.shared = frozenset(
            view.entity for own in self._by_topic.values() for view in own[1:] if view.entity != own[0].entity
        )
        for first in self._primary.values():
            if first.where is not None and len(self._by_topic[first.source.topic]) > 1:
                raise ValueError(
                    f"view {first.name!r} comes first for {first.source.__name__} and must see all of them"
                )

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics whose records the views are made from."""
        return tuple(self._by_topic)

    def fold(self, batch: dict[Partition, list[Entry]]) -> FoldCount:
        """Steps 1 to 3 of the module's docstring. The caller appends the dead letters and commits."""
        count = FoldCount()
        items = list(self._decode(batch, count))
        stored = self._read(items)
        primary, others = self._place(items, stored, count)
        self._write(others, stored, count)
        self._write(primary, stored, count)
        count.dead += [
            _dead_letter(item.partition, item.entry, "older than the longest window of its views; it changes nothing")
            for item in items
            if item.late
        ]
        return count

    def _decode(self, batch: dict[Partition, list[Entry]], count: FoldCount) -> Iterable[_Item]:
        for partition, entries in batch.items():
            source = source_id(self.log_name, partition)
            kind = RECORD_TYPES[partition.topic]
            for entry in entries:
                count.records += 1
                try:
                    record: Any = decode(entry.value, kind)
                except InvalidRecord as error:
                    count.dead.append(_dead_letter(partition, entry, str(error)))
                    continue
                yield _Item(partition, entry, source, record, member_hash(record.identity))

    def _read(self, items: list[_Item]) -> dict[EntityRef, dict[str, bytes]]:
        refs = {
            EntityRef(view.entity, value): None
            for item in items
            for view in self._by_topic[item.partition.topic]
            if (value := getattr(item.record, view.entity)) is not None
        }
        ordered = sorted(refs, key=lambda ref: ref.entity not in self.shared)
        return self._states(ordered) if ordered else {}

    def _states(self, refs: Sequence[EntityRef]) -> dict[EntityRef, dict[str, bytes]]:
        return {ref: entity.states for ref, entity in zip(refs, self.store.read_states(refs), strict=True)}

    def _place(
        self, items: list[_Item], stored: dict[EntityRef, dict[str, bytes]], count: FoldCount
    ) -> tuple[Shares, Shares]:
        """Decide from the primary state whether each record is new, then share its rows among the entities."""
        primary: Shares = {}
        others: Shares = {}
        seen: dict[EntityRef, History] = {}
        for item in items:
            first = self._primary[item.partition.topic]
            rows = [
                (view, EntityRef(view.entity, getattr(item.record, view.entity)), row)
                for view in self._by_topic[item.partition.topic]
                if (row := view.row(item.record)) is not None
            ]
            if not rows:
                continue
            ref = rows[0][1]
            if rows[0][0] is not first:
                reason = f"it has no {first.entity}, by which {item.partition.topic} are remembered; send it"
                count.dead.append(_dead_letter(item.partition, item.entry, reason))
                continue
            history = seen.get(ref)
            if history is None:
                history = seen[ref] = _decode_state(first, stored[ref].get(first.name))
            repeated = item.entry.offset <= history.applied(item.source)
            duplicate = not repeated and history.knows(item.identity)
            # Marked here so that a copy later in this batch is known; what is stored is marked when it is folded.
            history.sources[item.source] = max(item.entry.offset, history.applied(item.source))
            if not duplicate and not repeated:
                history.remember(item.identity)
            count.folded += not (repeated or duplicate)
            count.repeated += repeated or duplicate
            for view, at, row in rows:
                share = (primary if view.entity == first.entity else others).setdefault(at, _Share())
                share.folded[item.record.identity] = None
                if not (repeated or duplicate):
                    share.rows.append((item, view, row))
                elif duplicate and view is first:
                    share.duplicates.append(item)
        return primary, others

    def _write(self, shares: Shares, stored: dict[EntityRef, dict[str, bytes]], count: FoldCount) -> None:
        """Fold and compare-and-set until every entity is written; after a conflict, over what the other wrote."""
        left = list(shares)
        for _ in range(CONFLICT_LIMIT):
            replacements = [self._fold_share(ref, shares[ref], stored[ref]) for ref in left]
            written = self.store.replace(replacements) if replacements else []
            left = [ref for ref, done in zip(left, written, strict=True) if not done]
            if not left:
                return
            count.conflicts += len(left)
            # The other writer may have restored the primary states too: what they know by now is folded already.
            decisive = {self._primary_ref(item): None for ref in left for item, _, _ in shares[ref].rows}
            stored |= self._states(list(dict.fromkeys([*left, *decisive])))
            for ref in left:
                if any(self._primary_ref(item) != ref for item, _, _ in shares[ref].rows):
                    self._drop_known(shares[ref], stored)
        raise TooManyConflicts(
            f"{len(left)} entities, such as {left[0]}, were written by others {CONFLICT_LIMIT} times"
        )

    def _primary_ref(self, item: _Item) -> EntityRef:
        first = self._primary[item.partition.topic]
        return EntityRef(first.entity, getattr(item.record, first.entity))

    def _drop_known(self, share: _Share, stored: dict[EntityRef, dict[str, bytes]]) -> None:
        histories: dict[EntityRef, History] = {}
        kept = []
        for item, view, row in share.rows:
            ref = self._primary_ref(item)
            if ref not in histories:
                first = self._primary[item.partition.topic]
                histories[ref] = _decode_state(first, stored[ref].get(first.name))
            history = histories[ref]
            if item.entry.offset > history.applied(item.source) and not history.knows(item.identity):
                kept.append((item, view, row))
        share.rows = kept

    def _fold_share(self, ref: EntityRef, share: _Share, stored: dict[str, bytes]) -> Replacement:
        histories: dict[str, History] = {}
        taken: dict[str, list[tuple[_Item, bytes]]] = {}
        for item, view, row in share.rows:
            history = histories.get(view.name)
            if history is None:
                history = histories[view.name] = _decode_state(view, stored.get(view.name))
            if item.entry.offset <= history.applied(item.source):
                continue
            history.sources[item.source] = item.entry.offset
            if view is self._primary[item.partition.topic]:
                if history.knows(item.identity):
                    continue
                history.remember(item.identity)
            taken.setdefault(view.name, []).append((item, row))
        for name, own in taken.items():
            refused = set(histories[name].fold_all([row for _, row in own]))
            for position, (item, _) in enumerate(own):
                item.late = position in refused and item.late is not False
        for item in share.duplicates:
            first = self._primary[item.partition.topic]
            history = histories.get(first.name)
            if history is None:
                history = histories[first.name] = _decode_state(first, stored.get(first.name))
            history.sources[item.source] = max(item.entry.offset, history.applied(item.source))
        return Replacement(
            ref,
            {name: stored.get(name) for name in histories},
            {name: history.encode() for name, history in histories.items()},
            max((history.newest_us for history in histories.values()), default=0),
            list(share.folded),
        )


def _decode_state(view: View, state: bytes | None) -> History:
    try:
        return History.decode(view, state)
    except CorruptState:
        # What cannot be read cannot be mended here: start anew rather than stop the partition; `replay` rebuilds.
        history = History(view)
        history.revision = revision_of(state)
        return history


def _dead_letter(partition: Partition, entry: Entry, reason: str) -> DeadLetter:
    return DeadLetter(
        event_id=f"{partition.topic}/{partition.number}/{entry.offset}",
        from_topic=partition.topic,
        partition=partition.number,
        offset=entry.offset,
        reason=reason,
        payload=entry.value,
    )
