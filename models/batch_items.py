"""What a batch fit gives the state: weights from item to item, item vectors, or both; and how they score a visit.

Items are known by id, so a fit suits any state, whatever numbers that state gave them. `bind` looks the numbers up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.als import ItemFactors, factors_from, fold_in
from models.batch_kernel import Marks, accumulate, add_products, excluded_rows, known_rows, products_of, totals_of
from models.best_of import best_of
from models.item_search import search_over
from models.packed import Arrays, InvalidState, pack, unpack

Floats = NDArray[np.float32]
Numbers = NDArray[np.int32]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

KIND = "batch items"
FACTORS_SHARE = 2.0
"""Where a fit has both, how much the product of vectors counts beside the sum of weights.

Chosen on a further split of the train part of MovieLens 100K.
"""


class Neighbours(NamedTuple):
    """Weights from item to item in compressed rows: those of row j are at `first[j]` to `first[j + 1]`.

    `items` are int32 rows of the fit, `weights` float32, negative ones too.
    """

    first: Ints
    items: Numbers
    weights: Floats


class _Header(msgspec.Struct, frozen=True):
    version: str
    fitted_until_us: int
    ids: tuple[str, ...]
    has_neighbours: bool
    has_factors: bool


class Scored(Protocol):
    """A visit's scores by a fit."""

    def top(self, limit: int) -> tuple[Numbers, Floats]:
        """The best item numbers, neither seen nor hidden, and their scores, best first; equal ones by number."""
        ...

    def of(self, numbers: Numbers) -> Floats:
        """The scores of some items; NaN for those that the fit has nothing to say of."""
        ...


@dataclass(frozen=True, eq=False)
class BatchItems:
    """A fit of items, as it travels. `fitted_until_us`: only interactions before that time were looked at."""

    version: str
    fitted_until_us: int
    ids: tuple[str, ...]
    neighbours: Neighbours | None = None
    factors: ItemFactors | None = None

    def encode(self) -> bytes:
        """As bytes with a checksum; equal fits give equal bytes."""
        arrays: Arrays = {}
        if self.neighbours is not None:
            first, items, weights = self.neighbours
            arrays |= {"first": first, "items": items, "weights": weights}
        if self.factors is not None:
            arrays |= self.factors.arrays()
        header = _Header(
            self.version, self.fitted_until_us, self.ids, self.neighbours is not None, self.factors is not None
        )
        return pack(KIND, header, arrays)

    @staticmethod
    def decode(content: bytes) -> BatchItems:
        """What `encode` gave. Raises `InvalidState` where the bytes are cut, changed or of another kind."""
        said, arrays = unpack(KIND, content)
        header = msgspec.json.decode(said, type=_Header)
        neighbours = Neighbours(arrays["first"], arrays["items"], arrays["weights"]) if header.has_neighbours else None
        factors = factors_from(arrays) if header.has_factors else None
        fit = BatchItems(header.version, header.fitted_until_us, header.ids, neighbours, factors)
        fit.check()
        return fit

    def check(self) -> None:
        """Raises `InvalidState` where the parts do not belong together: compiled loops do not look again."""
        count = len(self.ids)
        if len(set(self.ids)) != count:
            raise InvalidState(f"batch fit {self.version!r} names an item twice; fit again")
        if self.neighbours is not None:
            first, items, weights = self.neighbours
            sound = len(first) == count + 1 and len(items) == len(weights) == first[-1] and first[0] == 0
            sound = sound and bool((np.diff(first) >= 0).all()) and bool(((items >= 0) & (items < count)).all())
            if not sound or not np.isfinite(weights).all():
                raise InvalidState(f"batch fit {self.version!r} has weights of other items than its {count}; fit again")
        if self.factors is not None:
            vectors, gram = self.factors.vectors, self.factors.gram
            sound = vectors.ndim == 2 and len(vectors) == count and gram.shape == (vectors.shape[1],) * 2
            if not sound or not np.isfinite(vectors).all() or not np.isfinite(gram).all():
                raise InvalidState(f"batch fit {self.version!r} has other vectors than its {count} items; fit again")

    def bind(self, number_of: Callable[[str], int]) -> BoundBatch:
        """The fit in the numbers of a state (`ItemIndex.number_of`, -1 for an unknown item)."""
        return BoundBatch(self, np.array([number_of(item_id) for item_id in self.ids], dtype=np.int32))


class BoundBatch:
    """A fit that answers in the item numbers of one state.

    Items that the state did not know when it was bound are never an answer: bind again when they may have appeared.
    Weights from item to item score a visit where the fit has them, item vectors where it has not; where it has both,
    the sum of the two.

    Parameters
    ----------
    fit
        What was fitted.
    numbers
        The state's number of each of the fit's items, -1 for those it does not know.
    """

    def __init__(self, fit: BatchItems, numbers: Numbers) -> None:
        self.fit = fit
        self._numbers = numbers
        self._count = int(numbers.max()) + 1 if len(numbers) else 0
        self._rows = np.full(self._count, -1, dtype=np.int32)
        self._rows[numbers[numbers >= 0]] = np.flatnonzero(numbers >= 0)
        self._targets = None if fit.neighbours is None else numbers[fit.neighbours.items]
        self._search = None
        if fit.neighbours is None and fit.factors is not None:
            self._search = search_over(fit.factors.vectors)

    def scores(self, items: Numbers, weights: Floats, seen: Numbers, hidden: Mask) -> Scored:
        """Score a visit: its items and their weights (those of 0 say nothing), what must not be an answer.

        `hidden` is by number and may be shorter or longer than what the fit knows.
        """
        if self.fit.neighbours is not None and self._targets is not None:
            total = np.zeros(self._count, dtype=np.float32)
            mark = np.zeros(self._count, dtype=np.uint8)
            first, _, strengths = self.fit.neighbours
            touched = accumulate(first, self._targets, strengths, self._rows, items, weights, seen, hidden, total, mark)
            if self.fit.factors is not None and len(touched):
                vector = np.float32(FACTORS_SHARE) * self._visitor(items, weights)
                touched = add_products(self.fit.factors.vectors, vector, self._numbers, hidden, total, mark)
            return _Sums(total, mark, touched)
        if self.fit.factors is not None:
            return _Products(self, self._visitor(items, weights), seen, hidden)
        return _Nothing()

    def _visitor(self, items: Numbers, weights: Floats) -> Floats:
        assert self.fit.factors is not None
        rows, kept = known_rows(self._rows, items, weights)
        return fold_in(self.fit.factors, rows, kept)

    def similar(self, number: int, limit: int, hidden: Mask) -> tuple[Numbers, Floats]:
        """The items most like one, best first: by weight from it, or by the cosine of vectors."""
        one = np.array([number], dtype=np.int32)
        if self.fit.neighbours is not None:
            numbers, scores = self.scores(one, np.ones(1, dtype=np.float32), one, hidden).top(limit)
            return numbers[scores > 0.0], scores[scores > 0.0]
        if self.fit.factors is None or not 0 <= number < self._count or self._rows[number] < 0:
            return _Nothing().top(limit)
        vectors = self.fit.factors.vectors
        own = vectors[self._rows[number]]
        # More than asked for by product, then those by cosine: long vectors are popular items.
        found, _ = _Products(self, own, one, hidden).top(4 * limit)
        chosen = vectors[self._rows[found]]
        lengths = np.linalg.norm(chosen, axis=1) * np.linalg.norm(own)
        cosines = (chosen @ own / np.maximum(lengths, 1e-12)).astype(np.float32)
        order = np.lexsort((found, -cosines))[:limit]
        return found[order], cosines[order]


class _Nothing:
    def top(self, limit: int) -> tuple[Numbers, Floats]:
        return np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.float32)

    def of(self, numbers: Numbers) -> Floats:
        return np.full(len(numbers), np.nan, dtype=np.float32)


class _Sums:
    def __init__(self, total: Floats, mark: Marks, touched: Numbers) -> None:
        self._total, self._mark, self._touched = total, mark, touched

    def top(self, limit: int) -> tuple[Numbers, Floats]:
        return best_of(self._touched, self._total, limit)

    def of(self, numbers: Numbers) -> Floats:
        return totals_of(self._total, self._mark, numbers)


class _Products:
    def __init__(self, batch: BoundBatch, vector: Floats, seen: Numbers, hidden: Mask) -> None:
        self._batch, self._vector, self._seen, self._hidden = batch, vector, seen, hidden

    def top(self, limit: int) -> tuple[Numbers, Floats]:
        batch = self._batch
        if not self._vector.any() or batch._search is None:
            return _Nothing().top(limit)
        excluded = excluded_rows(batch._numbers, batch._rows, self._seen, self._hidden)
        found, scores = batch._search.top(self._vector, limit, excluded)
        return batch._numbers[found], scores

    def of(self, numbers: Numbers) -> Floats:
        factors = self._batch.fit.factors
        if factors is None or not self._vector.any():
            return _Nothing().of(numbers)
        return products_of(factors.vectors, self._vector, self._batch._rows, numbers)
