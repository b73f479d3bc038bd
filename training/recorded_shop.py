"""What was recorded of a shop: items, actions and slates in order, as the batch fit and the ranker take them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from models.interaction import weight_of
from scoring.ranked_features import DEFINITION_HASH, NAMES
from stream.packed_vector import unpacked
from stream.records import Action, Item, Slate, micros
from training.item_fit import Interactions
from training.slate_rows import SlateRows

RECORDS_LIMIT = 2_000_000
"""Items and actions that are kept, the newest."""
SLATES_LIMIT = 20_000
"""Slates that are kept, the newest: some 200,000 rows."""
WAIT_US = 3_600_000_000
"""A slate teaches once this much time has passed since: who has not acted by then did not want it."""


@dataclass
class RecordedShop:
    """Items and actions in order, each once; slates; and what of which slate was acted on."""

    records: deque[Item | Action] = field(default_factory=lambda: deque(maxlen=RECORDS_LIMIT))
    slates: deque[Slate] = field(default_factory=lambda: deque(maxlen=SLATES_LIMIT))
    acted: set[tuple[str, str]] = field(default_factory=set)
    newest_us: int = 0
    other_definition: int = 0
    """Slates whose vectors are of other features than those that are served: they teach no ranker of today."""

    @classmethod
    def of(cls, records: Iterable[Item | Action | Slate]) -> RecordedShop:
        """Read them all; a record that comes twice counts once."""
        shop = cls()
        known: set[tuple[str, str]] = set()
        for record in records:
            if (record.topic, record.identity) in known:
                continue
            known.add((record.topic, record.identity))
            shop._take(record)
        return shop

    @property
    def actions(self) -> list[Action]:
        """Those with an item."""
        return [one for one in self.records if isinstance(one, Action) and one.item_id is not None]

    def interactions(self) -> Interactions:
        """As a batch fit takes them."""
        users: dict[str, int] = {}
        items: dict[str, int] = {}
        rows = [
            (
                users.setdefault(one.user_id, len(users)),
                items.setdefault(one.item_id or "", len(items)),
                weight_of(one.action, one.value),
                micros(one.event_timestamp),
            )
            for one in self.actions
        ]
        user, item, weight, at_us = zip(*rows, strict=True) if rows else ((), (), (), ())
        return Interactions(
            np.array(user, dtype=np.int64),
            np.array(item, dtype=np.int32),
            np.array(weight, dtype=np.float32),
            np.array(at_us, dtype=np.int64),
            list(items),
        )

    def slate_rows(self) -> SlateRows:
        """The rows of slates that had time to be acted on, as they were served."""
        waited = [one for one in self.slates if micros(one.event_timestamp) <= self.newest_us - WAIT_US]
        rows = [(slate, place, shown) for slate in waited for place, shown in enumerate(slate.items, 1)]
        vectors = [
            np.concatenate((of_visitor, unpacked(shown.vector)))
            for slate in waited
            for of_visitor in [unpacked(slate.vector)]
            for shown in slate.items
        ]
        return SlateRows(
            X=np.array(vectors, dtype=np.float64).reshape(-1, len(NAMES)),
            y=np.array([(slate.event_id, shown.item_id) in self.acted for slate, _, shown in rows], dtype=np.int8),
            slate=np.array([slate.event_id for slate, _, _ in rows], dtype=object),
            place=np.array([place for _, place, _ in rows], dtype=np.int64),
            propensity=np.array([shown.propensity for _, _, shown in rows], dtype=np.float64),
            at_us=np.array([micros(slate.event_timestamp) for slate, _, _ in rows], dtype=np.int64),
            feature_names=NAMES,
            definition_hash=DEFINITION_HASH,
        )

    def _take(self, record: Item | Action | Slate) -> None:
        self.newest_us = max(self.newest_us, micros(record.event_timestamp) if not isinstance(record, Item) else 0)
        if isinstance(record, Slate):
            if record.definition_hash != DEFINITION_HASH:
                self.other_definition += 1
            elif record.items:
                self.slates.append(record)
            return
        self.records.append(record)
        if isinstance(record, Item) or not record.slate_id or not record.item_id:
            return
        if weight_of(record.action, record.value) > 0.0:
            self.acted.add((record.slate_id, record.item_id))
