"""MovieLens 100K: its files, the split of microsoft/recommenders, and its ranking metrics.

The ratings may not be redistributed, so they are read from where they lie: the atomic files of RecBole
(`ml-100k.inter`, `ml-100k.item`), tab separated, the ratings in GroupLens' own order. The order counts: the split
gives each row a random number in turn.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

VARIABLE = "MOVIELENS_DATA"
"""Of the environment: the folder of the files."""
FOLDER = Path("../shared/data/ml-100k")
RATINGS, ITEMS = "ml-100k.inter", "ml-100k.item"
Ids = NDArray[np.int64]
Mask = NDArray[np.bool_]
User = TypeVar("User")
Item = TypeVar("Item")


@dataclass(frozen=True)
class Movie:
    """What is known of an item. The year is None for the two movies whose row has none."""

    title: str
    year: int | None
    genres: tuple[str, ...]


@dataclass(frozen=True)
class Ratings:
    """One rating for each place of four arrays of the same length, in the order of the file; movies by item.

    Ratings are 1 to 5, timestamps whole seconds since 1970. Many ratings of one user share a timestamp.
    """

    user: Ids
    item: Ids
    rating: NDArray[np.float64]
    timestamp: Ids
    movies: Mapping[int, Movie]

    def __len__(self) -> int:
        return len(self.user)

    def at(self, rows: Mask) -> Ratings:
        """Some of the ratings, in the same order; all movies."""
        return Ratings(self.user[rows], self.item[rows], self.rating[rows], self.timestamp[rows], self.movies)

    def items_of(self) -> dict[int, set[int]]:
        """The items that each user rated."""
        found: dict[int, set[int]] = {}
        for user, item in zip(self.user.tolist(), self.item.tolist(), strict=True):
            found.setdefault(user, set()).add(item)
        return found


@dataclass(frozen=True)
class RankingMetrics:
    """Means over the users, each in [0, 1]."""

    map: float
    ndcg: float
    precision: float
    recall: float


def source() -> Path:
    """Where the files are looked for when the caller names no folder."""
    return Path(os.environ.get(VARIABLE, FOLDER))


def load(directory: Path) -> Ratings:
    """Read the folder's two files. Exits where one is missing: their licence does not let them be shipped."""
    for name in (RATINGS, ITEMS):
        if not (directory / name).is_file():
            raise SystemExit(
                f"no {name} in {directory}: MovieLens 100K (GroupLens) is not shipped;"
                f" set {VARIABLE} to the folder with RecBole's atomic files {RATINGS} and {ITEMS}"
            )
    rows = [line.split("\t") for line in _lines(directory / RATINGS)]
    user, item, rating, timestamp = (np.array(column, dtype=np.float64) for column in zip(*rows, strict=True))
    movies = {}
    for line in _lines(directory / ITEMS):
        number, title, year, genres = line.split("\t")
        movies[int(number)] = Movie(title, int(year) if year.isdigit() else None, tuple(genres.split()))
    return Ratings(user.astype(np.int64), item.astype(np.int64), rating, timestamp.astype(np.int64), movies)


def _lines(path: Path) -> list[str]:
    # The first one names the columns. Not `splitlines`: it would also split inside a title, at rare characters.
    return [line for line in path.read_text(encoding="utf-8").split("\n")[1:] if line]


def stratified_split(ratings: Ratings, ratio: float = 0.75, seed: int = 42) -> tuple[Mask, Mask]:
    """Which rows are train and which are test: of each user a random `ratio`, rounded half to even, is train.

    The same rows as `python_stratified_split(ratio, filter_by="user", seed)` of microsoft/recommenders 1.2.1. So the
    random numbers are those of NumPy's old generator, one for each row, and a user's rows are ranked by them.
    """
    if not 0.0 < ratio < 1.0:
        raise ValueError(f"the ratio is {ratio}: give the part of each user's ratings to train on, between 0 and 1")
    order = np.lexsort((np.random.RandomState(seed).rand(len(ratings)), ratings.user))
    _, first, counts = np.unique(ratings.user[order], return_index=True, return_counts=True)
    rank = np.arange(len(ratings)) - np.repeat(first, counts) + 1
    train = np.zeros(len(ratings), dtype=np.bool_)
    train[order] = rank <= np.repeat(np.round(ratio * counts), counts)
    return train, ~train


def ranking_metrics(
    recommended: Mapping[User, Sequence[Item]], relevant: Mapping[User, AbstractSet[Item]], k: int
) -> RankingMetrics:
    """The metrics at k as microsoft/recommenders has them, over all users with at least one relevant item.

    Precision divides by k, however few were recommended; recall and average precision divide by all relevant items
    (so a user with more than k cannot reach 1: the definition that the published MAP has); nDCG knows hit or miss
    alone. A user who was recommended nothing counts as zero, which theirs would leave out of all but nDCG. Raises
    ValueError where one item is recommended twice to a user: it would count twice.
    """
    users = [user for user, items in relevant.items() if items]
    if not users:
        raise ValueError("no user has a relevant item: nothing to measure")
    total = np.zeros(4)
    for user in users:
        shown, wanted = list(recommended.get(user, ()))[:k], relevant[user]
        if len(set(shown)) < len(shown):
            raise ValueError(f"user {user!r} was recommended an item twice: {shown}")
        ranks = [rank for rank, item in enumerate(shown, 1) if item in wanted]
        average = sum(hit / rank for hit, rank in enumerate(ranks, 1)) / len(wanted)
        gain = _gain(ranks) / _gain(range(1, min(k, len(wanted)) + 1))
        total += (average, gain, len(ranks) / k, len(ranks) / len(wanted))
    return RankingMetrics(*(total / len(users)).tolist())


def _gain(ranks: Sequence[int]) -> float:
    return sum(1.0 / math.log2(1 + rank) for rank in ranks)
