"""MovieLens as a shop: the first four fifths of its ratings are history, what its users rated later is what they like.

A user clicks an item of a slate where the file has a rating of 4 or 5 of it, later and not yet played. Unasked, users
rate the next movie that they rated in the file. Movies that nobody had rated by then appear one after another, and
movies that nobody is going to rate go.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.movielens import Movie, Ratings, load
from stream.records import Action, Item

HISTORY_SHARE = 0.8
LIKED = 4.0
SLATES_EACH = 5
CHANGE_EVERY = timedelta(seconds=2)


class MovieShop:
    """The ratings of a folder with RecBole's atomic files of MovieLens. Exits where there are none."""

    def __init__(self, folder: Path, *, change_every: timedelta = CHANGE_EVERY) -> None:
        ratings = load(folder)
        ratings = _in_time_order(ratings)
        cut = int(len(ratings) * HISTORY_SHARE)
        self._ratings, self._cut = ratings, cut
        self.name = f"MovieLens ({len(ratings):,} ratings, {cut:,} of them history)"
        self.opens = _moment(int(ratings.timestamp[cut]))
        self.future: dict[int, dict[int, float]] = defaultdict(dict)
        for user, item, rating in zip(*(each[cut:].tolist() for each in _columns(ratings)), strict=True):
            self.future[user][item] = rating
        self._lock = threading.Lock()
        self._visits = 0
        before = set(ratings.item[:cut].tolist())
        after = list(dict.fromkeys(item for item in ratings.item[cut:].tolist() if item not in before))
        going = sorted(before - set(ratings.item[cut:].tolist()))
        self._changes = [
            (self.opens + change_every * (place + 1 + half / 2), item, bool(half))
            for half, items in enumerate((after, going))
            for place, item in enumerate(items)
        ]
        self._later = set(after)

    def catalogue(self) -> Iterator[Item]:
        """Every movie that is not yet to appear."""
        for number, movie in self._ratings.movies.items():
            if number not in self._later:
                yield _item(number, movie, self.opens - timedelta(days=365))

    def history(self) -> Iterator[Action]:
        """The ratings before the cut."""
        columns = (*_columns(self._ratings), self._ratings.timestamp)
        rows = zip(*(each[: self._cut].tolist() for each in columns), strict=True)
        for user, item, rating, timestamp in rows:
            yield _rated(user, item, rating, _moment(timestamp), f"ml-{user}", None)

    def changes(self, since: datetime, until: datetime) -> list[Item]:
        """Two movies every while, one that appears and one that goes."""
        found = []
        for moment, number, gone in sorted(self._changes):
            if since < moment <= until:
                name = f"movie-{number}"
                deleted = Item(event_id=f"{name}-gone", event_timestamp=moment, item_id=name, deleted=True)
                found.append(deleted if gone else _item(number, self._ratings.movies[number], moment))
        return found

    def arrivals(self) -> Iterator[int]:
        """The users who have something left to rate, in turn, until nobody has."""
        for user in cycle(sorted(self.future)):
            if self.future[user]:
                yield user
            elif not any(self.future.values()):
                return

    def visit(self, shopper: int, at: datetime) -> MovieVisit:
        """A visit of a user of the file."""
        with self._lock:
            self._visits += 1
            return MovieVisit(shopper, self.future[shopper], f"ml-{shopper}-{self._visits}")


class MovieVisit:
    """A user for a few slates, or until nothing is left of what the file knows."""

    def __init__(self, user: int, left: dict[int, float], session_id: str) -> None:
        self.user_id = str(user)
        self.session_id = session_id
        self._user = user
        self._left = left
        self._slates_left = SLATES_EACH

    @property
    def over(self) -> bool:
        """After `SLATES_EACH` slates."""
        return self._slates_left <= 0 or not self._left

    def click_probability(self, item_id: str, place: int, at: datetime) -> float:
        """One for what the user is going to like, wherever it is placed."""
        return 1.0 if self._left.get(_number(item_id), 0.0) >= LIKED else 0.0

    def browse(self, at: datetime) -> list[Action]:
        """The next rating of the file, once for each slate."""
        return self._rate(list(self._left)[:1], at, None)

    def react(self, item_ids: Sequence[str], at: datetime, slate_id: str | None = None) -> list[Action]:
        """Rate every item of the slate that the user is going to like."""
        self._slates_left -= 1
        liked = [_number(item_id) for item_id in item_ids if self.click_probability(item_id, 1, at) > 0.0]
        return self._rate(liked, at, slate_id)

    def _rate(self, items: Sequence[int], at: datetime, slate_id: str | None) -> list[Action]:
        # Where the user is here twice, the first visit that rates an item has it.
        ratings = [(item, self._left.pop(item, None)) for item in items]
        return [
            _rated(self._user, item, rating, at, self.session_id, slate_id)
            for item, rating in ratings
            if rating is not None
        ]


def _rated(user: int, item: int, rating: float, at: datetime, session_id: str, slate_id: str | None) -> Action:
    return Action(
        event_id=f"ml-{user}-{item}",
        event_timestamp=at,
        action="rating",
        user_id=str(user),
        item_id=f"movie-{item}",
        session_id=session_id,
        value=rating,
        slate_id=slate_id,
    )


def _item(number: int, movie: Movie, at: datetime) -> Item:
    genres = [genre.lower() for genre in movie.genres]
    return Item(
        event_id=f"movie-{number}-new",
        event_timestamp=at,
        item_id=f"movie-{number}",
        title=movie.title if movie.year is None else f"{movie.title} ({movie.year})",
        category=genres[0] if genres else None,
        tags=[*genres, *([] if movie.year is None else [f"{movie.year // 10}0s"])],
    )


def _number(item_id: str) -> int:
    text = item_id.removeprefix("movie-")
    return int(text) if text.isdecimal() else -1


def _in_time_order(ratings: Ratings) -> Ratings:
    order = np.argsort(ratings.timestamp, kind="stable")
    return Ratings(
        ratings.user[order], ratings.item[order], ratings.rating[order], ratings.timestamp[order], ratings.movies
    )


def _columns(ratings: Ratings) -> tuple[NDArray[Any], ...]:
    return ratings.user, ratings.item, ratings.rating


def _moment(timestamp: int) -> datetime:
    return datetime.fromtimestamp(timestamp, UTC)
