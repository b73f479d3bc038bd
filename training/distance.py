"""How far apart two distributions are, and how far chance alone would take them."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from models.profile import Sketch

Floats = NDArray[np.float64]
SPARE = 0.5
"""Added to each bin: an empty one would be infinitely far away."""


def psi(reference: Floats, now: Floats, reference_units: float, now_units: float) -> float:
    """The population stability index of two lists of shares over the same bins; 0 where they are equal.

    `*_units` are how many independent ones (cards) the shares are of: so much is known of an empty bin. Source:
    N. Siddiqi, "Credit Risk Scorecards", 2006.
    """
    before, after = _smoothed(reference, reference_units), _smoothed(now, now_units)
    return float(np.sum((after - before) * np.log(after / before)))


def psi_by_chance(bins: int, reference_units: float, now_units: float, chance: float) -> float:
    """What the index exceeds with this probability where nothing changed.

    It is then about chi-squared with `bins - 1` degrees of freedom, times `1/n + 1/m`. Source: B. Yurdakul,
    "Statistical properties of population stability index", 2018; the quantile by Wilson and Hilferty.
    """
    freedom = bins - 1
    if freedom < 1:
        return 0.0
    spread = 2.0 / (9.0 * freedom)
    quantile = freedom * (1.0 - spread + NormalDist().inv_cdf(1.0 - chance) * math.sqrt(spread)) ** 3
    return quantile * (1.0 / reference_units + 1.0 / now_units)


def ks(reference: Floats, now: Floats) -> float:
    """The largest distance of the two distribution functions, at the edges of the bins; in [0, 1]."""
    return float(np.max(np.abs(np.cumsum(reference) - np.cumsum(now)), initial=0.0))


def ks_by_chance(reference_units: float, now_units: float, chance: float) -> float:
    """What the distance exceeds with at most this probability where nothing changed (Smirnov's limit)."""
    return math.sqrt(-0.5 * math.log(chance / 2.0) * (1.0 / reference_units + 1.0 / now_units))


def share_by_chance(reference: float, now: float, reference_units: float, now_units: float, chance: float) -> float:
    """How far two shares differ by chance at most, but for this probability; both ways."""
    pooled = (reference * reference_units + now * now_units) / (reference_units + now_units)
    deviation = math.sqrt(pooled * (1.0 - pooled) * (1.0 / reference_units + 1.0 / now_units))
    return NormalDist().inv_cdf(1.0 - chance / 2.0) * deviation


def shares_of(sketch: Sketch, values: Floats) -> tuple[Floats, Floats]:
    """The shares of a sketch and those of other values in its bins."""
    return np.array(sketch.shares), sketch.shares_of(values)


def _smoothed(shares: Floats, units: float) -> Floats:
    smoothed: Floats = (shares * units + SPARE) / (units + SPARE * len(shares))
    return smoothed
