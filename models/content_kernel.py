"""The loops of `models/content.py`, compiled: which terms a visit asks for, and which items are like them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.best_of import best

Floats = NDArray[np.float32]
Numbers = NDArray[np.int32]
Mask = NDArray[np.bool_]


def _asked_terms(
    items: Numbers, weights: Floats, terms: Numbers, term_weights: Floats, rarity: Floats, size: int, most: int
) -> tuple[Numbers, Floats]:
    borne = np.empty(items.shape[0] * terms.shape[1], dtype=np.int32)
    strength = np.empty(borne.shape[0], dtype=np.float64)
    found = 0
    for k in range(items.shape[0]):
        if not (0 <= items[k] < size) or weights[k] <= 0.0:
            continue
        for slot in range(terms.shape[1]):
            term = terms[items[k], slot]
            if term < 0:
                continue
            at = 0
            while at < found and borne[at] != term:
                at += 1
            if at == found:
                borne[at], strength[at] = term, 0.0
                found += 1
            strength[at] += term_weights[items[k], slot] * weights[k]
    for at in range(found):
        strength[at] *= rarity[borne[at]]
    # Those that say most come first, of equals the lower number; then they are put in the order of their numbers.
    count = min(most, found)
    for place in range(count):
        best = place
        for at in range(place + 1, found):
            if strength[at] > strength[best] or (strength[at] == strength[best] and borne[at] < borne[best]):
                best = at
        borne[place], borne[best] = borne[best], borne[place]
        strength[place], strength[best] = strength[best], strength[place]
    order = np.argsort(borne[:count])
    length = np.float64(0.0)
    for at in range(count):
        length += strength[at] ** 2
    scale = 1.0 / np.sqrt(length) if length > 0.0 else 1.0
    out = np.empty(count, dtype=np.float32)
    for at in range(count):
        out[at] = np.float32(strength[order[at]] * scale)
    return borne[:count][order], out


asked_terms: Callable[..., tuple[Numbers, Floats]] = njit(
    "Tuple((int32[::1], float32[::1]))(int32[::1], float32[::1], int32[:,::1], float32[:,::1], float32[::1], int64,"
    " int64)",
    cache=True,
    nogil=True,
)(_asked_terms)
"""The terms of a visit's items that say most, and how much each counts towards the cosine; ascending by term.

Rows of `terms` are items, -1 where they have no more; only the first `size` are of items.
"""


def _cosines(
    numbers: Numbers, asked: Numbers, asked_weights: Floats, terms: Numbers, weights: Floats, rarity: Floats, size: int
) -> Floats:
    out = np.full(numbers.shape[0], np.nan, dtype=np.float32)
    if asked.shape[0] == 0:
        return out
    # Which terms may be among those asked, by their last six bits: most are not, and cost no search.
    bits = np.uint64(0)
    for k in range(asked.shape[0]):
        bits |= np.uint64(1) << np.uint64(asked[k] & 63)
    for i in range(numbers.shape[0]):
        item = numbers[i]
        if item < 0 or item >= size or terms[item, 0] < 0:
            continue
        product, length = np.float32(0.0), np.float32(0.0)
        for slot in range(terms.shape[1]):
            term = terms[item, slot]
            if term < 0:
                break
            share = weights[item, slot] * rarity[term]
            length += share * share
            if (bits >> np.uint64(term & 63)) & np.uint64(1):
                for k in range(asked.shape[0]):
                    if asked[k] == term:
                        product += share * asked_weights[k]
        out[i] = product / np.sqrt(length) if length > 0.0 else np.float32(0.0)
    return out


cosines: Callable[..., Floats] = njit(
    "float32[::1](int32[::1], int32[::1], float32[::1], int32[:,::1], float32[:,::1], float32[::1], int64)",
    cache=True,
    nogil=True,
)(_cosines)
"""The cosine of each item's terms and the asked ones; NaN for an item without terms, and where nothing is asked."""


def _best_alike(
    asked: Numbers,
    asked_weights: Floats,
    list_of: Numbers,
    lists: Numbers,
    terms: Numbers,
    weights: Floats,
    rarity: Floats,
    seen: Numbers,
    hidden: Mask,
    size: int,
    limit: int,
) -> tuple[Numbers, Floats]:
    found = np.empty(asked.shape[0] * lists.shape[1], dtype=np.int32)
    alike = np.empty(found.shape[0], dtype=np.float32)
    n = 0
    bits = np.uint64(0)
    for k in range(asked.shape[0]):
        bits |= np.uint64(1) << np.uint64(asked[k] & 63)
    mark = np.zeros(size, dtype=np.bool_)
    for k in range(seen.shape[0]):
        if 0 <= seen[k] < size:
            mark[seen[k]] = True
    for k in range(asked.shape[0]):
        row = list_of[asked[k]]
        if row < 0:
            continue
        for at in range(lists.shape[1]):
            item = lists[row, at]
            if item < 0 or item >= size or mark[item] or (item < hidden.shape[0] and hidden[item]):
                continue
            # Its cosine, as in `cosines`, in the pass that looks whether it still bears the term of the list.
            product, length, bears = np.float32(0.0), np.float32(0.0), False
            for slot in range(terms.shape[1]):
                term = terms[item, slot]
                if term < 0:
                    break
                share = weights[item, slot] * rarity[term]
                length += share * share
                if (bits >> np.uint64(term & 63)) & np.uint64(1):
                    bears |= term == asked[k]
                    for other in range(asked.shape[0]):
                        if asked[other] == term:
                            product += share * asked_weights[other]
            if bears:
                mark[item] = True
                # Below 0, since `best` prefers the lower of two numbers, and of items equally like the newer is wanted.
                found[n], alike[n] = -item, product / np.sqrt(length) if length > 0.0 else np.float32(0.0)
                n += 1
    newest, of_newest = best(found[:n], alike[:n], limit)
    return -newest, of_newest


best_alike: Callable[..., tuple[Numbers, Floats]] = njit(
    "Tuple((int32[::1], float32[::1]))(int32[::1], float32[::1], int32[::1], int32[:,::1], int32[:,::1],"
    " float32[:,::1], float32[::1], int32[::1], boolean[::1], int64, int64)",
    cache=True,
    nogil=True,
)(_best_alike)
"""The items on the lists of the asked terms that are most like them, neither seen nor hidden, and their cosines.

Best first; of equals the newest, the higher number, since others know them less.
"""
