"""Sources asked one by one, in Python: what the compiled loops that ask all of them at once are held to."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.factors import Factors, logits_of, searched_best, user_of
from models.trending import Trending, any_leaders
from models.visit import Visit

Numbers = NDArray[np.int32]
Floats = NDArray[np.float32]


class Products(NamedTuple):
    """A visitor's scores by factors."""

    after: Floats
    bias: Floats
    user: Floats
    searched: Numbers
    barred: NDArray[np.bool_]

    def top(self, limit: int) -> tuple[Numbers, Floats]:
        """The best of the searched items that are not barred, and their logits, best first."""
        return searched_best(*self, limit)

    def of(self, numbers: Numbers) -> Floats:
        """The logits of some items; NaN for items without a vector."""
        return logits_of(self.after, self.bias, self.user, numbers)


def products(factors: Factors, visit: Visit, searched: Numbers, barred: NDArray[np.bool_]) -> Products | None:
    """How likely each item is to come next, as a logit; None for a stranger, and before anything was learned."""
    before, after, bias, learned, by_rank, _ = factors.columns
    context = visit.items[: len(by_rank)]
    amounts = by_rank[: len(context)] * visit.weights[: len(context)]
    user = np.empty(after.shape[1], dtype=np.float32)
    if not learned or user_of(before, context, amounts, user) <= 0.0:
        return None
    return Products(after, bias, user, searched, barred)


def leaders_of(trending: Trending) -> Numbers:
    """The leaders of all half-lives, each once."""
    counts, leaders, lengths, *_ = trending.columns
    found: Any = any_leaders(leaders, lengths, len(counts))
    return found  # type: ignore[no-any-return]
