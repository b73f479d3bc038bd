"""What a search may try for a parameter: one of a few values, or a number from a range."""

from __future__ import annotations

from collections.abc import Mapping
from math import exp, log
from typing import NamedTuple

import numpy as np

from models.manifest import Parameter

DIGITS = 3
"""Of a drawn number: more would say nothing and is hard to read in a manifest."""


class Between(NamedTuple):
    """A number from `low` to `high`, both included. With `log`, each factor is as likely: 1 to 10 as 10 to 100."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def draw(self, rng: np.random.Generator) -> float | int:
        """One number, rounded to three digits."""
        drawn = exp(rng.uniform(log(self.low), log(self.high))) if self.log else rng.uniform(self.low, self.high)
        rounded = min(max(float(f"{drawn:.{DIGITS}g}"), self.low), self.high)
        return round(rounded) if self.whole else rounded


Space = Mapping[str, Between | tuple[Parameter, ...]]


def draw(space: Space, rng: np.random.Generator) -> dict[str, Parameter]:
    """One value for each parameter, drawn in the order of the space.

    >>> draw({"C": Between(0.1, 10.0, log=True), "penalty": ("l1", "l2")}, np.random.default_rng(0))
    {'C': 1.88, 'penalty': 'l2'}
    """
    return {
        name: of.draw(rng) if isinstance(of, Between) else of[int(rng.integers(len(of)))] for name, of in space.items()
    }
