"""Windows that slide, against sums from scratch: long ones, empty ones, gaps, outliers and equal values."""

from __future__ import annotations

from collections.abc import Callable
from math import fsum
from typing import Any

import numpy as np
import pytest

from features import sliding
from features.sliding import Floats, Ints

ROWS = 3000
RANDOM = np.random.default_rng(3)
SPREAD = 10 ** RANDOM.uniform(-3, 9, ROWS)
NEAR = 1e9 + RANDOM.integers(0, 10, ROWS) / 1000
MIXED = np.where(RANDOM.random(ROWS) < 0.02, 5.0, NEAR)
EQUAL = np.full(ROWS, 9.99)
HIGH = np.sort(RANDOM.integers(0, ROWS + 1, 2 * ROWS))
PLACE = RANDOM.permutation(2 * ROWS)


def windows(longest: int) -> Ints:
    """Where windows of at most so many rows begin; some are empty."""
    return np.maximum.accumulate(np.maximum(HIGH - RANDOM.integers(0, longest + 1, 2 * ROWS), 0))


def slid(loop: Callable[..., None], low: Ints, *arguments: Any) -> Floats:
    out = np.empty(2 * ROWS)
    loop(*arguments[:1], low, HIGH, *arguments[1:], PLACE, out)
    return out[PLACE]


def deviation(values: Floats) -> float:
    off = values - values[0]
    middle = fsum(off) / len(off)
    return float(np.sqrt(fsum((off - middle) ** 2) / len(off)))


@pytest.mark.parametrize("longest", [1, 7, 800])
@pytest.mark.parametrize("values", [SPREAD, NEAR, MIXED, EQUAL], ids=["spread", "near", "mixed", "equal"])
def test_every_window_gives_what_its_rows_give(values: Floats, longest: int) -> None:
    low = windows(longest)
    held = [values[begin:end] for begin, end in zip(low, HIGH, strict=True)]
    for loop, arguments, expected in (
        (sliding.sums, (False,), fsum),
        (sliding.sums, (True,), lambda rows: fsum(rows) / len(rows)),
        (sliding.extremes, (1.0,), np.max),
        (sliding.extremes, (-1.0,), np.min),
        (sliding.deviations, (), deviation),
    ):
        found = slid(loop, low, values, *arguments)
        empty = 0.0 if arguments == (False,) else np.nan
        truth = [expected(rows) if len(rows) else empty for rows in held]
        np.testing.assert_allclose(found, truth, rtol=1e-9, atol=0)


@pytest.mark.parametrize("longest", [1, 7, 800])
def test_distinct_members_of_every_window(longest: int) -> None:
    low = windows(longest)
    members = RANDOM.integers(0, 300, ROWS)
    previous, following = np.empty_like(members), np.empty_like(members)
    sliding.neighbours(members, previous, following)
    out = np.empty(2 * ROWS)
    sliding.distinct(previous, following, low, HIGH, PLACE, out)
    assert out[PLACE].tolist() == [len(set(members[begin:end].tolist())) for begin, end in zip(low, HIGH, strict=True)]


def test_decayed_sums_of_a_long_history_with_gaps() -> None:
    low = windows(800)
    stamps = np.cumsum(RANDOM.choice([0, 1_000_000, 3_600_000_000, 10**13], ROWS, p=[0.1, 0.5, 0.39, 0.01]))
    half_us = 60_000_000
    ends_us = np.where(HIGH > 0, stamps[HIGH - 1], 0) + 5
    out = np.empty(2 * ROWS)
    sliding.decayed(SPREAD, stamps, low, HIGH, ends_us, half_us, PLACE, out)
    truth = [
        fsum(SPREAD[begin:end] * 2.0 ** ((stamps[begin:end] - at) / half_us))
        for begin, end, at in zip(low, HIGH, ends_us, strict=True)
    ]
    np.testing.assert_allclose(out[PLACE], truth, rtol=1e-9, atol=1e-300)
