import hashlib

import numpy as np
import pytest
from numpy.typing import NDArray

from models.als import fit_als, fold_in
from models.batch_items import BatchItems, BoundBatch, Neighbours
from models.ease import TooManyItems, ease_weights, fit_ease, strongest
from models.packed import InvalidState

NONE = np.zeros(0, dtype=np.bool_)
NO_ITEMS = np.zeros(0, dtype=np.int32)


def numbers(*values: int) -> NDArray[np.int32]:
    return np.array(values, dtype=np.int32)


def ones(count: int) -> NDArray[np.float32]:
    return np.ones(count, dtype=np.float32)


def two_tastes(seed: int = 1) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Pairs of 200 users: even ones like items 0 to 9, odd ones items 10 to 19, six each."""
    random = np.random.default_rng(seed)
    users = np.repeat(np.arange(200, dtype=np.int32), 6)
    items = np.concatenate([random.choice(10, 6, replace=False) + 10 * (user % 2) for user in range(200)])
    return users, items.astype(np.int32)


def of_two_tastes(kind: str) -> BatchItems:
    users, items = two_tastes()
    neighbours = None if kind == "vectors" else fit_ease(users, items, 20, penalty=20.0)
    factors = None if kind == "weights" else fit_als(users, items, ones(len(users)), 20, dimensions=2, regularisation=1)
    return BatchItems("v1", 7, tuple(f"i{n}" for n in range(20)), neighbours, factors)


def bound(fit: BatchItems) -> BoundBatch:
    return fit.bind(lambda item: int(item[1:]))


@pytest.fixture(params=["weights", "vectors", "both"])
def fit(request: pytest.FixtureRequest) -> BatchItems:
    return of_two_tastes(request.param)


def test_a_visitor_of_one_taste_is_answered_the_rest_of_it_and_nothing_seen(fit: BatchItems) -> None:
    seen = numbers(12, 13, 14)
    found, scores = bound(fit).scores(seen, ones(3), seen, NONE).top(7)
    assert sorted(found.tolist()) == [10, 11, 15, 16, 17, 18, 19]
    assert (np.diff(scores) <= 0).all()


def test_a_hidden_item_is_no_answer_and_no_neighbour(fit: BatchItems) -> None:
    hidden = np.zeros(20, dtype=np.bool_)
    hidden[[15, 16]] = True
    batch = bound(fit)
    assert not {15, 16} & set(batch.scores(numbers(12), ones(1), numbers(12), hidden).top(20)[0].tolist())
    assert not {12, 15, 16} & set(batch.similar(12, 20, hidden)[0].tolist())


def test_scores_of_chosen_items_are_those_they_are_ordered_by(fit: BatchItems) -> None:
    scored = bound(fit).scores(numbers(2, 3), ones(2), numbers(2, 3), NONE)
    found, scores = scored.top(5)
    assert scored.of(found).tolist() == pytest.approx(scores.tolist())
    assert np.isnan(scored.of(numbers(-1, 999))).all()


def test_similar_items_are_of_the_same_taste(fit: BatchItems) -> None:
    batch = bound(fit)
    assert set(batch.similar(4, 5, NONE)[0].tolist()) <= set(range(10)) - {4}


def test_a_visitor_of_nothing_known_gets_no_answer(fit: BatchItems) -> None:
    batch = bound(fit)
    for items in (NO_ITEMS, numbers(-1, 5000)):
        scored = batch.scores(items, ones(len(items)), items, NONE)
        assert scored.top(10)[0].tolist() == []
        assert batch.similar(5000, 3, NONE)[0].tolist() == []


def test_a_fit_answers_the_same_items_whatever_their_numbers(fit: BatchItems) -> None:
    plain = bound(fit).scores(numbers(12, 13), ones(2), numbers(12, 13), NONE).top(6)[0]
    other = fit.bind(lambda item: 1000 - int(item[1:]))
    found, _ = other.scores(numbers(988, 987), ones(2), numbers(988, 987), NONE).top(20)
    assert {1000 - n for n in found.tolist()} >= set(plain.tolist())


def test_items_that_the_state_does_not_know_are_no_answer(fit: BatchItems) -> None:
    batch = fit.bind(lambda item: int(item[1:]) if int(item[1:]) < 15 else -1)
    found, _ = batch.scores(numbers(12), ones(1), numbers(12), NONE).top(20)
    assert len(found) and found.max() < 15


def test_a_fit_travels_as_bytes_and_equal_fits_are_equal_bytes(fit: BatchItems) -> None:
    content = fit.encode()
    again = BatchItems.decode(content)
    assert again.encode() == content and (again.version, again.fitted_until_us) == ("v1", 7)
    asked = (numbers(1, 2), ones(2), numbers(1, 2), NONE)
    assert np.array_equal(bound(again).scores(*asked).top(9)[1], bound(fit).scores(*asked).top(9)[1])


@pytest.mark.parametrize("at", [0, 40, -50, -1])
def test_changed_bytes_are_refused(at: int) -> None:
    content = bytearray(of_two_tastes("both").encode())
    content[at] ^= 1
    with pytest.raises(InvalidState):
        BatchItems.decode(bytes(content))


def test_cut_bytes_are_refused() -> None:
    with pytest.raises(InvalidState):
        BatchItems.decode(of_two_tastes("weights").encode()[:-7])


def test_weights_that_name_items_outside_the_fit_are_refused() -> None:
    first = np.array([0, 1, 1], dtype=np.int64)
    wrong = BatchItems("v1", 0, ("a", "b"), Neighbours(first, numbers(2), ones(1)))
    with pytest.raises(InvalidState, match="other items than its 2"):
        BatchItems.decode(wrong.encode())


# EASE


def test_ease_is_the_closed_form_of_its_paper() -> None:
    users, items = two_tastes()
    rated = np.zeros((200, 20))
    rated[users, items] = 1.0
    inverse = np.linalg.inv(rated.T @ rated + 50.0 * np.eye(20))
    expected = -inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0.0)
    order = np.lexsort((items, users))
    first = np.arange(0, 1201, 6, dtype=np.int64)
    assert ease_weights(first, items[order], 20, 50.0) == pytest.approx(expected, abs=1e-5)


def test_of_each_item_the_weights_largest_by_amount_are_kept() -> None:
    weights = np.array([[0, 1, -3, 2], [0, 0, 0, 5], [1, 1, 0, 1], [0, 0, 0, 0]], dtype=np.float32)
    first, items, kept = strongest(weights, 2)
    assert first.tolist() == [0, 2, 3, 5, 5]
    assert items.tolist() == [2, 3, 3, 0, 1] and kept.tolist() == [-3, 2, 5, 1, 1]


def test_ease_refuses_more_items_than_it_can_invert() -> None:
    with pytest.raises(TooManyItems, match="fit ALS"):
        fit_ease(NO_ITEMS, NO_ITEMS, 1_000_000)


# ALS


def test_folding_in_solves_the_least_squares_of_its_paper() -> None:
    users, items = two_tastes()
    factors = fit_als(users, items, ones(len(users)), 20, dimensions=8, regularisation=1.0, confidence=3.0)
    rows, weights = numbers(1, 4, 5), np.array([1.0, 2.0, 0.5], dtype=np.float32)
    V, c = factors.vectors.astype(np.float64), 3.0 * weights.astype(np.float64)
    left = V.T @ V + np.eye(8) + (V[rows].T * c) @ V[rows]
    assert fold_in(factors, rows, weights) == pytest.approx(np.linalg.solve(left, V[rows].T @ (1.0 + c)), abs=1e-4)


def test_als_gives_the_same_vectors_again_and_zero_for_an_item_nobody_visited() -> None:
    users, items = two_tastes()
    one, two = (fit_als(users, items, ones(len(users)), 21, dimensions=8) for _ in range(2))
    assert hashlib.sha256(one.vectors.tobytes()).digest() == hashlib.sha256(two.vectors.tobytes()).digest()
    assert not one.vectors[20].any() and one.vectors[:20].any(axis=1).all()
