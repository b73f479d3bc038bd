import numpy as np
import pytest
from numpy.typing import NDArray

from training.item_fit import Interactions, NothingToFit, fit_items, pairs_before


def of_rows(*rows: tuple[int, int, float, int], ids: tuple[str, ...] = ("a", "b", "c")) -> Interactions:
    user, item, weight, at_us = zip(*rows, strict=True)
    return Interactions(
        np.array(user, dtype=np.int64),
        np.array(item, dtype=np.int32),
        np.array(weight, dtype=np.float32),
        np.array(at_us, dtype=np.int64),
        ids,
    )


def many(order: NDArray[np.intp], ids: list[str]) -> Interactions:
    random = np.random.default_rng(5)
    user, item = random.integers(0, 60, 900), random.integers(0, 30, 900)
    weight = random.integers(1, 4, 900).astype(np.float32)
    at_us = np.arange(900, dtype=np.int64)
    return Interactions(user[order], item[order].astype(np.int32), weight[order], at_us[order], ids)


def test_only_what_was_before_the_cut_off_counts() -> None:
    pairs = pairs_before(of_rows((1, 0, 1.0, 10), (1, 1, 1.0, 19), (2, 2, 1.0, 20)), 20)
    assert pairs.item_ids == ("a", "b") and pairs.weight.tolist() == [1.0, 1.0]


def test_weights_of_one_pair_are_summed_and_what_is_no_longer_wanted_is_left_out() -> None:
    pairs = pairs_before(of_rows((1, 0, 1.0, 1), (1, 0, 4.0, 2), (1, 1, 1.0, 1), (1, 1, 0.0, 2)), 9)
    assert pairs.item_ids == ("a",) and pairs.weight.tolist() == [5.0]


def test_nothing_before_the_cut_off_says_so() -> None:
    for interactions in (of_rows((1, 0, 1.0, 10)), of_rows((1, 0, 0.0, 1))):
        with pytest.raises(NothingToFit, match="take a later time"):
            fit_items(interactions, 10, "v")


def test_the_same_interactions_in_another_order_give_the_same_bytes() -> None:
    ids = [f"item {n}" for n in range(30)]
    forwards = fit_items(many(np.arange(900), ids), 900, "v")
    backwards = fit_items(many(np.arange(900)[::-1], ids), 900, "v")
    assert forwards.encode() == backwards.encode()


def test_small_catalogues_get_weights_and_vectors_and_large_ones_vectors_alone() -> None:
    interactions = many(np.arange(900), [f"item {n}" for n in range(30)])
    small = fit_items(interactions, 900, "v")
    large = fit_items(interactions, 900, "v", ease_items_most=29)
    assert small.neighbours is not None and small.factors is not None
    assert large.neighbours is None and large.factors is not None
