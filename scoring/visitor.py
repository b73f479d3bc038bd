"""Who asks: the visitor's features, and what the visitor did last, from the online store as it is at this moment.

Both come from one read of the user's and the session's hashes, in which an action is from the moment it was answered,
whether or not a worker has folded it and whether or not anybody has learned from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.feature_set import ViewRead
from features.history import CorruptState, History
from features.online_store import StoredEntity
from features.recommendation import PURCHASE, RECOMMENDATION, SESSION, UNWANTED, USER
from features.recommendation import Visit as Asked
from features.view import View, member_hash
from models.interaction import KIND_WEIGHTS
from models.number_table import NumberTable
from models.visit import RECENT_LIMIT, Visit
from scoring.newest import POSITION_BITS, read_done, visited

ITEM_FIELD = "item_id"

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
Numbers = NDArray[np.int32]
NO_ITEMS: Numbers = np.zeros(0, dtype=np.int32)


def bits_of(item_id: str) -> int:
    """The bits that histories know an item by: all but the low four, which a table of members has another use for."""
    return member_hash(item_id) & ~POSITION_BITS


class ItemNumbers:
    """The numbers of an index by the bits that histories know items by. `follow` it whenever items may have come."""

    def __init__(self) -> None:
        self._table = NumberTable()
        self._followed = 0

    def follow(self, ids: Sequence[str]) -> None:
        """Know the ids that were added since, by their places."""
        first, self._followed = self._followed, len(ids)
        for number in range(first, len(ids)):
            key = bits_of(ids[number])
            # Two items of one hash: the first keeps it.
            if self._table.find_one(key) < 0:
                self._table.put(key, number)

    @property
    def slots(self) -> tuple[Ints, Numbers]:
        """The table, for compiled loops: see `NumberTable`."""
        return self._table.slots


class Done(NamedTuple):
    """Actions on items, in no order: the bits of the item (`bits_of`), when, and how much it says."""

    hashes: Ints
    times_us: Ints
    weights: Floats


def _places(view: View) -> Ints:
    conditions = [column.where for column in view.columns]
    position = view.members.index(ITEM_FIELD)
    first = 1 + len(view.columns)
    found = (first + position, 1 + conditions.index(PURCHASE), 1 + conditions.index(UNWANTED), position)
    return np.array(found, dtype=np.int64)


_PLACES = {view.name: _places(view) for view in (USER, SESSION)}
_BOTH_PLACES = np.stack([_PLACES[USER.name], _PLACES[SESSION.name]])
_NO_CELLS = np.zeros((0, 2), dtype=np.int64)
_WEIGHTS = np.array([KIND_WEIGHTS["purchase"], 1.0], dtype=np.float32)


def reads_of(stored: Mapping[str, StoredEntity]) -> dict[str, ViewRead]:
    """The history and the pending rows of each view, from the entities as stored, by entity. A corrupt one is empty."""
    reads: dict[str, ViewRead] = {}
    for view in (USER, SESSION):
        entity = stored.get(view.entity)
        if entity is None:
            continue
        try:
            history = History.decode(view, entity.states.get(view.name))
        except CorruptState:
            history = History(view)
        pending = [
            row
            for content in entity.pending.values()
            for its, row in RECOMMENDATION.pending_rows(content)
            if its is view
        ]
        reads[view.name] = ViewRead(history, pending)
    return reads


def vector_of(asked: Asked, reads: Mapping[str, ViewRead]) -> NDArray[np.float64]:
    """The visitor's features at the time of asking, null as NaN, in the order of `RECOMMENDATION.names`."""
    return RECOMMENDATION.vector(asked, reads).values


def done_in(view: View, read: ViewRead) -> Done:
    """What a history and its pending rows say was done; a member that no row has any longer counts as a view."""
    cells, members = _cells_of(view, read), _members_of(read)
    most = len(cells) + len(members)
    hashes, times = np.empty(most, dtype=np.int64), np.empty(most, dtype=np.int64)
    weights = np.empty(most, dtype=np.float32)
    found = read_done(cells, members, _PLACES[view.name], _WEIGHTS, hashes, times, weights)
    return Done(hashes[:found], times[:found], weights[:found])


def visit_of(
    asked: Asked,
    reads: Mapping[str, ViewRead],
    numbers_of: ItemNumbers,
    learned: Visit,
    here: int = -1,
    barred: Numbers = NO_ITEMS,
    category: int = -1,
) -> Visit:
    """What candidates are made from: the stored actions, and what was learned of the visitor before.

    Of actions of the same time the learned one counts, which knows better what it says (a rating's stars). `learned`
    also knows seen items that are older than any window. The item that is looked at now, `here`, counts as the newest;
    `barred` are further items that must not be an answer.
    """
    user, session = reads.get(USER.name), reads.get(SESSION.name)
    items, times_us, weights, seen = visited(
        _NO_CELLS if user is None else _cells_of(USER, user),
        _NO_CELLS if user is None else _members_of(user),
        _NO_CELLS if session is None else _cells_of(SESSION, session),
        _NO_CELLS if session is None else _members_of(session),
        _BOTH_PLACES,
        _WEIGHTS,
        *numbers_of.slots,
        learned.items,
        learned.times_us,
        learned.weights,
        learned.seen,
        here,
        learned.at_us,
        barred,
        RECENT_LIMIT,
    )
    return Visit(learned.user, items, times_us, weights, seen, learned.at_us, asked.scenario, category)


def _cells_of(view: View, read: ViewRead) -> Ints:
    rows = b"".join((read.history.rows, *read.pending)) if read.pending else read.history.rows
    return np.frombuffer(rows, dtype=np.int64).reshape(-1, view.row_size // 8)


def _members_of(read: ViewRead) -> Ints:
    return np.frombuffer(read.history.members, dtype=np.int64).reshape(-1, 2)


def seen_bits(reads: Mapping[str, ViewRead]) -> set[int]:
    """The bits (`bits_of`) of all items that were seen: for whoever has no numbers at hand."""
    return {
        bits
        for view in (USER, SESSION)
        if view.name in reads
        for bits in done_in(view, reads[view.name]).hashes.tolist()
    }
