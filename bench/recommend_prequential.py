"""Recommending while learning, in the order of time: on MovieLens 100K, or on any file of interactions.

Each event is first asked for, then learned: ten items that the user has not met, out of all that have appeared.
Counted are first meetings of known users and known items; recall@10 is how often the next item is among the ten, MRR
the mean of one over its place there. Everybody gets the same events and no one anything else, except that ours also
gets what a catalogue says of an item when it first appears; `no catalogue` is ours without that. Of MovieLens there are
three streams: all ratings, those of at least 4, and those of 5; what remains of the ratings is that they happened.

Constants of ours were chosen on the first half of the events of at least 4. So figures are given of the second
half too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.figures import Figure, Figures
from bench.movielens import Ratings
from bench.online_baselines import Asked, K, baselines
from features.view import member_hash
from models.candidates import SOURCES, WEIGHTS
from models.interaction import Interaction
from models.item_index import ItemFacts
from models.recommender import Recommender
from stream.interaction_file import Columns, read_actions
from stream.records import micros

LEAST = (1.0, 4.0, 5.0)
ASKED = 5_000
"""About how many events of a stream are asked for; all are learned."""
US_PER_S = 1_000_000
PUBLISHED_POPULARITY = {5.0: 0.119, 4.0: 0.089}
"""Recall@10 of online popularity, by the least rating of the stream, from the data's own notes."""
ABLATED_STREAM = 4.0
ONLINE_SOURCES = ("covisitation", "factors", "trending", "content")
Numbers = NDArray[np.int64]


class Events(NamedTuple):
    """A stream in the order of time: users and items by number, and what is known of each item.

    Of what has no stars, every rating is 1.
    """

    user: list[int]
    item: list[int]
    rating: list[float]
    at_us: list[int]
    facts: Mapping[int, ItemFacts]

    def __len__(self) -> int:
        return len(self.user)

    @property
    def items(self) -> int:
        """How many numbers items have."""
        return max(self.item, default=-1) + 1


class Online(NamedTuple):
    """What one of them came to: of all events and of the second half, and how many were asked for."""

    recall: float
    mrr: float
    later_recall: float
    later_mrr: float
    asked: int


class Ours:
    """`Recommender` as it is served, by the fixed blend alone: no ranker, no batch fit, no exploration."""

    def __init__(self, facts: Mapping[int, ItemFacts], without: str | None = None) -> None:
        self._recommender = Recommender(member_hash)
        self._facts, self._without = facts, without
        self.learn_us: list[float] = []
        self.ask_us: list[float] = []

    def ten(self, user: int, at_us: int) -> list[int]:
        """The first of the candidates."""
        weights = WEIGHTS.copy()
        if self._without is not None:
            WEIGHTS[SOURCES.index(self._without)] = 0.0
        began = time.perf_counter()
        found = self._recommender.candidates(self._recommender.visit(str(user), at_us)).items[:K]
        self.ask_us.append(1e6 * (time.perf_counter() - began))
        WEIGHTS[:] = weights
        return [int(self._recommender.index.ids[number]) for number in found.tolist()]

    def learn(self, user: int, item: int, rating: float, at_us: int) -> None:
        """That it happened, whatever the stars: the stream has those events that count."""
        if self._recommender.index.number_of(str(item)) < 0 and item in self._facts:
            self._recommender.put_item(self._facts[item]._replace(item_id=str(item), at_us=at_us))
        began = time.perf_counter()
        self._recommender.learn_one(Interaction(str(user), str(item), "view", None, at_us))
        self.learn_us.append(1e6 * (time.perf_counter() - began))


def of_movies(ratings: Ratings) -> Events:
    """Ratings as events in the order of time; those of one second in the order of the file."""
    order = np.argsort(ratings.timestamp, kind="stable")
    facts = {
        number: ItemFacts(str(number), movie.title, movie.genres[0] if movie.genres else None, movie.genres, None, 0)
        for number, movie in dict(ratings.movies).items()
    }
    columns = (ratings.user, ratings.item, ratings.rating, ratings.timestamp * US_PER_S)
    user, item, rating, at_us = (column[order].tolist() for column in columns)
    return Events(user, item, rating, at_us, facts)


def of_file(path: Path, columns: Columns | None = None) -> Events:
    """The first meeting of each user and item in a file of interactions. Raises `FileError` as `read_actions`."""
    users: dict[str, int] = {}
    items: dict[str, int] = {}
    met: set[tuple[int, int]] = set()
    events = Events([], [], [], [], {})
    for action in read_actions(path, columns):
        if action.item_id is None:
            continue
        pair = (users.setdefault(action.user_id, len(users)), items.setdefault(action.item_id, len(items)))
        if pair not in met:
            met.add(pair)
            events.user.append(pair[0])
            events.item.append(pair[1])
            events.rating.append(1.0 if action.value is None else action.value)
            events.at_us.append(micros(action.event_timestamp))
    return events


def walk(events: Events) -> Iterator[tuple[int, int, float, int]]:
    """User, item, rating, time."""
    return zip(events.user, events.item, events.rating, events.at_us, strict=True)


def online(asked: Asked, events: Events, count: int = ASKED) -> Online:
    """Ask for about so many of the events, learn all."""
    every = max(1, len(events) // count)
    users, items, found, when = set[int](), set[int](), list[int](), list[int]()
    for n, (user, item, rating, at_us) in enumerate(walk(events)):
        if n % every == 0 and user in users and item in items:
            ten = asked.ten(user, at_us)
            found.append(ten.index(item) if item in ten else K)
            when.append(n)
        asked.learn(user, item, rating, at_us)
        users.add(user)
        items.add(item)
    places, later = np.array(found, dtype=np.int64), np.array(when, dtype=np.int64) >= len(events) // 2
    return Online(*ranked(places), *ranked(places[later]), len(places))


def ranked(places: Numbers) -> tuple[float, float]:
    """Recall and MRR at ten; NaN where nothing was asked."""
    if not len(places):
        return float("nan"), float("nan")
    hit = places < K
    return float(hit.mean()), float((hit / (1.0 + places)).mean())


def stream_figures(name: str, events: Events, say: Callable[[str], None], ablation: bool = False) -> Figures:
    """The baselines, ours, and where asked for ours without each source. Ours has to beat the best baseline."""
    found: dict[str, Online] = {}
    for who, begin in baselines(events.items).items():
        say(f"{name}: {who}")
        found[who] = online(begin(), events)
    best = [max(one[column] for one in found.values()) for column in range(2)]
    ours = {"ours": Ours(events.facts)}
    if ablation:
        ours["ours, no catalogue"] = Ours({})
        ours |= {f"ours without {source}": Ours(events.facts, source) for source in ONLINE_SOURCES}
    for who, asked in ours.items():
        say(f"{name}: {who}")
        found[who] = online(asked, events)
    figures: Figures = {}
    for who, one in found.items():
        note = f"MRR {one.mrr:.4f}; second half {one.later_recall:.4f}, MRR {one.later_mrr:.4f}; {one.asked:,} asked"
        budget = best[0] if who == "ours" else None
        figures[f"{name}: recall@10, {who}"] = Figure(one.recall, "share", budget, "higher", note)
    figures[f"{name}: MRR@10, ours"] = Figure(found["ours"].mrr, "share", best[1], "higher")
    took = ours["ours"]
    for what, values, budget in (("learning an event", took.learn_us, 100.0), ("candidates", took.ask_us, None)):
        note = f"mean {np.mean(values):.0f}, p99 {np.percentile(values, 99):.0f}"
        figures[f"{name}: {what}, p50"] = Figure(float(np.median(values)), "us", budget, "lower", note)
    return figures


def prequential_figures(ratings: Ratings, say: Callable[[str], None]) -> Figures:
    """Protocol B on each stream of MovieLens, the ablation on one."""
    figures: Figures = {}
    for least in LEAST:
        events = of_movies(ratings.at(ratings.rating >= least))
        name = f"B, ratings >= {least:g}"
        figures |= stream_figures(name, events, say, ablation=least == ABLATED_STREAM)
        if least in PUBLISHED_POPULARITY:
            key = f"{name}: recall@10, online popularity, published"
            figures[key] = Figure(PUBLISHED_POPULARITY[least], "share", None, "higher")
    return figures
