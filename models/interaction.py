"""What a visitor did with an item, and how much each kind of it says."""

from __future__ import annotations

import math
from typing import NamedTuple

KIND_WEIGHTS: dict[str, float] = {
    "view": 1.0,
    "click": 1.0,
    "rating": 1.0,
    "like": 2.0,
    "add_to_cart": 2.0,
    "purchase": 4.0,
    "dislike": 0.0,
    "hide": 0.0,
    "remove_from_cart": 0.0,
}
"""How much an action says that the visitor wants the item; 0 means seen, and nothing else learned."""
UNKNOWN_KIND_WEIGHT = 1.0
MIDDLE_RATING = 3.0
"""Of one to five stars: a rating below it is no wish for more of the same."""


class Interaction(NamedTuple):
    """One action of one visitor on one item. Time is microseconds since 1970, UTC."""

    user: str
    item: str
    kind: str
    value: float | None
    at_us: int


def weight_of(kind: str, value: float | None) -> float:
    """How much an action counts, at least 0 and always finite. Unknown kinds count as a view.

    A rating counts by its stars, one to five: 0 for one star, 1 for three, 2 for five. No other kind reads the value.

    >>> weight_of("purchase", 19.9), weight_of("rating", 5.0), weight_of("rating", 1.0), weight_of("hide", None)
    (4.0, 2.0, 0.0, 0.0)
    """
    weight = KIND_WEIGHTS.get(kind, UNKNOWN_KIND_WEIGHT)
    if kind != "rating" or value is None or not math.isfinite(value):
        return weight
    return weight * min(max(value - MIDDLE_RATING + 2.0, 0.0), 4.0) / 2.0
