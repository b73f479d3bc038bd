"""The worker's fold: a batch of log entries becomes new states, exactly once in effect.

For one batch, in this order:

1. Read the states of every entity that the batch touches, and fold the records over them in memory.
2. Report what is refused. Reversed, a crash between 2 and 3 would lose it: when the batch comes again, its states say
   that it is applied, and whether it was refused or has aged since, nobody knows. As it is, a repeat reports twice.
3. Write the states of the other entities, each with compare-and-set.
4. Write the states of the primary entities. A primary state that has an offset or an event id therefore says that all
   the others have it too: a repeat, a duplicate or a zombie finds nothing left to do. Whoever restores states keeps to
   the other order, primary first, and the worker reads them last, so that what it decides from them is never older
   than what it writes over.
5. Commit the offsets to the log. Reversed, a crash between 4 and 5 would lose the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from features.feature_set import EntityRef
from features.history import CorruptState, History, revision_of
from features.online_store import OnlineStore, Replacement
from features.view import View, member_hash
from stream.dead_letter import dead_letter
from stream.invalid_record import InvalidRecord
from stream.log import Entry, Partition, source_id
from stream.records import RECORD_TYPES, DeadLetter, decode

CONFLICT_LIMIT = 200


class TooManyConflicts(RuntimeError):
    """Other writers kept winning on one entity. A retry can help; if it does not, two pipelines write one store."""


@dataclass(slots=True)
class _Item:
    """One record on its way into the states: the row it adds to each view, the primary one first."""

    partition: Partition
    entry: Entry
    source: int
    event: str
    identity: int
    rows: list[tuple[View, EntityRef, bytes]]
    refused_by: set[str] | None = None
    """The views whose state was too new for it. Where all are, it changes nothing and is a dead letter."""

    @property
    def key(self) -> tuple[str, str]:
        """Its primary view and that view's entity: whose state knows whether it is new."""
        view, ref, _ = self.rows[0]
        return (view.name, ref.value)


@dataclass(slots=True)
class _Share:
    """What a batch does to one entity: rows by view (None: a duplicate's offset to note), and what was pending."""

    rows: dict[View, list[tuple[_Item, bytes | None]]]
    folded: list[str]


@dataclass
class FoldCount:
    """What became of a batch: records read, folded, known before (repeats and duplicates), refused, and retries."""

    records: int = 0
    folded: int = 0
    repeated: int = 0
    conflicts: int = 0
    dead: list[DeadLetter] = field(default_factory=list)


Stored = dict[EntityRef, dict[str, bytes]]
Shares = dict[EntityRef, _Share]
Report = Callable[[list[DeadLetter]], None]
_Decoded = dict[tuple[str, str], History]


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
        for view in views:
            self._by_topic.setdefault(view.source.topic, []).append(view)
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

    def fold(self, batch: dict[Partition, list[Entry]], report: Report = lambda letters: None) -> FoldCount:
        """Steps 1 to 4 of the module's docstring; the caller commits.

        `report` is called with dead letters before any state is written that would make them look done. What it raises
        goes to the caller, and nothing more is written. A letter may be reported again when the batch comes again.
        """
        count = FoldCount()
        items = list(self._decode(batch, count))
        stored = self._read(items)
        primary, others, decoded = self._place(items, stored, count)
        folds = [
            {ref: self._fold_share(ref, share, stored[ref], decoded) for ref, share in part.items()}
            for part in (others, primary)
        ]
        count.dead += _refused(items)
        if count.dead:
            report(count.dead)
        for shares, replacements in zip((others, primary), folds, strict=True):
            self._write(shares, replacements, stored, count, report)
        return count

    def _decode(self, batch: dict[Partition, list[Entry]], count: FoldCount) -> Iterator[_Item]:
        """The records that touch a view. What cannot be used is counted as dead."""
        for partition, entries in batch.items():
            source = source_id(self.log_name, partition)
            kind = RECORD_TYPES[partition.topic]
            first = self._primary[partition.topic]
            makers = [(view, view.entity, view.row) for view in self._by_topic[partition.topic]]
            count.records += len(entries)
            for entry in entries:
                try:
                    record: Any = decode(entry.value, kind)
                except InvalidRecord as error:
                    count.dead.append(dead_letter(partition, entry, str(error)))
                    continue
                rows = [
                    (view, EntityRef(entity, getattr(record, entity)), row)
                    for view, entity, make in makers
                    if (row := make(record)) is not None
                ]
                if rows and rows[0][0] is not first:
                    reason = f"it has no {first.entity}, by which {partition.topic} are remembered; send it"
                    count.dead.append(dead_letter(partition, entry, reason))
                elif rows:
                    event = record.identity
                    yield _Item(partition, entry, source, event, member_hash(event), rows)

    def _read(self, items: list[_Item]) -> Stored:
        """The states, those that are written first read first."""
        refs = {ref: None for item in items for _, ref, _ in item.rows}
        ordered = sorted(refs, key=lambda ref: ref.entity not in self.shared)
        return self._states(ordered) if ordered else {}

    def _states(self, refs: Sequence[EntityRef]) -> Stored:
        return {ref: entity.states for ref, entity in zip(refs, self.store.read_states(refs), strict=True)}

    def _place(self, items: list[_Item], stored: Stored, count: FoldCount) -> tuple[Shares, Shares, _Decoded]:
        """Decide from the primary states whether each record is new, then share its rows among the entities.

        Gives the shares of the primary and of the other entities, and the primary histories as they are stored.
        """
        primary: Shares = {}
        others: Shares = {}
        decoded: _Decoded = {}
        known: _Decoded = {}
        for item in items:
            first, ref, _ = item.rows[0]
            key = (first.name, ref.value)
            marks = known.get(key)
            if marks is None:
                history = decoded[key] = _decode_state(first, stored[ref].get(first.name))
                marks = known[key] = history.marks()
            repeated = item.entry.offset <= marks.applied(item.source)
            duplicate = not repeated and marks.knows(item.identity)
            new = not repeated and not duplicate
            if not repeated:
                marks.sources[item.source] = item.entry.offset
            if new:
                marks.remember(item.identity)
            count.folded += new
            count.repeated += not new
            for view, at, row in item.rows:
                shares = primary if view.entity == first.entity else others
                share = shares.get(at)
                if share is None:
                    share = shares[at] = _Share({}, [])
                share.folded.append(item.event)
                if new or (duplicate and view is first):
                    share.rows.setdefault(view, []).append((item, row if new else None))
        return primary, others, decoded

    def _write(
        self,
        shares: Shares,
        replacements: dict[EntityRef, Replacement],
        stored: Stored,
        count: FoldCount,
        report: Report,
    ) -> None:
        """Compare-and-set until every entity is written; after a conflict, fold again over what the other wrote."""
        for _ in range(CONFLICT_LIMIT):
            written = self.store.replace(list(replacements.values())) if replacements else []
            left = [ref for ref, done in zip(replacements, written, strict=True) if not done]
            if not left:
                return
            count.conflicts += len(left)
            items = [item for ref in left for own in shares[ref].rows.values() for item, _ in own]
            # The other writer may have restored the primary states too: what they know by now is folded already.
            stored |= self._states(list(dict.fromkeys([*left, *(item.rows[0][1] for item in items)])))
            for ref in left:
                self._drop_known(ref, shares[ref], stored)
            replacements = {ref: self._fold_share(ref, shares[ref], stored[ref], {}) for ref in left}
            letters = [letter for letter in dict.fromkeys(_refused(items)) if letter not in count.dead]
            if letters:
                count.dead += letters
                report(letters)
        raise TooManyConflicts(
            f"{len(left)} entities, such as a {left[0].entity}, were written by others {CONFLICT_LIMIT} times"
        )

    def _drop_known(self, ref: EntityRef, share: _Share, stored: Stored) -> None:
        """Leave out what the primary states of other entities know: another writer has folded it."""
        histories: _Decoded = {}

        def is_new(item: _Item) -> bool:
            first, at, _ = item.rows[0]
            if at == ref:
                return True
            if item.key not in histories:
                histories[item.key] = _decode_state(first, stored[at].get(first.name))
            history = histories[item.key]
            return item.entry.offset > history.applied(item.source) and not history.knows(item.identity)

        left = {view: [one for one in own if is_new(one[0])] for view, own in share.rows.items()}
        share.rows = {view: own for view, own in left.items() if own}

    def _fold_share(self, ref: EntityRef, share: _Share, states: dict[str, bytes], decoded: _Decoded) -> Replacement:
        """What the rows make of one entity. Uses up the histories in `decoded`, which are those of `states`."""
        old: dict[str, bytes | None] = {}
        new: dict[str, bytes] = {}
        newest_us = 0
        for view, offered in share.rows.items():
            state = old[view.name] = states.get(view.name)
            history = decoded.pop((view.name, ref.value), None) or _decode_state(view, state)
            items: list[_Item] = []
            rows: list[bytes] = []
            for item, row in offered:
                if item.entry.offset <= history.applied(item.source):
                    continue
                history.sources[item.source] = item.entry.offset
                if row is None:
                    continue
                if view is item.rows[0][0]:
                    if history.knows(item.identity):
                        continue
                    history.remember(item.identity)
                items.append(item)
                rows.append(row)
            for position in history.fold_all(rows):
                items[position].refused_by = (items[position].refused_by or set()) | {view.name}
            new[view.name] = history.encode()
            newest_us = max(newest_us, history.newest_us)
        return Replacement(ref, old, new, newest_us, share.folded)


def _refused(items: Iterable[_Item]) -> list[DeadLetter]:
    """Those that every view refused. Where a state had them applied, who applied them has reported them."""
    return [
        dead_letter(item.partition, item.entry, "older than the longest window of its views; it changes nothing")
        for item in items
        if item.refused_by is not None and len(item.refused_by) == len(item.rows)
    ]


def _decode_state(view: View, state: bytes | None) -> History:
    try:
        return History.decode(view, state)
    except CorruptState:
        # What cannot be read cannot be mended here: start anew rather than stop the partition; `replay` rebuilds.
        history = History(view)
        history.revision = revision_of(state)
        return history
