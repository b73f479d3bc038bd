"""How many independent ones a number of rows are worth: the events of one card or merchant repeat each other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.feature_set import FeatureSet

CARD = "card_id"


class Entities:
    """Whose each row is, by the field that names the entity; rows that name none are left out."""

    def __init__(self, records: Sequence[Any], fields: Sequence[str]) -> None:
        self._codes: dict[str, NDArray[np.intp]] = {}
        for field in fields:
            named = np.array([getattr(record, field) or "" for record in records], dtype=str)
            values, codes = np.unique(named, return_inverse=True)
            if len(values) and values[0] == "":
                codes = codes - 1
            self._codes[field] = codes

    def units(self, fields: Sequence[str], rows: NDArray[np.bool_] | None = None) -> float:
        """The least of these entities' effective numbers in some rows (None: all)."""
        return min(self._units(field, rows) for field in fields)

    def _units(self, field: str, rows: NDArray[np.bool_] | None) -> float:
        codes = self._codes[field]
        codes = codes[codes >= 0] if rows is None else codes[rows & (codes >= 0)]
        return effective_number(np.bincount(codes)) if len(codes) else 0.0

    def all_units(self) -> dict[str, float]:
        """The effective number of each entity in all rows."""
        return {field: round(self._units(field, None), 2) for field in self._codes}


def effective_number(counts: NDArray[np.int64]) -> float:
    """How many of equal size would say as much as these of unequal size. Source: L. Kish, "Survey Sampling", 1965.

    >>> effective_number(np.array([5, 5, 5])), round(effective_number(np.array([98, 1, 1])), 2)
    (3.0, 1.04)
    """
    return float(counts.sum() ** 2 / np.sum(counts.astype(np.float64) ** 2)) if counts.any() else 0.0


def fraud_cards(card: NDArray[Any], label: NDArray[np.int8]) -> float:
    """How many cards the frauds are worth: those of one card are one incident, and some have many."""
    _, counts = np.unique(card[label != 0], return_counts=True)
    return round(effective_number(counts), 2)


def entities_of(features: FeatureSet) -> dict[str, tuple[str, ...]]:
    """Which entities each feature is of: that of its view; for a request-time feature, the card and those it reads."""
    found: dict[str, tuple[str, ...]] = {
        feature: (view.entity,) for view, names in _views(features) for feature in names
    }
    for derived in features.derived:
        read = [found[word] for word in re.findall(r"\w+", derived.text) if word in found]
        found[derived.name] = tuple(dict.fromkeys([CARD, *(entity for one in read for entity in one)]))
    return found


def _views(features: FeatureSet) -> list[tuple[Any, tuple[str, ...]]]:
    begin, found = 0, []
    for view in features.views:
        found.append((view, features.names[begin : begin + len(view.features)]))
        begin += len(view.features)
    return found
