"""Slates that were never served: what the candidates would have been at moments of the past, and what came of them.

For a beginning, when nothing was recommended yet. Items and actions are played in order through the state, the
histories and the functions that serve. At some of the actions, a moment before, the candidates are looked at as a
request would have them; those that the visitor took among the next few items count as acted on. No place favoured any.

The batch fit that proposes is fitted on what came before the first of these moments: one that had seen what follows
would look better than any that can be served. Of the candidates that were not acted on some are kept, drawn by lot: a
choice by any score would be unfair to that score when rankers are compared.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.feature_set import ViewRead
from features.history import History
from features.recommendation import ITEM, SESSION, USER
from features.recommendation import Visit as Asked
from features.scan import Scan
from features.view import View
from models.cross_features import cross_features
from models.interaction import weight_of
from models.ranker import Ranker
from scoring.found import find
from scoring.ranked_features import DEFINITION_HASH, ITEM_NAMES, NAMES, VISITOR_NAMES
from scoring.recommend_bodies import RecommendRequest
from scoring.sequenced import RecommenderState
from scoring.visitor import ItemNumbers, vector_of
from stream.records import Action, Item, encode, micros
from stream.sequence import Sequenced
from training.item_fit import NothingToFit, fit_items
from training.recorded_shop import RecordedShop
from training.slate_rows import UNBIASED_PLACE, SlateRows

ACTIONS_LIMIT = 300_000
"""Actions that are played, the newest."""
SLATES = 2_000
WARM_SHARE = 0.5
"""Of the actions, the first ones: they fill the state, and slates are of the others."""
NEXT = 10
"""Of a visitor's next items: what counts as acted on."""
NEGATIVES = 30
"""Candidates of one slate that are kept though they were not acted on."""
K = 50

Say = Callable[[str], None]


class _Rows(NamedTuple):
    X: NDArray[np.float32]
    y: NDArray[np.bool_]


@dataclass
class _Stage:
    """The state and the histories at a moment of the past."""

    state: RecommenderState = field(default_factory=RecommenderState)
    numbers: ItemNumbers = field(default_factory=ItemNumbers)
    histories: dict[tuple[str, str], History] = field(default_factory=dict)
    scan: Scan = field(default_factory=lambda: Scan(ITEM))
    ranker: Ranker = field(default_factory=lambda: Ranker(None, VISITOR_NAMES, ITEM_NAMES))
    entries: int = 0

    def play(self, record: Item | Action) -> None:
        """Take a record into the state and into the histories."""
        self.entries += 1
        source = f"replay/{record.topic}/0"
        self.state.apply(Sequenced(b"", source, self.entries, encode(record), self.entries), lambda version: None)
        if isinstance(record, Action):
            for view in (USER, SESSION, ITEM):
                row, value = view.row(record), getattr(record, view.entity)
                if row is not None and value is not None:
                    self._history(view, value).fold(row)

    def rows(self, action: Action, wanted: set[str]) -> _Rows | None:
        """The candidates' rows the moment before an action; None where none of them is wanted, or all are."""
        asked = Asked(event_timestamp=action.event_timestamp, user_id=action.user_id, session_id=action.session_id)
        reads = {
            view.name: ViewRead(history, [])
            for view, value in ((USER, action.user_id), (SESSION, action.session_id))
            if value is not None and (history := self.histories.get((view.name, value))) is not None
        }
        recommender = self.state.recommender
        self.numbers.follow(recommender.index.ids)
        request = RecommendRequest(user_id=action.user_id, session_id=action.session_id, k=K)
        found = find(recommender, self.numbers, request, asked, reads, K)
        ids = recommender.index.ids
        items = found.candidates.items.tolist()
        y = np.array([ids[number] in wanted for number in items], dtype=np.bool_)
        if not y.any() or y.all():
            return None
        at_us = micros(action.event_timestamp)
        kept = _kept(y, action.event_id)
        cross = cross_features(
            found.candidates.scores, found.candidates.blend, found.facts, found.recents, found.visit.at_us
        )[kept]
        own = np.array([self._item(ids[items[place]], at_us) for place in kept.tolist()], dtype=np.float64)
        visitor = vector_of(asked, reads).astype(np.float32)
        return _Rows(self.ranker.rows(visitor, own, cross), y[kept])

    def _item(self, item: str, at_us: int) -> NDArray[np.float64]:
        history = self.histories.get((ITEM.name, item)) or History(ITEM)
        return self.scan.read(history, at_us)[0]

    def _history(self, view: View, value: str) -> History:
        key = (view.name, value)
        history = self.histories.get(key)
        if history is None:
            history = self.histories[key] = History(view)
        return history


def replayed_slates(shop: RecordedShop, slates: int = SLATES, say: Say = lambda text: None) -> SlateRows:
    """Play what was recorded and look at candidates on the way; the same shop gives the same rows."""
    records = _newest(list(shop.records))
    actions = [place for place, one in enumerate(records) if isinstance(one, Action) and _is_wanted(one)]
    first = actions[int(len(actions) * WARM_SHARE)] if actions else len(records)
    chosen = _chosen(records, [place for place in actions if place >= first], slates)
    nexts = _next_items(records)
    stage = _Stage()
    found: list[tuple[Action, _Rows]] = []
    for place, record in enumerate(records):
        if place == first and isinstance(record, Action):
            _adopt(stage, shop, micros(record.event_timestamp))
            say(f"played {place:,} records; looking at candidates from here on")
        if place in chosen and isinstance(record, Action):
            rows = stage.rows(record, nexts[place])
            if rows is not None:
                found.append((record, rows))
        stage.play(record)
    say(f"{len(found):,} slates of {len(chosen):,} moments had what was taken next among their candidates")
    sizes = [len(rows.y) for _, rows in found]
    return SlateRows(
        X=np.concatenate([rows.X for _, rows in found]).astype(np.float64) if found else np.empty((0, len(NAMES))),
        y=np.concatenate([rows.y for _, rows in found]).astype(np.int8) if found else np.empty(0, dtype=np.int8),
        slate=np.repeat(np.array([one.event_id for one, _ in found], dtype=object), sizes),
        place=np.full(sum(sizes), UNBIASED_PLACE, dtype=np.int64),
        propensity=np.ones(sum(sizes)),
        at_us=np.repeat(np.array([micros(one.event_timestamp) for one, _ in found], dtype=np.int64), sizes),
        feature_names=NAMES,
        definition_hash=DEFINITION_HASH,
    )


def _adopt(stage: _Stage, shop: RecordedShop, until_us: int) -> None:
    with suppress(NothingToFit):  # then no batch fit proposes
        stage.state.recommender.adopt(fit_items(shop.interactions(), until_us, "replay"))


def _newest(records: list[Item | Action]) -> list[Item | Action]:
    """All items, and the newest actions."""
    surplus = sum(isinstance(one, Action) for one in records) - ACTIONS_LIMIT
    kept = []
    for one in records:
        if isinstance(one, Action):
            surplus -= 1
            if surplus >= 0:
                continue
        kept.append(one)
    return kept


def _chosen(records: Sequence[Item | Action], places: list[int], limit: int) -> set[int]:
    """So many of the places, by the hash of their events."""
    return set(sorted(places, key=lambda place: _draw(records[place].event_id))[:limit])


def _next_items(records: Sequence[Item | Action]) -> list[set[str]]:
    """For each place the items that its visitor takes from there on, `NEXT` of them."""
    found: list[set[str]] = [set() for _ in records]
    coming: dict[str, list[str]] = defaultdict(list)
    for place in range(len(records) - 1, -1, -1):
        one = records[place]
        if isinstance(one, Action) and one.item_id is not None and _is_wanted(one):
            following = coming[one.user_id]
            if one.item_id in following:
                following.remove(one.item_id)
            following.insert(0, one.item_id)
            del following[NEXT:]
            found[place] = set(following)
    return found


def _is_wanted(action: Action) -> bool:
    return action.item_id is not None and weight_of(action.action, action.value) > 0.0


def _kept(y: NDArray[np.bool_], name: str) -> NDArray[np.intp]:
    """All that were acted on, and some drawn from the others; in their order."""
    drawn = np.random.default_rng(_draw(name)).permutation(np.flatnonzero(~y))[:NEGATIVES]
    return np.sort(np.concatenate([np.flatnonzero(y), drawn]))


def _draw(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little")
