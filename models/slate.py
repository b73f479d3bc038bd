"""From scored candidates to a slate: ranked places that do not repeat themselves, and one or two that explore.

1. What is barred (seen, hidden, excluded, hidden by a rule) and what has no finite score is left out, for all places.
2. The ranked places are filled one by one, each with the candidate of the best marginal relevance: its score, brought
   to [0, 1], against its likeness to what was chosen before. A category that has reached its cap waits; where nothing
   else is left the cap gives way, since an empty place helps nobody.
3. The places that explore are filled last, from the candidates that are left: half of the arms are those with the best
   scores, half those of which least is known: so a new item gets its chance. The cap holds for them as above.

Fewer candidates than places: all of them, in order, and nothing explored, since all are shown anyway.

Source: J. Carbonell and J. Goldstein, "The use of MMR, diversity-based reranking", 1998.
"""

from __future__ import annotations

from itertools import repeat
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from models.exploration import LARGEST_SEED, ExplorationSettings, unit_of
from models.slate_kernel import compose_places

Floats = NDArray[np.float64]
K_LIMIT = 100
NO_VECTORS = np.zeros((0, 0), dtype=np.float32)
_NOBODY = np.zeros(0)


class SlateSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The shape of a slate.

    `k` places where the request names no number, and at most `k_limit`. At most `category_cap` items of one category
    (0: any number); items without a category are not counted. `mmr_lambda` is what the score counts, the rest is
    likeness to the items before: 1 ranks by score alone.
    """

    k: Annotated[int, Meta(ge=1, le=K_LIMIT)] = 10
    k_limit: Annotated[int, Meta(ge=1, le=K_LIMIT)] = K_LIMIT
    category_cap: Annotated[int, Meta(ge=0, le=K_LIMIT)] = 0
    mmr_lambda: Annotated[float, Meta(gt=0.0, le=1.0)] = 1.0
    exploration: ExplorationSettings = ExplorationSettings()

    def __post_init__(self) -> None:
        if self.k > self.k_limit:
            raise ValueError(f"k has {self.k}, above k_limit {self.k_limit}: lower k, or raise k_limit")


class Place(NamedTuple):
    """One place of a slate: the item's number, the score it was placed by, and the source that lifted it most.

    `propensity` is 1 for a ranked place. For one that explores it is the probability with which this of the `arms`
    was drawn, given the places that explored before it: what an off-policy estimate needs, with the arms. `at` is the
    item's place among the candidates.
    """

    item: int
    score: float
    source: int
    explored: bool = False
    propensity: float = 1.0
    arms: tuple[int, ...] = ()
    at: int = -1


class Contenders(NamedTuple):
    """Candidates as columns, n of each: numbers int32, scores float64, sources of `SOURCES` int8, category codes int32.

    A category of -1 is unknown. `barred` ones can enter no place. `vectors`, float32[n, d], have length 1 (0 where
    unknown) and say how alike two items are; without any, items of one category are alike and others are not.
    """

    items: NDArray[np.int32]
    scores: Floats
    sources: NDArray[np.int8]
    categories: NDArray[np.int32]
    barred: NDArray[np.bool_]
    vectors: NDArray[np.float32] = NO_VECTORS


class Exposures(NamedTuple):
    """How often each candidate was shown and clicked, n of each, and the slate's own seed (`seed_of` its id).

    Counts of places that explored compare more fairly than all: there, an item's place says nothing of its worth.
    `interactions`, as many, are what else is known of each, in slates and elsewhere: together with the impressions
    they say of which least is known. Empty: nothing else.
    """

    impressions: NDArray[np.floating]
    clicks: NDArray[np.floating]
    seed: int
    interactions: NDArray[np.floating] = _NOBODY


_UNEXPOSED = Exposures(_NOBODY, _NOBODY, 0)


def compose(candidates: Contenders, k: int, settings: SlateSettings, exposures: Exposures | None = None) -> list[Place]:
    """The slate: at most `k` places, and at most `settings.k_limit`; no item twice. No exposures, no exploration.

    The same arguments give the same slate. `k` of 0 or below, and no candidates, give none.
    """
    n = len(candidates.items)
    k = min(k, settings.k_limit)
    if n == 0 or k <= 0:
        return []
    if len(candidates.vectors) not in (0, n):
        raise ValueError(f"there are {len(candidates.vectors)} vectors for {n} candidates; give one for each, or none")
    if exposures and {len(exposures.impressions), len(exposures.clicks), len(exposures.interactions) or n} != {n}:
        raise ValueError(f"the exposures are not those of {n} candidates; give one of each kind for each")
    exploration = settings.exploration
    exploring = sorted([place for place in exploration.places if place <= k]) if exposures else []
    shown, clicks, seed, interactions = exposures or _UNEXPOSED
    at_, items_, scores_, sources_, propensities, drawn_from, sizes = compose_places(
        np.ascontiguousarray(candidates.items, dtype=np.int32),
        np.ascontiguousarray(candidates.scores, dtype=np.float64),
        np.ascontiguousarray(candidates.sources, dtype=np.int8),
        np.ascontiguousarray(candidates.categories, dtype=np.int32),
        np.ascontiguousarray(candidates.vectors, dtype=np.float32),
        np.ascontiguousarray(candidates.barred, dtype=np.bool_),
        np.ascontiguousarray(shown, dtype=np.float64),
        np.ascontiguousarray(clicks, dtype=np.float64),
        np.ascontiguousarray(interactions, dtype=np.float64),
        seed & LARGEST_SEED,
        settings.category_cap,
        settings.mmr_lambda,
        k,
        np.array(exploring, dtype=np.int32),
        np.array([unit_of(seed, step) for step in range(len(exploring))]),
        (exploration.arms, exploration.draws, exploration.floor, exploration.prior_clicks, exploration.prior_misses),
    )
    at, items, scores, sources = at_.tolist(), items_.tolist(), scores_.tolist(), sources_.tolist()
    places = list(map(Place, items, scores, sources, repeat(False), repeat(1.0), repeat(()), at))
    # Fewer than wanted explore, or none, where there are no more candidates than places.
    for number, arms, size in zip(exploring, drawn_from.tolist(), sizes.tolist(), strict=False):
        i = number - 1
        propensity = float(propensities[i])
        places[i] = Place(items[i], scores[i], sources[i], True, propensity, tuple(arms[:size]), at[i])
    return places
