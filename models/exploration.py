"""Exploration by Thompson sampling, with the exact probability of what it drew.

Each arm is an item with its impressions and clicks. Many times over, a click rate is drawn for each arm from its Beta
posterior, and the highest wins. An arm's share of the wins, mixed with a floor that all have alike, is its probability,
and then one arm is drawn by these probabilities. So what is logged is no estimate: given the arms and the seed, it is
the probability with which the arm was drawn, and the floor bounds it from below.

Source: W. R. Thompson, "On the likelihood that one unknown probability exceeds another", 1933; the gamma draws are
those of G. Marsaglia and W. W. Tsang, "A simple method for generating gamma variables", 2000.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from hashlib import blake2b
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta
from numba import njit, types
from numpy.typing import NDArray

from models.compiled import read_only

Floats = NDArray[np.float64]
LARGEST_SEED = 2**64 - 1
STEP = np.uint64(0x9E3779B97F4A7C15)
LARGEST = float(np.finfo(np.float64).max)
ARMS_LIMIT = 64
DRAWS_LIMIT = 1024
LEAST_FLOOR = 0.01
PLACES_LIMIT = 2


class ExplorationSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where and how a slate explores.

    `places` are those that explore, counted from 1 (none: no exploration); one beyond the end of a slate explores
    nothing. `arms` items at most are drawn from, by `draws` of their click rates; all together share `floor` evenly.
    The prior is worth as many clicks and misses as it says.
    """

    places: Annotated[tuple[Annotated[int, Meta(ge=1)], ...], Meta(max_length=PLACES_LIMIT)] = ()
    arms: Annotated[int, Meta(ge=2, le=ARMS_LIMIT)] = 16
    draws: Annotated[int, Meta(ge=1, le=DRAWS_LIMIT)] = 64
    floor: Annotated[float, Meta(ge=LEAST_FLOOR, le=1.0)] = 0.2
    prior_clicks: Annotated[float, Meta(gt=0.0, le=1e6)] = 1.0
    prior_misses: Annotated[float, Meta(gt=0.0, le=1e6)] = 9.0

    def __post_init__(self) -> None:
        if len(set(self.places)) < len(self.places):
            raise ValueError(f"places has {list(self.places)}: give each place once")


def seed_of(slate_id: str) -> int:
    """The seed of a slate: the same for the same id on every machine, so that its draws can be repeated."""
    return int.from_bytes(blake2b(slate_id.encode(), digest_size=8).digest(), "big")


def unit_of(seed: int, step: int = 0) -> float:
    """The number in [0, 1) that draws an arm; `step` counts the draws of one slate, independent of each other."""
    # By another hash than the click rates are drawn by: independent of who won them.
    digest = blake2b(f"{seed & LARGEST_SEED}:{step}".encode(), digest_size=8).digest()
    return float(int.from_bytes(digest, "big") >> 11) * 2.0**-53


@njit(inline="always")  # type: ignore[untyped-decorator]
def _uniform(state: np.uint64) -> float:
    """The number in (0, 1) of a state: SplitMix64 (Steele, Lea, Flood, 2014), a counter by steps of `STEP`, hashed."""
    z = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return (float(z >> np.uint64(11)) + 0.5) * 2.0**-53


@njit(inline="always")  # type: ignore[untyped-decorator]
def _normals(state: np.uint64) -> tuple[float, float, np.uint64]:
    """Two independent numbers of the normal distribution, by Marsaglia's polar method; and the state after them."""
    x, y, square = 0.0, 0.0, 2.0
    while square >= 1.0 or square == 0.0:
        x = 2.0 * _uniform(state + STEP) - 1.0
        state += STEP + STEP
        y = 2.0 * _uniform(state) - 1.0
        square = x * x + y * y
    scale = math.sqrt(-2.0 * math.log(square) / square)
    return x * scale, y * scale, state


@njit(inline="always")  # type: ignore[untyped-decorator]
def _gamma(shape: float, d: float, c: float, x: float, state: np.uint64) -> tuple[float, np.uint64]:
    """One number of the gamma distribution with this shape and scale 1; `x` is a normal number not used before.

    `d` and `c` are those of `_constants`: the same for each draw of an arm. Gives the state after it too.
    """
    scale = 1.0
    if shape < 1.0:
        state += STEP
        scale = _uniform(state) ** (1.0 / shape)
    while True:
        v = 1.0 + c * x
        if v > 0.0:
            v = v * v * v
            state += STEP
            u = _uniform(state)
            square = x * x
            if u < 1.0 - 0.0331 * square * square or math.log(u) < 0.5 * square + d * (1.0 - v + math.log(v)):
                break
        x, _, state = _normals(state)
    return scale * d * v, state


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _constants(shapes: Floats) -> Floats:
    """Marsaglia and Tsang's d and c of each shape; of one below 1, those of the shape that is larger by 1."""
    found = np.empty((2, shapes.shape[0]))
    for i in range(shapes.shape[0]):
        found[0, i] = (shapes[i] if shapes[i] >= 1.0 else shapes[i] + 1.0) - 1.0 / 3.0
        found[1, i] = 1.0 / math.sqrt(9.0 * found[0, i])
    return found


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _count_wins(alpha: Floats, beta: Floats, seed: int, draws: int, wins: Floats) -> None:
    """Of so many draws of all arms, how often each had the highest click rate."""
    state = np.uint64(seed)
    of_hits, of_misses = _constants(alpha), _constants(beta)
    for _ in range(draws):
        most, winner = -1.0, 0
        for arm in range(alpha.shape[0]):
            x, y, state = _normals(state)
            hits, state = _gamma(alpha[arm], of_hits[0, arm], of_hits[1, arm], x, state)
            misses, state = _gamma(beta[arm], of_misses[0, arm], of_misses[1, arm], y, state)
            rate = hits / (hits + misses)
            if rate > most:
                most, winner = rate, arm
        wins[winner] += 1.0


def _shares_py(
    impressions: Floats,
    clicks: Floats,
    prior_clicks: float,
    prior_misses: float,
    seed: int,
    draws: int,
    floor: float,
    shares: Floats,
) -> None:
    """Write what each arm's share of the wins and of the floor is; a count that is no number counts as none."""
    n_arms = impressions.shape[0]
    alpha, beta = np.empty(n_arms), np.empty(n_arms)
    for arm in range(n_arms):
        known = clicks[arm] if clicks[arm] > 0.0 else 0.0
        known = min(known, LARGEST)
        misses = impressions[arm] - known
        misses = min(misses, LARGEST) if misses > 0.0 else 0.0
        alpha[arm], beta[arm] = known + prior_clicks, misses + prior_misses
    wins = np.zeros(n_arms)
    _count_wins(alpha, beta, seed, draws, wins)
    for arm in range(n_arms):
        shares[arm] = (1.0 - floor) * wins[arm] / draws + floor / n_arms


shares_of: Callable[..., None] = njit(
    types.void(
        read_only(types.float64),
        read_only(types.float64),
        types.float64,
        types.float64,
        types.uint64,
        types.int64,
        types.float64,
        types.float64[::1],
    ),
    cache=True,
    nogil=True,
)(_shares_py)
"""Write with what probability each arm is to be drawn, shape (n_arms,): positive, and 1 in all. At least one arm.

Impressions and clicks say how often each was shown and clicked, decayed or not; more clicks than impressions count as
no misses. Then come the prior clicks and misses, the seed, the number of draws and the floor. The same seed gives the
same.
"""


def _exact_sum_py(values: Floats) -> float:
    """What `math.fsum` gives for finite numbers: their sum, rounded once."""
    # Partial sums that do not overlap, the smallest first.
    partials, n = np.empty(values.shape[0]), 0
    for value in values:
        high, kept = value, 0
        for i in range(n):
            low = partials[i]
            if abs(high) < abs(low):
                high, low = low, high
            sum_ = high + low
            rest = low - (sum_ - high)
            if rest != 0.0:
                partials[kept] = rest
                kept += 1
            high = sum_
        n = kept
        if high != 0.0:
            partials[n] = high
            n += 1
    if n == 0:
        return 0.0
    n -= 1
    total, rest = partials[n], 0.0
    while n > 0 and rest == 0.0:
        n -= 1
        before = total
        total = before + partials[n]
        rest = partials[n] - (total - before)
    # Half a unit in the last place is rounded by what lies below it.
    if n > 0 and ((rest < 0.0 and partials[n - 1] < 0.0) or (rest > 0.0 and partials[n - 1] > 0.0)):
        twice = rest * 2.0
        rounded = total + twice
        if twice == rounded - total:
            total = rounded
    return total  # type: ignore[no-any-return]


exact_sum: Callable[[Floats], float] = njit("float64(float64[::1])", cache=True, nogil=True)(_exact_sum_py)


def _draw_py(shares: Floats, unit: float) -> tuple[int, float]:
    total = exact_sum(shares)
    bar = unit * total
    passed = 0.0
    last = -1
    for arm in range(shares.shape[0]):
        if shares[arm] > 0.0:
            passed += shares[arm]
            last = arm
            if bar < passed:
                break
    if last < 0:
        raise ValueError("no arm has a positive share; give at least one")
    return last, shares[last] / total


draw_of: Callable[[Floats, float], tuple[int, float]] = njit(
    "Tuple((int64, float64))(float64[::1], float64)", cache=True, nogil=True
)(_draw_py)
"""Which arm a number in [0, 1) (`unit_of`) draws in proportion to their shares, and with what probability, in (0, 1].

Give the probabilities of all arms, or of those that are left after an earlier draw: the propensity is the probability
given that these are left. Raises `ValueError` where no share is positive.
"""
