"""What every model promises to those who score with it, whichever library stands behind it.

One contract suite (`tests/contracts/test_models.py`) runs over all implementations.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
"""One row of features, shape (n_features,), in the order of its definition; NaN where a value is unknown."""

Matrix = NDArray[np.float64]
"""Rows of features, shape (n_rows, n_features); NaN where a value is unknown."""


class Model(Protocol):
    """Turns one vector into a probability."""

    @property
    def name(self) -> str:
        """Which member it is, such as `batch` or `online`."""

    @property
    def version(self) -> str:
        """Which state of it; a score is kept together with this."""

    def score_one(self, x: Vector) -> float:
        """Probability of class 1 in [0, 1], the same for the same vector.

        Takes NaN for unknown values and raises nothing for a vector of the right length. A broken artifact may answer
        NaN, never a number outside [0, 1]: whoever combines members leaves NaN out.
        """


class Learner(Model, Protocol):
    """A model that goes on learning. Not safe under concurrent use: one thread scores and learns."""

    def learn_one(self, x: Vector, y: bool) -> None:
        """Take one gradient step towards `y` (True: fraud) at the vector as it was scored. It cannot be undone."""
