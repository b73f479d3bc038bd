"""Lists that are nobody's own: items like one item, and what is popular now."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import NamedTuple

from models.candidates import COVISITATION, TRENDING
from models.recommender import Recommender
from scoring.because import SOURCE_NAMES, category_of, titled
from scoring.catalogue import item_key
from scoring.recommender_feed import Busy
from scoring.recommending import READ_SHARE, Recommending
from scoring.slate_making import LEAST_WAIT_MS
from stream.connection import Command, RedisError, RedisUnavailable
from stream.records import Shown, micros


class UnknownItem(LookupError):
    """Neither the catalogue nor the state has an item of this id, or it was deleted."""


class Listed(NamedTuple):
    """Items best first, none twice or deleted, and what was missing."""

    items: list[Shown]
    degraded: list[str]


def similar(recommending: Recommending, item_id: str, k: int, deadline_ms: float) -> Listed:
    """Items that visitors of an item went on to, filled up by what is popular in its category.

    Raises `UnknownItem`.
    """
    return _listed(recommending, item_id, None, k, deadline_ms)


def trending(recommending: Recommending, category: str | None, k: int, deadline_ms: float) -> Listed:
    """The leading items lately, of one category or of all."""
    return _listed(recommending, None, category, k, deadline_ms)


def _listed(
    recommending: Recommending, item_id: str | None, category: str | None, k: int, deadline_ms: float
) -> Listed:
    ends_s = time.perf_counter() + deadline_ms / 1000
    degraded: list[str] = []
    is_catalogued = _is_catalogued(recommending, item_id, READ_SHARE * deadline_ms, degraded)
    gone = recommending.gone
    try:
        wait_ms = max(LEAST_WAIT_MS, (ends_s - time.perf_counter()) * 500)
        with recommending.feed.held(wait_ms) as recommender:
            many, at_us = k + len(gone.latest) + 1, micros(recommending.clock())
            if item_id is None:
                found = _popular(recommender, category, many, at_us)
            elif item_id in gone.ids or not (is_catalogued or _is_known(recommender, item_id)):
                raise UnknownItem(f"there is no item {item_id!r}; put it into the catalogue first")
            else:
                found = _near(recommender, item_id, many, at_us)
    except Busy:
        degraded.append("recommender")
        found = [Shown(one, score, SOURCE_NAMES[TRENDING], "popular now") for one, score in recommending.feed.leaders]
    items = _distinct(found, {*gone.ids, item_id})[:k]
    return Listed(items, degraded if items else [*degraded, "items"])


def _is_catalogued(recommending: Recommending, item_id: str | None, limit_ms: float, degraded: list[str]) -> bool:
    """Whether the catalogue has the item; what was deleted just now is known afterwards."""
    asked: list[Command] = [] if item_id is None else [("EXISTS", item_key(item_id))]
    replies = recommending.ask([recommending.gone.command(), *asked], limit_ms)
    try:
        if replies is None:
            raise RedisUnavailable("no answer in time")
        recommending.learn_gone(replies[0], limit_ms)
    except (RedisUnavailable, RedisError):
        degraded.append("online store")
        return False
    return bool(replies[-1] == 1)


def _is_known(recommender: Recommender, item_id: str) -> bool:
    number = recommender.index.number_of(item_id)
    return number >= 0 and not recommender.index.hidden[number]


def _near(recommender: Recommender, item_id: str, many: int, at_us: int) -> list[Shown]:
    index = recommender.index
    number = index.number_of(item_id)
    if number < 0:
        return []
    reason = f"because you viewed {titled(index, number)}"
    near = recommender.similar(item_id, many, at_us)
    found = [Shown(one, score, SOURCE_NAMES[COVISITATION], reason) for one, score in near]
    category = category_of(index, number)
    if category is not None and len(found) < many:
        found += _popular(recommender, category, many, at_us)
    return found


def _popular(recommender: Recommender, category: str | None, many: int, at_us: int) -> list[Shown]:
    reason = "popular now" + (f" in {category}" if category else "")
    return [
        Shown(one, score, SOURCE_NAMES[TRENDING], reason) for one, score in recommender.trending(many, at_us, category)
    ]


def _distinct(found: Iterable[Shown], without: set[str | None]) -> list[Shown]:
    kept: dict[str, Shown] = {}
    for one in found:
        if one.item_id not in without:
            kept.setdefault(one.item_id, one)
    return list(kept.values())
