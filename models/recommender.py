"""All that recommending knows, as one value that learns: a pure function of the sequence of what it was told.

The same calls in the same order give the same state bit for bit, in any process, also when it was written down and
read again in between: `digest` says so. Time comes with each call; nothing here reads a clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.batch_items import BatchItems, BoundBatch, Scored
from models.behind import behind
from models.candidates import CANDIDATES_LIMIT, NOTHING, Candidates, gather
from models.content import Content
from models.covisitation import CoVisitation
from models.exposure import Exposure
from models.factors import Factors
from models.interaction import Interaction, weight_of
from models.item_index import NO_CATEGORY, IndexRows, ItemFacts, ItemIndex
from models.packed import Arrays, InvalidState, checksum_of, pack, unpack
from models.trending import CANDIDATES_AT, Trending
from models.visit import Visit
from models.visitors import Visitors

KIND = "recommender"
Numbers = NDArray[np.int32]
Floats = NDArray[np.float32]


class _Header(msgspec.Struct, frozen=True):
    version: int
    learned: int
    index: IndexRows


class Recommender:
    """The index of items, the online models, and the adopted batch fit. One writer; readers may ask beside it."""

    def __init__(self, hash_of: Callable[[str], int]) -> None:
        self.hash_of = hash_of
        self.index = ItemIndex()
        self.covisitation = CoVisitation()
        self.factors = Factors()
        self.trends = Trending()
        self.visitors = Visitors()
        self.exposure = Exposure()
        self.content = Content()
        self.batch: BatchItems | None = None
        self._bound: BoundBatch | None = None
        self._unbound: frozenset[str] = frozenset()
        self.learned = 0

    def learn_one(self, interaction: Interaction) -> bool:
        """Learn one interaction; an item that never appeared gets a number. Whether it was learned.

        An interaction of weight 0, and one with a hidden item, is kept as seen by the visitor and teaches no more.
        """
        number = self._number(interaction.item, interaction.at_us)
        if number < 0:
            return False
        self.learned += 1
        weight = weight_of(interaction.kind, interaction.value)
        key = self.hash_of(interaction.user)
        if weight > 0.0 and not self.index.hidden[number]:
            visit = self.visitors.visit(key, interaction.user, interaction.at_us)
            self.covisitation.learn_one(number, weight, visit)
            self.factors.learn_one(number, weight, visit)
            self.trends.learn_one(number, weight, interaction.at_us)
        self.visitors.learn_one(key, number, weight, interaction.at_us)
        return True

    def put_item(self, facts: ItemFacts) -> int:
        """Take the catalogue's word for an item. Gives its number, -1 where there is no room for another."""
        known = self.index.number_of(facts.item_id)
        returns = known >= 0 and bool(self.index.hidden[known])
        self._number(facts.item_id, facts.at_us)
        number = self.index.put(facts)
        if number >= 0:
            self.content.put(number, facts)
        if returns:
            self.trends.changed(self.index.hidden)
        return number

    def remove_item(self, item_id: str, at_us: int) -> None:
        """Hide an item from every answer, until `put_item` brings it back."""
        number = self._number(item_id, at_us)
        if number >= 0 and not self.index.hidden[number]:
            self.index.remove(item_id)
            self.content.remove(number)
            self.trends.changed(self.index.hidden)

    def shown(self, slate_id: str, user: str, items: Sequence[tuple[str, bool]], at_us: int) -> bool:
        """Count that items were shown, each with whether it was explored; once for a slate id."""
        del user, at_us
        known = [(number, explored) for item, explored in items if (number := self.index.number_of(item)) >= 0]
        return self.exposure.shown(self.hash_of(slate_id), [n for n, _ in known], [e for _, e in known])

    def clicked(self, slate_id: str, item: str) -> bool:
        """Count a click on an item of a slate, once; whether it counted. What it teaches is an `Interaction`."""
        return self.exposure.clicked(self.hash_of(slate_id), self.index.number_of(item))

    def forget(self, user: str) -> bool:
        """Drop all that is kept of a user; whether there was anything."""
        return self.visitors.forget(self.hash_of(user))

    def visit(self, user: str, at_us: int) -> Visit:
        """What the state itself knows of a user; serving makes its own, fresher one from the online store."""
        return self.visitors.visit(self.hash_of(user), user, at_us)

    def candidates(self, visit: Visit, limit: int = CANDIDATES_LIMIT) -> Candidates:
        """What may be recommended to a visitor: see `gather`."""
        return gather(self, visit, limit)

    def behind(self, visit: Visit, numbers: Numbers, says: NDArray[np.bool_], is_alike: NDArray[np.bool_]) -> Numbers:
        """Which of the visit's items led to each of these, -1 where none did: for a reason in words.

        Of those that it `says`, the one that visitors most went on from; of those that are `is_alike`, the newest
        liked one of the same category.
        """
        asked = (visit.items, visit.times_us, visit.weights, visit.at_us)
        return behind(asked, self.covisitation.columns, self.index.category, numbers, says, is_alike)

    def similar(self, item_id: str, k: int, at_us: int) -> list[tuple[str, float]]:
        """The items most visited together with one, best first, scores above 0; none hidden. Empty for a stranger."""
        number = self.index.number_of(item_id)
        if number < 0 or k <= 0:
            return []
        del at_us  # Weights decay alike for all neighbours of an item: their order does not.
        one = np.array([number], dtype=np.int32)
        return self._named(*self.covisitation.neighbours(number, k, self.index.barred(one, one, NO_CATEGORY)))

    def trending(self, k: int, at_us: int, category: str | None = None) -> list[tuple[str, float]]:
        """The leading items lately with their decayed counts, best first, of one category or of all; none hidden."""
        if k <= 0:
            return []
        if category is not None:
            code = self.index.code_of(category)
            if code < 0:
                return []
            numbers = self.trends.top_within(k, (self.index.category == code) & ~self.index.hidden)
        else:
            numbers = self.trends.top(k)
        return self._named(numbers, self.trends.scores(numbers, at_us, CANDIDATES_AT))

    def of_batch(self, visit: Visit, barred: NDArray[np.bool_]) -> Scored | None:
        """What the batch fit says of a visit, never of items barred; None where none was adopted."""
        bound = self._bind()
        return None if bound is None else bound.scores(visit.items, visit.weights, NOTHING, barred)

    def adopt(self, batch: BatchItems) -> None:
        """Take a batch fit in place of the one before."""
        self.batch, self._bound = batch, None

    def _bind(self) -> BoundBatch | None:
        if self._bound is None and self.batch is not None:
            self._bound = self.batch.bind(self.index.number_of)
            self._unbound = frozenset(item for item in self.batch.ids if self.index.number_of(item) < 0)
        return self._bound

    def encode(self) -> bytes:
        """The whole state as bytes, with a checksum. Equal states give equal bytes."""
        arrays: Arrays = {}
        for part in (self.covisitation, self.factors, self.trends, self.visitors, self.exposure, self.content):
            arrays |= part.arrays()
        if self.batch is not None:
            arrays["batch"] = np.frombuffer(self.batch.encode(), dtype=np.uint8)
        return pack(KIND, _Header(1, self.learned, self.index.rows()), arrays)

    @classmethod
    def decode(cls, content: bytes, hash_of: Callable[[str], int]) -> Recommender:
        """The state that was encoded. Raises `InvalidState` for anything else. `hash_of` must be the same function."""
        raw, arrays = unpack(KIND, content)
        header = msgspec.json.decode(raw, type=_Header)
        if header.version != 1:
            raise InvalidState(f"this recommender state has version {header.version}, not 1; replay the sequence")
        found = cls(hash_of)
        found.learned = header.learned
        found.index = ItemIndex.from_rows(header.index)
        found.covisitation = CoVisitation.from_arrays(arrays)
        found.factors = Factors.from_arrays(arrays)
        found.trends = Trending.from_arrays(arrays)
        found.visitors = Visitors.from_arrays(arrays)
        found.content = Content.from_arrays(arrays)
        found.exposure = Exposure.from_arrays(arrays)
        if "batch" in arrays:
            found.adopt(BatchItems.decode(arrays["batch"].tobytes()))
        return found

    def digest(self) -> str:
        """A checksum of all that the state knows: equal for two states that answer alike, now and ever after."""
        return checksum_of(self.encode())

    def _number(self, item_id: str, at_us: int) -> int:
        length = len(self.index)
        number = self.index.add(item_id, at_us)
        if number == length:
            length += 1
            if item_id in self._unbound:
                self._bound = None
            for part in (self.covisitation, self.factors, self.trends, self.exposure):
                part.reserve(length)
        return number

    def _named(self, numbers: Numbers, scores: Floats) -> list[tuple[str, float]]:
        ids = self.index.ids
        return [(ids[n], s) for n, s in zip(numbers.tolist(), scores.tolist(), strict=True)]
