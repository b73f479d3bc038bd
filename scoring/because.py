"""Why an item is recommended, in words: the source that lifted it most, and the visitor's own item behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from models.candidates import BATCH, CONTENT, COVISITATION, FACTORS, SOURCES
from models.cross_features import UNLIFTED
from models.item_index import ItemIndex
from models.recommender import Recommender
from models.visit import Visit

NEW = UNLIFTED
"""The source of what no model knows anything of yet."""
NOBODY = -1
SOURCE_NAMES = (*SOURCES, "new")
TITLE_LIMIT = 80


class Why(NamedTuple):
    """An item, the source that lifted it, and the visitor's item that did (-1: none)."""

    item: int
    source: int
    by: int = NOBODY


def behind(recommender: Recommender, visit: Visit, chosen: Sequence[tuple[int, int]]) -> list[Why]:
    """For each item and its source, which of the visitor's items lifted it.

    The state need not be held: what the writer changes meanwhile makes a reason a little older or newer, no more.
    """
    if not len(visit.items) or not chosen:
        return [Why(item, source) for item, source in chosen]
    found = recommender.behind(
        visit,
        np.array([item for item, _ in chosen], dtype=np.int32),
        np.array([source in (COVISITATION, BATCH) for _, source in chosen]),
        np.array([source == CONTENT for _, source in chosen]),
    ).tolist()
    return [Why(item, source, by) for (item, source), by in zip(chosen, found, strict=True)]


def in_words(why: Why, index: ItemIndex, is_stranger: bool, category: str | None = None) -> str:
    """The reason as a visitor may read it."""
    match why.source:
        case source if source in (COVISITATION, BATCH) and why.by >= 0:
            return f"because you viewed {titled(index, why.by)}"
        case source if source == CONTENT and why.by >= 0:
            return f"similar to {titled(index, why.by)}"
        case source if source in (COVISITATION, FACTORS, BATCH) and not is_stranger:
            return "liked by people like you"
        case source if source in (CONTENT, NEW):
            of = category_of(index, why.item)
            return f"new in {of}" if of else "new here"
        case _:
            where = f" in {category}" if category else ""
            return f"popular now{where}" + (", as nothing is known of you yet" if is_stranger else "")


def titled(index: ItemIndex, number: int) -> str:
    """What to call an item: its title, or its id where it has none."""
    facts = index.facts(number)
    title = None if facts is None else facts.title
    return (title or index.ids[number])[:TITLE_LIMIT]


def category_of(index: ItemIndex, number: int) -> str | None:
    """The category of an item; None where it has none."""
    facts = index.facts(number)
    return None if facts is None else facts.category
