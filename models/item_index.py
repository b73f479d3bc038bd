"""Items by number: a dense index in the order of first appearance, and what the catalogue says of each."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.index_kernel import Floats, Mask, Numbers, barred_items, with_newest_items
from models.visit import Visit

ITEMS_LIMIT = 1_000_000
"""How many items there may ever be; actions on items beyond it are not learned."""
NO_CATEGORY = -1
PRICE_LIMIT = 1e30
"""A price from here on, below 0 or not finite counts as none."""


class ItemFacts(NamedTuple):
    """What the catalogue says of an item. The price is in whatever the catalogue prices in."""

    item_id: str
    title: str | None = None
    category: str | None = None
    tags: tuple[str, ...] = ()
    price: float | None = None
    at_us: int = 0


class IndexRows(NamedTuple):
    """An index as it is written down: ids, hidden numbers, categories by number, facts in the order of numbers."""

    ids: tuple[str, ...]
    category_names: tuple[str, ...]
    hidden: tuple[int, ...]
    category: tuple[int, ...]
    first_us: tuple[int, ...]
    facts: tuple[ItemFacts, ...]


class ItemIndex:
    """Numbers for items, never given twice: a deleted item keeps its number, hidden, and has it when it returns."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.category_names: list[str] = []
        self._numbers: dict[str, int] = {}
        self._category_codes: dict[str, int] = {}
        self._facts: dict[int, ItemFacts] = {}
        self._hidden = np.zeros(64, dtype=np.bool_)
        self._is_described = np.zeros(64, dtype=np.bool_)
        self._category = np.full(64, NO_CATEGORY, dtype=np.int32)
        self._price = np.full(64, np.nan, dtype=np.float32)
        self._first_us = np.zeros(64, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def hidden(self) -> NDArray[np.bool_]:
        """By number: which items are deleted. A view: do not write."""
        return self._hidden[: len(self.ids)]

    @property
    def category(self) -> NDArray[np.int32]:
        """By number: the code of the item's category, -1 where it has none. A view: do not write."""
        return self._category[: len(self.ids)]

    @property
    def price(self) -> NDArray[np.float32]:
        """By number: the item's price, NaN where it has none. A view: do not write."""
        return self._price[: len(self.ids)]

    @property
    def first_us(self) -> NDArray[np.int64]:
        """By number: when the item first appeared, 0 where nobody said. A view: do not write."""
        return self._first_us[: len(self.ids)]

    def number_of(self, item_id: str) -> int:
        """The item's number, -1 for one that never appeared."""
        return self._numbers.get(item_id, -1)

    def code_of(self, category: str | None) -> int:
        """The code of a category, -1 for one that no item ever had."""
        return NO_CATEGORY if category is None else self._category_codes.get(category, NO_CATEGORY)

    def add(self, item_id: str, at_us: int = 0) -> int:
        """The item's number, a new one at its first appearance; -1 for a new item beyond `ITEMS_LIMIT`."""
        number = self._numbers.get(item_id)
        if number is not None:
            return number
        number = len(self.ids)
        if number >= ITEMS_LIMIT:
            return -1
        if number >= self._hidden.shape[0]:
            self._hidden = np.concatenate([self._hidden, np.zeros_like(self._hidden)])
            self._is_described = np.concatenate([self._is_described, np.zeros_like(self._is_described)])
            self._category = np.concatenate([self._category, np.full_like(self._category, NO_CATEGORY)])
            self._price = np.concatenate([self._price, np.full_like(self._price, np.nan)])
            self._first_us = np.concatenate([self._first_us, np.zeros_like(self._first_us)])
        self._numbers[item_id] = number
        self._first_us[number] = max(at_us, 0)
        self.ids.append(item_id)
        return number

    def facts(self, number: int) -> ItemFacts | None:
        """What the catalogue says of an item; None for one that is known from actions only, or deleted."""
        return self._facts.get(number)

    def put(self, facts: ItemFacts) -> int:
        """Take the catalogue's word for an item, new or known; a deleted one returns. Gives its number, or -1."""
        number = self.add(facts.item_id, facts.at_us)
        if number >= 0:
            self._facts[number] = facts
            self._category[number] = self._code(facts.category)
            self._price[number] = _price_of(facts)
            self._hidden[number], self._is_described[number] = False, True
        return number

    def remove(self, item_id: str) -> int:
        """Hide an item. One that never appeared gets a number, so that it stays hidden when actions on it arrive."""
        number = self.add(item_id)
        if number >= 0:
            self._facts.pop(number, None)
            self._price[number] = np.nan
            self._hidden[number], self._is_described[number] = True, False
        return number

    def barred(self, seen: Numbers, items: Numbers, category: int) -> Mask:
        """By number: what is no answer, being hidden, among `seen` or `items`, or of another category (-1: any)."""
        return barred_items(self._hidden, self._category, len(self.ids), seen, items, category)

    def with_newest(
        self, candidates: tuple[Numbers, Floats, Floats], count: int, looked_at: int, visit: Visit
    ) -> tuple[Numbers, Floats, Floats]:
        """Candidates (numbers, scores, blend), and after them the newest items that the catalogue describes.

        Newest first, at most `count` of the last `looked_at`; none is a candidate, or barred as by `barred`.
        Nothing is said of them: scores of NaN, a blend of 0.
        """
        return with_newest_items(
            *candidates,
            self._hidden,
            self._is_described,
            self._category,
            len(self.ids),
            count,
            looked_at,
            visit.seen,
            visit.items,
            visit.category,
        )

    def _code(self, category: str | None) -> int:
        if category is None:
            return NO_CATEGORY
        code = self._category_codes.get(category)
        if code is None:
            code = self._category_codes[category] = len(self.category_names)
            self.category_names.append(category)
        return code

    def rows(self) -> IndexRows:
        """All that is known: what `from_rows` takes."""
        length = len(self.ids)
        return IndexRows(
            tuple(self.ids),
            tuple(self.category_names),
            tuple(np.flatnonzero(self._hidden[:length]).tolist()),
            tuple(self._category[:length].tolist()),
            tuple(self._first_us[:length].tolist()),
            tuple(self._facts[number] for number in sorted(self._facts)),
        )

    @classmethod
    def from_rows(cls, rows: IndexRows) -> ItemIndex:
        """What `rows` was taken from."""
        index = cls()
        for item_id, first_us in zip(rows.ids, rows.first_us, strict=True):
            index.add(item_id, first_us)
        index.category_names = list(rows.category_names)
        index._category_codes = {name: code for code, name in enumerate(rows.category_names)}
        index._hidden[list(rows.hidden)] = True
        index._category[: len(rows.category)] = rows.category
        index._facts = {index._numbers[facts.item_id]: facts for facts in rows.facts}
        for number, facts in index._facts.items():
            index._price[number] = _price_of(facts)
            index._is_described[number] = True
        return index


def _price_of(facts: ItemFacts) -> float:
    price = facts.price
    return price if price is not None and 0.0 <= price < PRICE_LIMIT else math.nan
