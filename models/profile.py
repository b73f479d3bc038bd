"""What the rows of a training window looked like, small enough for a manifest: quantiles, nulls, the fraud rate.

Later rows are held against it, long after the rows themselves are gone.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

BINS = 20
DIGITS = 7
"""Of an edge: a float32 has no more."""


class Sketch(msgspec.Struct, frozen=True, kw_only=True):
    """The distribution of one number: bins of about equal mass, and how often it was unknown.

    `edges` rise; a value lies in the bin of the first edge that is not below it, or in one more bin after the last.
    `shares` has one more entry than `edges` and sums to 1, of the known values alone: with ties the masses are not
    equal. No edges: nothing was known. `null_share` is of all rows.
    """

    edges: tuple[float, ...] = ()
    shares: tuple[float, ...] = ()
    null_share: float = 0.0
    known: int = 0

    def shares_of(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Which share of other values, NaN left out, lies in each of these bins; shape (len(edges) + 1,)."""
        known = values[~np.isnan(values)]
        counts = np.bincount(np.searchsorted(self.edges, known, side="left"), minlength=len(self.edges) + 1)
        shares: NDArray[np.float64] = counts / max(len(known), 1)
        return shares


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """What was usual when a model was made.

    `features` and `fraud_rate` are of the `rows` it was fitted on; `scores`, by member, of `measured_rows` later ones,
    on which nothing was fitted. `units` and `measured_units` say how many entities, by the field that names them, these
    rows are worth (`training/effective.py`); `fraud_cards` is the same of the cards with a fraud among the first.
    """

    rows: int
    units: dict[str, float]
    fraud_cards: float
    fraud_rate: float
    features: dict[str, Sketch]
    measured_rows: int
    measured_units: dict[str, float]
    scores: dict[str, Sketch]


def sketch(values: NDArray[Any], bins: int = BINS) -> Sketch:
    """The sketch of some numbers, NaN where unknown.

    >>> sketch(np.array([1.0, 2.0, 3.0, 4.0, np.nan]), bins=2)
    Sketch(edges=(2.0,), shares=(0.5, 0.5), null_share=0.2, known=4)
    """
    known = values[~np.isnan(values)].astype(np.float64)
    null_share = 1.0 - len(known) / len(values) if len(values) else 0.0
    if not len(known):
        return Sketch(null_share=null_share)
    # Values, not points between them: whatever ties with an edge is in one bin with it, here and later.
    cuts = np.quantile(known, np.arange(1, bins) / bins, method="inverted_cdf")
    edges = tuple(sorted({float(f"{cut:.{DIGITS}g}") for cut in cuts}))
    empty = Sketch(edges=edges)
    shares = tuple(round(share, DIGITS) for share in empty.shares_of(known).tolist())
    return Sketch(edges=edges, shares=shares, null_share=round(null_share, DIGITS), known=len(known))
