"""The protocol of recommending while learning: who is asked, what counts, and what is told to whom."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bench.movielens import Movie, Ratings
from bench.online_baselines import ItemKnn, LastPopular, Popularity, baselines
from bench.recommend_prequential import Events, Ours, of_file, of_movies, online, ranked, stream_figures
from bench.recommend_rating import errors

DAY_US = 86_400 * 1_000_000


def events(pairs: Sequence[tuple[int, int]]) -> Events:
    users, items = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    return Events(users, items, [1.0] * len(pairs), [n * DAY_US for n in range(len(pairs))], {})


def habits(rounds: int = 60) -> Events:
    """Two kinds of visitors, whose items never meet: only who looks at the visitor can tell what comes next."""
    pairs = []
    for number in range(rounds):
        user, first = number, 0 if number % 2 else 12
        pairs += [(user, first + place) for place in range(12)]
    return events(pairs)


class Notes:
    """Says always the same ten, and writes down what it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []

    def ten(self, user: int, at_us: int) -> Sequence[int]:
        self.calls.append(("asked", user))
        return [7, 8]

    def learn(self, user: int, item: int, rating: float, at_us: int) -> None:
        self.calls.append(("told", item))


def test_an_event_is_asked_for_before_it_is_told_and_only_of_known_users_and_items() -> None:
    notes = Notes()
    found = online(notes, events([(1, 8), (1, 9), (2, 9), (2, 8)]))
    assert notes.calls == [("told", 8), ("told", 9), ("told", 9), ("asked", 2), ("told", 8)]
    assert (found.asked, found.recall, found.mrr) == (1, 1.0, 0.5)


def test_places_beyond_the_ten_count_nothing() -> None:
    assert ranked(np.array([0, 1, 10, 10])) == (0.5, (1.0 + 0.5) / 4)
    assert math.isnan(ranked(np.array([], dtype=np.int64))[0])


def test_popularity_counts_and_the_last_ones_forget() -> None:
    popular, lately = Popularity(12), LastPopular(12, window=2)
    for item in (3, 3, 3, 4, 5):
        for asked in (popular, lately):
            asked.learn(1, item, 1.0, 0)
    assert popular.ten(2, 0)[0] == 3
    assert lately.ten(2, 0)[:2] in ([4, 5], [5, 4])


def test_item_knn_follows_who_met_both() -> None:
    knn = ItemKnn(12)
    for user in range(4):
        knn.learn(user, 1, 1.0, 0)
        knn.learn(user, 2, 1.0, 0)
    for user in range(9, 19):
        knn.learn(user, 5, 1.0, 0)
    knn.learn(30, 1, 1.0, 0)
    assert knn.ten(30, 0)[0] == 2


def test_ours_tells_visitors_apart_where_popularity_cannot() -> None:
    figures = stream_figures("habits", habits(), lambda what: None)
    ours, popular = (figures[f"habits: recall@10, {who}"].value for who in ("ours", "online popularity"))
    assert ours > 1.1 * popular
    assert ours > 0.9


def test_ours_without_a_source_is_another() -> None:
    whole, without = online(Ours({}), habits()), online(Ours({}, "covisitation"), habits())
    assert whole != without


def test_movies_come_in_the_order_of_time_with_their_titles() -> None:
    ratings = Ratings(
        np.array([1, 2]), np.array([5, 6]), np.array([4.0, 3.0]), np.array([20, 10]),
        {5: Movie("Alien", 1979, ("Horror",)), 6: Movie("Heat", 1995, ())},
    )  # fmt: skip
    found = of_movies(ratings)
    assert (found.user, found.rating, found.at_us) == ([2, 1], [3.0, 4.0], [10_000_000, 20_000_000])
    assert (found.facts[5].title, found.facts[5].category, found.facts[6].category) == ("Alien", "Horror", None)


def test_a_file_counts_first_meetings(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    rows = ["u1,a,2026-01-01T00:00:00Z", "u1,a,2026-01-02T00:00:00Z", "u2,b,2026-01-01T12:00:00Z"]
    path.write_text("\n".join(["user_id,item_id,timestamp", *rows]) + "\n")
    found = of_file(path)
    assert (found.user, found.item, len(found)) == ([0, 1], [0, 1], 2)


def test_rating_errors_are_of_predictions_before_learning() -> None:
    class Last:
        def __init__(self) -> None:
            self.said = 0.0

        def predict_one(self, user: int, item: int) -> float:
            return self.said

        def learn_one(self, user: int, item: int, rating: float) -> None:
            self.said = rating

    ratings = Ratings(np.array([1, 1]), np.array([1, 2]), np.array([5.0, 3.0]), np.array([9, 1]), {})
    wrong, _ = errors(Last(), ratings, np.array([1, 0]))
    assert wrong.tolist() == [-3.0, -2.0]


@pytest.mark.parametrize(("items", "has_knn"), [(100, True), (20_000, False)])
def test_item_knn_is_there_where_its_pairs_fit(items: int, has_knn: bool) -> None:
    assert ("item-kNN, cosine" in baselines(items)) is has_knn
