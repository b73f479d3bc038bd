"""Which items are alike by what the catalogue says of them: category, tags and words of the title.

For items that nobody has visited yet. Each term has a list of the newest items that bear it; a visit's terms are looked
up there, so the cost does not grow with the catalogue. Old items drop out of the lists of common terms: by then their
interactions speak for them.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.content_kernel import asked_terms, best_alike, cosines
from models.item_index import ItemFacts
from models.packed import Arrays

Floats = NDArray[np.float32]
Numbers = NDArray[np.int32]
Mask = NDArray[np.bool_]

BUCKETS = 1 << 15
"""Terms are hashed into so many buckets; two terms of one bucket count as one."""
TERMS_MOST = 16
"""Terms kept of an item: category, then tags, then words."""
LISTED_MOST = 64
"""Items kept of a term, the newest."""
ASKED_TERMS_MOST = 12
"""Terms of a visit that are looked up: those that say most."""
WORD_LETTERS_LEAST = 3
ASKED_ITEMS_MOST = 20
"""Items of a visit whose terms are looked up, the first."""
CATEGORY_WEIGHT, TAG_WEIGHT, WORD_WEIGHT = 1.0, 1.0, 0.5
_WORDS = re.compile(r"\w+")


def terms_of(facts: ItemFacts) -> dict[int, float]:
    """The buckets of an item's terms and their weights, at most `TERMS_MOST`.

    >>> len(terms_of(ItemFacts("i", title="The Third Man", category="film", tags=("noir",))))
    5
    """
    found: dict[int, float] = {}
    said = [("c", facts.category, CATEGORY_WEIGHT)] if facts.category else []
    said += [("t", tag, TAG_WEIGHT) for tag in facts.tags]
    words = _WORDS.findall((facts.title or "").casefold())
    said += [("w", word, WORD_WEIGHT) for word in words if len(word) >= WORD_LETTERS_LEAST]
    for kind, text, weight in said:
        digest = hashlib.blake2b(f"{kind}:{text}".encode(errors="replace"), digest_size=4).digest()
        bucket = int.from_bytes(digest, "little") % BUCKETS
        if bucket not in found and len(found) < TERMS_MOST:
            found[bucket] = weight
    return found


def rarity_of(bearing: NDArray[np.int64]) -> Floats:
    """How much terms say, by how many items bear them: 1 for a term of one item, and less for each more.

    It depends on that term alone, so that a new item changes what few others are like.
    """
    rarity: Floats = (1.0 / (1.0 + np.log2(np.maximum(bearing, 1)) / 4.0)).astype(np.float32)
    return rarity


class Content:
    """Terms of items by number, and items by term. Bounded: `BUCKETS` lists of `LISTED_MOST` items."""

    def __init__(self) -> None:
        self._terms = np.full((64, TERMS_MOST), -1, dtype=np.int32)
        self._weights = np.zeros((64, TERMS_MOST), dtype=np.float32)
        self._size = 0
        self._bearing = np.zeros(BUCKETS, dtype=np.int64)
        self._rarity = np.ones(BUCKETS, dtype=np.float32)
        self._list_of = np.full(BUCKETS, -1, dtype=np.int32)
        self._lists = np.full((64, LISTED_MOST), -1, dtype=np.int32)
        self._written = np.zeros(64, dtype=np.int64)
        self._n_lists = 0

    def put(self, number: int, facts: ItemFacts) -> None:
        """Take the catalogue's word for an item, new or known. An item without terms is like none."""
        terms = terms_of(facts)
        self._make_room(number)
        old = {int(term) for term in self._terms[number] if term >= 0}
        if {int(t): float(w) for t, w in zip(self._terms[number], self._weights[number], strict=True) if t >= 0} == {
            term: float(np.float32(weight)) for term, weight in terms.items()
        }:
            return
        self.remove(number)
        for slot, (term, weight) in enumerate(terms.items()):
            self._terms[number, slot], self._weights[number, slot] = term, weight
            self._bear(term, 1)
            if term not in old or not (self._lists[self._list_of[term]] == number).any():
                self._list(term, number)

    def remove(self, number: int) -> None:
        """Forget an item. Lists that still name it are found out when they are read."""
        if number >= self._size or self._terms[number, 0] < 0:
            return
        terms = self._terms[number]
        for term in terms[terms >= 0].tolist():
            self._bear(term, -1)
        self._terms[number], self._weights[number] = -1, 0.0

    def similar(self, number: int, limit: int, hidden: Mask) -> tuple[Numbers, Floats]:
        """The items most like one, best first, by the cosine of their terms; of equals the newest."""
        one = np.array([number], dtype=np.int32)
        return self.scores(one, np.ones(1, dtype=np.float32), one, hidden).top(limit)

    def scores(self, items: Numbers, weights: Floats, seen: Numbers, hidden: Mask) -> ContentScores:
        """Score a visit: its items and their weights, what must not be an answer. `hidden` is by number."""
        asked_terms, asked_weights = self._asked(items, weights)
        return ContentScores(self, asked_terms, asked_weights, seen, hidden)

    @property
    def columns(self) -> tuple[Any, ...]:
        """What `scores` reads, for compiled loops (`models/gather_kernel.py`). Views: do not write."""
        items = (self._terms, self._weights, self._rarity, self._list_of, self._lists, self._size)
        return (*items, ASKED_ITEMS_MOST, ASKED_TERMS_MOST)

    def arrays(self) -> Arrays:
        """All state as named arrays."""
        used = np.flatnonzero(self._list_of >= 0).astype(np.int32)
        order = self._list_of[used]
        return {
            "content.terms": self._terms[: self._size].copy(),
            "content.term_weights": self._weights[: self._size].copy(),
            "content.listed": used,
            "content.lists": self._lists[order],
            "content.written": self._written[order],
        }

    @staticmethod
    def from_arrays(arrays: Arrays) -> Content:
        """What `arrays` gave; it answers and goes on exactly as the one it came from."""
        content = Content()
        terms = arrays["content.terms"]
        content._size = len(terms)
        content._terms, content._weights = terms.copy(), arrays["content.term_weights"].copy()
        content._bearing = np.bincount(terms[terms >= 0], minlength=BUCKETS).astype(np.int64)
        content._rarity = rarity_of(content._bearing)
        content._n_lists = len(arrays["content.listed"])
        content._list_of[arrays["content.listed"]] = np.arange(content._n_lists, dtype=np.int32)
        content._lists, content._written = arrays["content.lists"].copy(), arrays["content.written"].copy()
        return content

    def _make_room(self, number: int) -> None:
        if number >= len(self._terms):
            more = max(number + 1, 2 * len(self._terms)) - len(self._terms)
            self._terms = np.concatenate([self._terms, np.full((more, TERMS_MOST), -1, dtype=np.int32)])
            self._weights = np.concatenate([self._weights, np.zeros((more, TERMS_MOST), dtype=np.float32)])
        self._size = max(self._size, number + 1)

    def _list(self, term: int, number: int) -> None:
        """Put an item on a term's list, in the place of the oldest there."""
        at = int(self._list_of[term])
        if at < 0:
            at = self._list_of[term] = self._n_lists
            self._n_lists += 1
            if at >= len(self._lists):
                more = max(64, len(self._lists))
                self._lists = np.concatenate([self._lists, np.full((more, LISTED_MOST), -1, dtype=np.int32)])
                self._written = np.concatenate([self._written, np.zeros(more, dtype=np.int64)])
        stale = np.flatnonzero(self._lists[at] == number)
        if len(stale):
            self._lists[at, stale[0]] = -1
        self._lists[at, self._written[at] % LISTED_MOST] = number
        self._written[at] += 1

    def _bear(self, term: int, more: int) -> None:
        self._bearing[term] += more
        self._rarity[term] = rarity_of(self._bearing[term : term + 1])[0]

    def _asked(self, items: Numbers, weights: Floats) -> tuple[Numbers, Floats]:
        """The terms of a visit that say most, and how much each counts towards the cosine; ascending by term."""
        items, weights = items[:ASKED_ITEMS_MOST], weights[:ASKED_ITEMS_MOST]
        return asked_terms(items, weights, self._terms, self._weights, self._rarity, self._size, ASKED_TERMS_MOST)


class ContentScores:
    """How alike items are to what a visit asked for: cosines in (0, 1]."""

    def __init__(self, content: Content, terms: Numbers, weights: Floats, seen: Numbers, hidden: Mask) -> None:
        self._content, self._terms, self._weights = content, terms, weights
        self._seen, self._hidden = seen, hidden

    def top(self, limit: int) -> tuple[Numbers, Floats]:
        """The best item numbers of the terms' lists, neither seen nor hidden, best first; of equals the newest."""
        content = self._content
        return best_alike(
            self._terms, self._weights, content._list_of, content._lists, content._terms, content._weights,
            content._rarity, self._seen, self._hidden, content._size, limit,
        )  # fmt: skip

    def of(self, numbers: Numbers) -> Floats:
        """The cosines of some items; NaN for items of which the catalogue says nothing, and for an empty visit."""
        content = self._content
        return cosines(
            numbers, self._terms, self._weights, content._terms, content._weights, content._rarity, content._size
        )
