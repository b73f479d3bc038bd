"""Reading MovieLens, the split and the metrics: on rows made here, and on the real files where they are."""

from __future__ import annotations

from math import log2
from pathlib import Path

import numpy as np
import pytest

from bench.movielens import (
    ITEMS,
    RATINGS,
    Movie,
    RankingMetrics,
    Ratings,
    load,
    ranking_metrics,
    source,
    stratified_split,
)

REAL = source()
needs_files = pytest.mark.skipif(not (REAL / RATINGS).is_file(), reason=f"no MovieLens 100K in {REAL}; not shipped")


def made(users: list[int]) -> Ratings:
    """One rating for each place, of ever another item."""
    n = len(users)
    return Ratings(np.array(users), np.arange(n), np.ones(n), np.arange(n), {})


def write_files(folder: Path) -> None:
    (folder / RATINGS).write_text(
        "user\titem\trating\ttime\n7\t2\t3\t881250949\n5\t1\t4.5\t881250950\n7\t1\t1\t881250950\n"
    )
    items = "item\ttitle\tyear\tclass\n1\tToy Story\t1995\tAnimation Children's\n2\tLand (1995)\tV\tComedy\n"
    (folder / ITEMS).write_text(items)


def test_ratings_keep_the_order_of_the_file(tmp_path: Path) -> None:
    write_files(tmp_path)
    ratings = load(tmp_path)
    assert len(ratings) == 3
    assert ratings.user.tolist() == [7, 5, 7]
    assert ratings.item.tolist() == [2, 1, 1]
    assert ratings.rating.tolist() == [3.0, 4.5, 1.0]
    assert ratings.timestamp.tolist() == [881250949, 881250950, 881250950]
    assert ratings.items_of() == {7: {1, 2}, 5: {1}}
    assert ratings.at(ratings.user == 7).item.tolist() == [2, 1]


def test_a_movie_has_its_genres_and_a_year_where_one_is_given(tmp_path: Path) -> None:
    write_files(tmp_path)
    assert load(tmp_path).movies == {
        1: Movie("Toy Story", 1995, ("Animation", "Children's")),
        2: Movie("Land (1995)", None, ("Comedy",)),
    }


def test_without_the_files_it_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=rf"no {RATINGS} in .*MOVIELENS_DATA"):
        load(tmp_path)


def test_of_each_user_the_ratio_is_train() -> None:
    ratings = made([1, 2] * 4 + [3] * 4 + [1] * 4)
    train, test = stratified_split(ratings)
    assert [int(train[ratings.user == user].sum()) for user in (1, 2, 3)] == [6, 3, 3]
    assert (train ^ test).all()


def test_halves_are_rounded_to_even() -> None:
    # 0.75 of 2 is 1.5 and of 6 is 4.5; of one rating alone all is train.
    ratings = made([1] * 2 + [2] * 6 + [3])
    train, _ = stratified_split(ratings)
    assert [int(train[ratings.user == user].sum()) for user in (1, 2, 3)] == [2, 4, 1]


def test_a_users_lowest_random_numbers_are_train() -> None:
    # The old generator's first four numbers at seed 42 are 0.375, 0.951, 0.732 and 0.599.
    train, _ = stratified_split(made([1, 1, 1, 1]), ratio=0.5)
    assert train.tolist() == [True, False, False, True]


def test_another_seed_is_another_split() -> None:
    ratings = made([1] * 40)
    assert (stratified_split(ratings)[0] == stratified_split(ratings)[0]).all()
    assert (stratified_split(ratings)[0] != stratified_split(ratings, seed=1)[0]).any()


@pytest.mark.parametrize("ratio", [0.0, 1.0, 75.0])
def test_a_ratio_that_is_no_part_is_refused(ratio: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        stratified_split(made([1]), ratio)


def test_metrics_of_one_user() -> None:
    # Hits at ranks 1 and 3, of three relevant items.
    found = ranking_metrics({"u": ["a", "x", "b", "y"]}, {"u": {"a", "b", "c"}}, k=4)
    ideal = 1 + 1 / log2(3) + 1 / log2(4)
    assert found.precision == pytest.approx(2 / 4)
    assert found.recall == pytest.approx(2 / 3)
    assert found.map == pytest.approx((1 / 1 + 2 / 3) / 3)
    assert found.ndcg == pytest.approx((1 + 1 / log2(4)) / ideal)


def test_only_the_first_k_count() -> None:
    relevant = {1: {1, 2, 3}}
    assert ranking_metrics({1: [9, 1, 2, 3]}, relevant, k=2) == ranking_metrics({1: [9, 1]}, relevant, k=2)


def test_a_short_list_loses_precision_alone() -> None:
    found = ranking_metrics({1: [5]}, {1: {5}}, k=10)
    assert found == RankingMetrics(map=1.0, ndcg=1.0, precision=0.1, recall=1.0)


def test_a_user_without_recommendations_counts_as_zero_and_one_without_relevant_items_not_at_all() -> None:
    found = ranking_metrics({1: [5], 3: [5]}, {1: {5}, 2: {5}, 3: set()}, k=1)
    assert found == RankingMetrics(map=0.5, ndcg=0.5, precision=0.5, recall=0.5)


def test_an_item_twice_in_a_list_is_refused() -> None:
    with pytest.raises(ValueError, match="an item twice"):
        ranking_metrics({1: [5, 5]}, {1: {5}}, k=2)


def test_no_relevant_item_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing to measure"):
        ranking_metrics({1: [5]}, {1: set()}, k=2)


@needs_files
def test_popularity_comes_to_the_known_figures() -> None:
    ratings = load(REAL)
    rows, rest = stratified_split(ratings)
    assert (len(ratings.movies), int(rows.sum()), int(rest.sum())) == (1682, 74_992, 25_008)
    train, test = ratings.at(rows), ratings.at(rest)
    items, counts = np.unique(train.item, return_counts=True)
    by_count = items[np.argsort(-counts, kind="stable")].tolist()
    seen, relevant = train.items_of(), test.items_of()
    recommended = {user: [item for item in by_count if item not in seen[user]] for user in relevant}
    found = ranking_metrics(recommended, relevant, k=10)
    assert found.ndcg == pytest.approx(0.2498, abs=5e-5)
    assert found.precision == pytest.approx(0.2239, abs=5e-5)
    assert found.recall == pytest.approx(0.1101, abs=5e-5)
