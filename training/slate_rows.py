"""Rows of logged slates, what they weigh, and how well a score puts the rows of one slate in order.

A click at a place that few look at says more than one at the first: rows that were acted on weigh the inverse of how
likely their place is looked at, and all rows the inverse of the probability with which they were shown. The place is a
column of the log, never a feature: where a model serves, no place is known yet.

Source: T. Joachims, A. Swaminathan and T. Schnabel, "Unbiased learning-to-rank with biased feedback", 2017.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.contract import Matrix
from training.metrics import Labels

Floats = NDArray[np.float64]
WEIGHT_LIMIT = 10.0
"""Of one row, by place and propensity together: a single lucky draw shall not decide a fit."""
UNBIASED_PLACE = 0
ETA = 0.7
"""How steeply attention falls with the place where nobody measured it: by 1 / place**eta."""


@dataclass(frozen=True)
class SlateRows:
    """One row for each item of each slate, as it was scored and shown, and whether the visitor acted on it.

    `X` has shape (n_rows, n_features), NaN for unknown; all others have shape (n_rows,). `slate` says which rows belong
    together. `place` counts from 1; `UNBIASED_PLACE` for rows that no place could favour, such as of a rating log.
    `propensity` is the logged one, 1 for ranked places. `at_us` is when the slate was shown.
    """

    X: Matrix
    y: Labels
    slate: NDArray[Any]
    place: NDArray[np.int64]
    propensity: Floats
    at_us: NDArray[np.int64]
    feature_names: tuple[str, ...]
    definition_hash: str

    def __post_init__(self) -> None:
        n_rows = len(self.y)
        if self.X.shape != (n_rows, len(self.feature_names)):
            raise ValueError(f"X has the shape {self.X.shape} for {n_rows} labels and {len(self.feature_names)} names")
        for name in ("slate", "place", "propensity", "at_us"):
            if getattr(self, name).shape != (n_rows,):
                raise ValueError(f"{name} has the shape {getattr(self, name).shape} for {n_rows} labels")
        if np.isinf(self.X).any():
            column = self.feature_names[int(np.flatnonzero(np.isinf(self.X).any(axis=0))[0])]
            raise ValueError(f"feature {column!r} is infinite in some rows; give NaN where it is unknown")
        if n_rows and not (self.propensity > 0.0).all():
            raise ValueError("some propensities are 0 or below; leave out rows that were never drawn")
        if n_rows and self.place.min() < UNBIASED_PLACE:
            raise ValueError(f"some places are below 0; count them from 1, {UNBIASED_PLACE} where there was none")

    def where(self, wanted: NDArray[np.bool_]) -> SlateRows:
        """The rows that are wanted, shape (n_rows,)."""
        columns = ("X", "y", "slate", "place", "propensity", "at_us")
        return replace(self, **{name: getattr(self, name)[wanted] for name in columns})

    def groups(self) -> NDArray[np.int64]:
        """The slates of the rows, numbered by time (and by their name where times are equal)."""
        names, first, of_row = np.unique(self.slate, return_index=True, return_inverse=True)
        number = np.empty(len(names), dtype=np.int64)
        number[np.argsort(self.at_us[first], kind="stable")] = np.arange(len(names))
        return number[of_row]


def weights(rows: SlateRows, eta: float = ETA) -> Floats:
    """What each row counts in a fit, in (0, `WEIGHT_LIMIT`]."""
    seen = attention(rows.place, eta)
    counts = np.where(rows.y != 0, 1.0 / seen, 1.0) / rows.propensity
    limited: Floats = np.minimum(counts, WEIGHT_LIMIT)
    return limited


def attention(place: NDArray[np.int64], eta: float = ETA) -> Floats:
    """How likely each place is looked at, beside the first; 1 where there was none.

    >>> attention(np.array([0, 1, 4]), eta=0.5).tolist()
    [1.0, 1.0, 0.5]
    """
    seen: Floats = np.maximum(place, 1).astype(np.float64) ** -eta
    return seen


def ndcg(group: NDArray[np.int64], score: Floats, gain: Floats, k: int = 10) -> float | None:
    """The discounted gain of the first k of every group, by the most that these groups could give.

    In [0, 1]; None where there is nothing to gain. Of equal scores the earlier row is first. Groups are summed before
    they are divided: divided one by one, a group with one gain would count the same whatever that gain weighs.

    >>> round(ndcg(np.array([0, 0]), np.array([0.9, 0.1]), np.array([0.0, 1.0])), 4)
    0.6309
    """
    best = float(discounted_gains(group, gain, gain, k).sum())
    return float(discounted_gains(group, score, gain, k).sum()) / best if best > 0.0 else None


def discounted_gains(group: NDArray[np.int64], score: Floats, gain: Floats, k: int = 10) -> Floats:
    """What the first k rows of each group gain, discounted by rank, in the order of the groups' numbers."""
    if not len(group):
        return np.zeros(0)
    order = np.lexsort((-score, group))
    of_group = group[order]
    starts = np.flatnonzero(np.diff(of_group, prepend=of_group[0] - 1))
    rank = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
    sums: Floats = np.add.reduceat(np.where(rank < k, gain[order] / np.log2(rank + 2.0), 0.0), starts)
    return sums
