"""Whom our online recommending is held against: popularity, lately popular, item-kNN, River's matrix factorisation.

Each is told every event after being asked for it, and knows nothing else. Items are numbers from 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from river import optim, reco

from models.trending import HALF_LIVES_US, Trending

K = 10
WEEK_US = 7 * 86_400 * 1_000_000
KNN_ITEMS_LIMIT = 12_000
"""Item-kNN keeps a number for each pair of items: some 600 MB."""


class Asked(Protocol):
    """Who is measured: told each event after being asked for it."""

    def ten(self, user: int, at_us: int) -> Sequence[int]:
        """Ten items that the user has not met, best first."""
        ...

    def learn(self, user: int, item: int, rating: float, at_us: int) -> None:
        """What happened."""
        ...


class Dense:
    """What all baselines share: scores of every item so far, without those that the user met."""

    def __init__(self, items: int) -> None:
        self.known = np.zeros(items, dtype=np.bool_)
        self.met: dict[int, list[int]] = {}

    def ten(self, user: int, at_us: int) -> Sequence[int]:
        """The ten best."""
        scores = np.where(self.known, self.scores(user, at_us), -np.inf)
        scores[self.met.get(user, [])] = -np.inf
        best = np.argpartition(-scores, min(K, len(scores) - 1))[:K]
        return best[np.argsort(-scores[best], kind="stable")].tolist()  # type: ignore[no-any-return]

    def learn(self, user: int, item: int, rating: float, at_us: int) -> None:
        """Count what happened."""
        self.known[item] = True
        self.met.setdefault(user, []).append(item)
        self.take(user, item, rating, at_us)

    def scores(self, user: int, at_us: int) -> NDArray[np.floating[Any]]:
        """By item."""
        raise NotImplementedError

    def take(self, user: int, item: int, rating: float, at_us: int) -> None:
        """Learn."""
        raise NotImplementedError


class Popularity(Dense):
    """How often each item was met; with a half-life, lately."""

    def __init__(self, items: int, half_life: int | None = None) -> None:
        super().__init__(items)
        self._counts, self._half_life, self._trending = np.zeros(items), half_life, Trending()
        self._trending.reserve(items)
        self._numbers = np.arange(items, dtype=np.int32)

    def scores(self, user: int, at_us: int) -> NDArray[np.floating[Any]]:
        """Counts."""
        return self._counts if self._half_life is None else self._trending.scores(self._numbers, at_us, self._half_life)

    def take(self, user: int, item: int, rating: float, at_us: int) -> None:
        """Count."""
        self._counts[item] += 1.0
        self._trending.learn_one(item, 1.0, at_us)


class LastPopular(Popularity):
    """How often each item was met within the last events."""

    def __init__(self, items: int, window: int) -> None:
        super().__init__(items)
        self._window, self._past = window, list[int]()

    def take(self, user: int, item: int, rating: float, at_us: int) -> None:
        """Count, and take back what has left the window."""
        self._counts[item] += 1.0
        self._past.append(item)
        if len(self._past) > self._window:
            self._counts[self._past[-1 - self._window]] -= 1.0


class ItemKnn(Dense):
    """The sum, over all items that the user met, of the cosine of the two items' users, kept up to date exactly."""

    def __init__(self, items: int) -> None:
        super().__init__(items)
        self._together = np.zeros((items, items), dtype=np.float32)
        self._counts = np.zeros(items, dtype=np.float32)

    def scores(self, user: int, at_us: int) -> NDArray[np.floating[Any]]:
        """Sums of cosines."""
        roots = np.sqrt(np.maximum(self._counts, 1.0))
        mine = self.met.get(user, [])
        sums: NDArray[np.floating[Any]] = (self._together[mine] / roots[mine][:, None]).sum(axis=0) / roots
        return sums

    def take(self, user: int, item: int, rating: float, at_us: int) -> None:
        """Count pairs."""
        others = self.met[user][:-1]
        self._together[item, others] += 1.0
        self._together[others, item] += 1.0
        self._counts[item] += 1.0


class RiverFactors(Dense):
    """River's BiasedMF with the settings of its documentation; the ten of the highest predicted rating."""

    def __init__(self, items: int) -> None:
        super().__init__(items)
        self._model = biased_mf()
        self._latents = np.zeros((items, 10))
        self._biases = np.zeros(items)

    def scores(self, user: int, at_us: int) -> NDArray[np.floating[Any]]:
        """Predicted ratings, of all items at once; the mean and the user's bias order nothing."""
        scores: NDArray[np.floating[Any]] = self._latents @ self._model.u_latents[user] + self._biases
        return scores

    def take(self, user: int, item: int, rating: float, at_us: int) -> None:
        """One step, and the item's row again."""
        self._model.learn_one(user=user, item=item, y=rating)
        self._latents[item], self._biases[item] = self._model.i_latents[item], self._model.i_biases[item]


def biased_mf() -> Any:
    """As in part 1 of River's documentation of matrix factorisation."""
    return reco.BiasedMF(
        n_factors=10,
        bias_optimizer=optim.SGD(0.025),
        latent_optimizer=optim.SGD(0.05),
        weight_initializer=optim.initializers.Zeros(),
        latent_initializer=optim.initializers.Normal(mu=0.0, sigma=0.1, seed=73),
        l2_bias=0.0,
        l2_latent=0.0,
    )


def baselines(items: int) -> dict[str, Callable[[], Asked]]:
    """All of them by name, for so many items; item-kNN where its pairs fit."""
    found: dict[str, Callable[[], Asked]] = {
        "online popularity": lambda: Popularity(items),
        "recent popularity, half-life 7 d": lambda: Popularity(items, HALF_LIVES_US.index(WEEK_US)),
        "recent popularity, last 5,000": lambda: LastPopular(items, 5_000),
        "BiasedMF (River), by rating": lambda: RiverFactors(items),
    }
    if items <= KNN_ITEMS_LIMIT:
        found["item-kNN, cosine"] = lambda: ItemKnn(items)
    return found
