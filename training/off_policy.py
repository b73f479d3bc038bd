"""What another policy would have earned, estimated from what was logged with propensities.

Each row is one draw: the probability with which the logged item was drawn, the reward it had, and the probability with
which the target policy would have drawn that item there. IPS is unbiased where the target draws nothing that the
logging policy never drew; SNIPS divides by the weights instead of by the rows, which costs a small bias and spares
most of the variance. With places that differ in how well they are seen, estimate each place by itself.

Sources: D. Horvitz and D. Thompson, 1952; A. Swaminathan and T. Joachims, "The self-normalized estimator for
counterfactual learning", 2015; A. Owen, "Monte Carlo theory, methods and examples", 2013, for SNIPS's error and the
effective number of rows.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Z95 = 1.959964


class Estimate(NamedTuple):
    """A mean reward of the target policy, its standard error, and of how many rows of its own it is worth.

    The interval is one of 95%. Of rewards in [0, 1] (`is_rate`) it is Wilson's, for as many trials as give this error:
    a few heavy rows make a skewed sum, which the normal interval holds too low. Of others it is the normal one. Trust
    neither where `effective_rows` is less than some dozens. NaN where the rows say nothing.
    """

    value: float
    standard_error: float
    effective_rows: float
    is_rate: bool = False

    @property
    def low(self) -> float:
        """The lower end of the interval."""
        return self._interval()[0]

    @property
    def high(self) -> float:
        """The upper end of the interval."""
        return self._interval()[1]

    def covers(self, value: float) -> bool:
        """Whether the interval contains a value."""
        low, high = self._interval()
        return low <= value <= high

    def _interval(self) -> tuple[float, float]:
        p, error = self.value, self.standard_error
        if not (self.is_rate and 0.0 < p < 1.0 and error > 0.0):
            return p - Z95 * error, p + Z95 * error
        trials = p * (1.0 - p) / error**2
        middle = (p + Z95**2 / (2.0 * trials)) / (1.0 + Z95**2 / trials)
        reach = Z95 / (1.0 + Z95**2 / trials) * math.sqrt(error**2 + (Z95 / (2.0 * trials)) ** 2)
        return middle - reach, middle + reach


UNKNOWN = Estimate(math.nan, math.nan, 0.0)


def ips(propensity: Floats, reward: Floats, target: Floats) -> Estimate:
    """Inverse propensity scoring: the mean of reward times target probability over propensity, shape (n_rows,) each.

    >>> ips(np.array([0.5, 0.5]), np.array([1.0, 0.0]), np.array([1.0, 0.0])).value
    1.0
    """
    weights = _weights(propensity, reward, target)
    n = len(weights)
    if n == 0:
        return UNKNOWN
    gained = weights * reward
    error = float(np.std(gained, ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    return Estimate(float(np.mean(gained)), error, effective_rows(weights), _is_rate(reward))


def snips(propensity: Floats, reward: Floats, target: Floats) -> Estimate:
    """The same, normalised by the sum of the weights; never outside the range of the rewards."""
    weights = _weights(propensity, reward, target)
    total = float(weights.sum())
    if total == 0.0:
        return UNKNOWN
    value = float(weights @ reward) / total
    error = math.sqrt(float(np.sum((weights * (reward - value)) ** 2))) / total
    return Estimate(value, error if len(weights) > 1 else math.nan, effective_rows(weights), _is_rate(reward))


def effective_rows(weights: Floats) -> float:
    """How many rows of equal weight say as much (Kish): the squared sum by the sum of squares; 0 without any.

    >>> effective_rows(np.array([1.0, 1.0, 0.0]))
    2.0
    """
    squares = float(weights @ weights)
    return float(weights.sum()) ** 2 / squares if squares > 0.0 else 0.0


def _is_rate(reward: Floats) -> bool:
    return bool(((reward >= 0.0) & (reward <= 1.0)).all())


def _weights(propensity: Floats, reward: Floats, target: Floats) -> Floats:
    if not len(propensity) == len(reward) == len(target):
        raise ValueError(
            f"there are {len(propensity)} propensities, {len(reward)} rewards and {len(target)} target probabilities; "
            "give one of each for a row"
        )
    for name, values, low in (("propensity", propensity, math.nextafter(0.0, 1.0)), ("target", target, 0.0)):
        wrong = np.flatnonzero(~((values >= low) & (values <= 1.0 + 1e-9)))
        if wrong.size:
            remedy = "leave out rows that were not drawn" if name == "propensity" else "give a probability"
            raise ValueError(f"{name} of row {wrong[0]} is {values[wrong[0]]!r}, outside (0, 1]; {remedy}")
    if not np.isfinite(reward).all():
        raise ValueError(f"reward of row {int(np.flatnonzero(~np.isfinite(reward))[0])} is not finite; leave it out")
    weights: Floats = target / propensity
    return weights
