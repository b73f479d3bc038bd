"""Replay played transactions through the feature engine, in memory: training frames and warm histories.

The same histories and the same scan as live, fed in time order; a label becomes known only when its time has come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from features.feature_set import EntityRef, FeatureSet, ViewRead
from features.history import History
from features.online_store import OnlineStore, Replacement
from features.view import View, member_hash
from stream.label_feed import LabelFeed
from stream.played import Played
from stream.records import micros
from training.frame import TrainingFrame

SHARE_STEPS = 10_000
WRITE_BATCH = 500


def in_share(card_id: str, share: float) -> bool:
    """Whether a card belongs to a share of all cards: the same answer everywhere, for all its events."""
    return crc32(card_id.encode()) % SHARE_STEPS < share * SHARE_STEPS


def objects(records: Sequence[Any]) -> NDArray[Any]:
    """Records as an array of objects, shape (n_rows,), whatever numpy could make of them."""
    column = np.empty(len(records), dtype=object)
    column[:] = records
    return column


def rows_of(features: FeatureSet, record: Any) -> Iterator[tuple[View, str, bytes, bool]]:
    """The rows that a record adds: view, entity, row, and whether the view is the one that remembers records."""
    primary = True
    for view in features.views:
        if isinstance(record, view.source):
            row = view.row(record)
            if row is not None:
                yield view, getattr(record, view.entity), row, primary
            primary = False


@dataclass
class Replay:
    """The histories of all entities at one moment, and the vectors seen on the way."""

    features: FeatureSet
    histories: dict[tuple[str, str], History] = field(default_factory=dict)
    feed: LabelFeed = field(default_factory=lambda: LabelFeed(limit=10_000_000))
    events: int = 0

    def advance(
        self,
        played: Iterable[Played],
        *,
        collect_from: datetime | None = None,
        share: float = 1.0,
        on_event: Callable[[int], None] = lambda count: None,
        keep_records: bool = False,
    ) -> TrainingFrame | None:
        """Fold transactions in time order, and the labels that become known on the way.

        From `collect_from` on, the vectors of a share of the cards are kept, with the labels that are known by the end;
        and the records, if they are to be kept. Calling again goes on where the last call ended.
        """
        vectors: list[Any] = []
        labels: list[int] = []
        times: list[int] = []
        known: list[int] = []
        now_us = 0
        cards: list[str] = []
        records: list[Any] = []
        for one in played:
            record = one.transaction
            for label in self.feed.due(record.event_timestamp):
                self._fold(label)
            if (
                collect_from is not None
                and record.event_timestamp >= collect_from
                and one.fraud is not None
                and in_share(record.card_id, share)
            ):
                vectors.append(self.features.vector(record, self._reads(record)).values)
                labels.append(int(one.fraud))
                times.append(micros(record.event_timestamp))
                known.append(micros(one.known_at))
                cards.append(record.card_id)
                if keep_records:
                    records.append(record)
            self._fold(record)
            self.feed.add(one)
            now_us = micros(record.event_timestamp)
            self.events += 1
            on_event(self.events)
        if collect_from is None:
            return None
        # What was not known by the end cannot teach. Frauds become known sooner than legits: events younger than the
        # longest delay are left out whole, or the youngest days would hold frauds only.
        waits = np.array(known, dtype=np.int64) - np.array(times, dtype=np.int64)
        usable = np.array(times, dtype=np.int64) + waits.max(initial=0) <= now_us
        return TrainingFrame(
            X=np.array(vectors).reshape(-1, len(self.features.names))[usable],
            y=np.array(labels, dtype=np.int8)[usable],
            event_time_us=np.array(times, dtype=np.int64)[usable],
            card=np.array(cards, dtype=object)[usable],
            label_cutoff_us=now_us,
            feature_names=self.features.names,
            definition_hash=self.features.definition_hash,
            records=objects(records)[usable] if keep_records else None,
        )

    def materialize(self, store: OnlineStore) -> int:
        """Write every history into an empty online store; the next live event goes on from there. How many entities."""
        entities: dict[EntityRef, dict[str, History]] = {}
        views = {view.name: view for view in self.features.views}
        for (name, value), history in self.histories.items():
            entities.setdefault(EntityRef(views[name].entity, value), {})[name] = history
        refs = list(entities)
        for start in range(0, len(refs), WRITE_BATCH):
            batch = refs[start : start + WRITE_BATCH]
            current = store.read_states(batch)
            store.replace(
                [
                    Replacement(
                        ref,
                        {name: stored.states.get(name) for name in entities[ref]},
                        {name: history.encode() for name, history in entities[ref].items()},
                        max(history.newest_us for history in entities[ref].values()),
                    )
                    for ref, stored in zip(batch, current, strict=True)
                ]
            )
        return len(refs)

    def _fold(self, record: Any) -> None:
        for view, value, row, primary in rows_of(self.features, record):
            history = self._history(view, value)
            history.fold(row)
            if primary:
                history.remember(member_hash(record.identity))

    def _history(self, view: View, value: str) -> History:
        history = self.histories.get((view.name, value))
        if history is None:
            history = self.histories[view.name, value] = History(view)
        return history

    def _reads(self, record: Any) -> dict[str, ViewRead]:
        return {
            view.name: ViewRead(self.histories.get((view.name, value)) or History(view), [])
            for view in self.features.views
            if (value := getattr(record, view.entity)) is not None
        }
