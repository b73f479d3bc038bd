"""From candidates to a slate: features, ranking, the slate policy, and reasons in words. Nothing here asks Redis."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from features.recommendation import Visit as Asked
from models.cross_features import put_cross_features
from models.exploration import seed_of
from models.ranker import Ranked, Ranker
from models.recommender import Recommender
from models.slate import Contenders, Exposures, Place
from scoring.because import SOURCE_NAMES, Why, behind, in_words
from scoring.deciding import Stages
from scoring.found import Found
from scoring.item_table import ItemTable
from scoring.ranked_features import ITEM_NAMES, NAMES, VISITOR_NAMES
from scoring.recommend_bodies import RecommendRequest
from scoring.recommender_feed import RecommenderFeed
from scoring.slate_file import SlatePolicy
from scoring.slate_rules import SlateItem
from stream.packed_vector import packed_rows
from stream.records import Shown

LEAST_WAIT_MS = 1.0
STATE_SHARE = 0.3
"""Of what is left of the deadline: how long the state may be waited for."""
US_PER_DAY = 86_400 * 1_000_000
OF_ITEM, OF_BOTH = len(VISITOR_NAMES), len(VISITOR_NAMES) + len(ITEM_NAMES)
"""Where in a row the item's features begin, and what the visitor and the item have to do with each other."""

_BLEND = Ranker(None, VISITOR_NAMES, ITEM_NAMES)
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Making:
    """One slate on its way: who asks for what until when, and what was missing so far."""

    request: RecommendRequest
    asked: Asked
    slate_id: str
    ends_s: float
    stages: Stages
    degraded: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    unread: int | None = None
    """How many slates of the log nobody has taken yet; None where Redis did not say."""

    @property
    def left_ms(self) -> float:
        """What is left of the deadline."""
        return max(LEAST_WAIT_MS, (self.ends_s - time.perf_counter()) * 1000)


class SlateMaker:
    """Makes the places of a slate. A ranker, rules or reasons that fail are left out, and named in `degraded`."""

    def __init__(
        self, feed: RecommenderFeed, table: ItemTable, ranker: Callable[[], Ranker], policy: SlatePolicy
    ) -> None:
        self.feed = feed
        self.table = table
        self.ranker = ranker
        self.policy = policy

    def places_of(self, making: Making) -> int:
        """How many places are wanted."""
        return making.request.k or self.policy.settings(making.asked.scenario).k

    def shown(self, making: Making, found: Found, vector: NDArray[np.float32], recommender: Recommender) -> list[Shown]:
        """The places of the slate in order; `vector` is the visitor's. The state, `recommender`, need not be held."""
        items = found.candidates.items
        if not len(items):
            return []
        rows, sources = self._rows(found, vector)
        making.stages.mark("features")
        ranked = self._rank(making, found, rows)
        making.stages.mark("rank")
        places = self._places(making, found, ranked, sources)
        making.stages.mark("slate")
        vectors = packed_rows(rows[[place.at for place in places], OF_ITEM:])
        reasons = self._reasons(making, found, places, recommender)
        ids = found.index.ids
        shown = [
            Shown(
                item_id=ids[place.item],
                score=place.score,
                source=SOURCE_NAMES[place.source],
                reason=reason,
                propensity=place.propensity,
                explored=place.explored,
                vector=own,
            )
            for place, reason, own in zip(places, reasons, vectors, strict=True)
        ]
        making.stages.mark("reasons")
        return shown

    def _rows(self, found: Found, vector: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
        """What the ranker is asked of each candidate, and is logged; and which source lifted it (`NEW`: none)."""
        items = found.candidates.items
        rows = np.empty((len(items), len(NAMES)), dtype=np.float32)
        rows[:, :OF_ITEM] = vector
        self.table.put_rows(items, rows[:, OF_ITEM:OF_BOTH])
        scores, blend = found.candidates.scores, found.candidates.blend
        sources = put_cross_features(scores, blend, found.facts, found.recents, found.visit.at_us, rows[:, OF_BOTH:])
        return rows, sources

    def _rank(self, making: Making, found: Found, rows: NDArray[np.float32]) -> Ranked:
        ranker, blend = self.ranker(), found.candidates.blend
        try:
            ranked = ranker.rank(rows, blend)
        except Exception:  # whatever a model raises, the blend ranks
            ranked = _BLEND.rank(rows, blend)
        if ranked.version != ranker.version:
            making.degraded.append("ranker")
        making.versions["ranker"] = ranked.version
        return ranked

    def _places(self, making: Making, found: Found, ranked: Ranked, sources: NDArray[np.int8]) -> list[Place]:
        facts, index = found.facts, found.index
        contenders = Contenders(
            found.candidates.items,
            ranked.scores,
            sources,
            facts.categories,
            np.zeros(len(sources), dtype=np.bool_),
            facts.vectors,
        )
        exposures = Exposures(facts.impressions, facts.clicks, seed_of(making.slate_id), facts.popularity)

        def as_items() -> list[SlateItem]:
            return slate_items(found, contenders)

        try:
            composed = self.policy.compose(contenders, as_items, making.request.k, making.asked.scenario, exposures)
        except Exception:  # a slate by score alone is better than none
            _log.exception("recommending: a slate of %d candidates could not be composed", len(index.ids))
            making.degraded.append("rules")
            return _by_score(contenders, self.places_of(making))
        if composed.broken:
            making.degraded.append("rules")
        return composed.places

    def _reasons(self, making: Making, found: Found, places: list[Place], recommender: Recommender) -> list[str]:
        chosen = [(place.item, place.source) for place in places]
        try:
            whys = behind(recommender, found.visit, chosen)
        except Exception:  # an answer without whose item it was is better than none
            making.degraded.append("reasons")
            whys = [Why(item, source) for item, source in chosen]
        is_stranger = not len(found.visit.items)
        return [in_words(why, found.index, is_stranger, making.request.context.category) for why in whys]


def slate_items(found: Found, contenders: Contenders) -> list[SlateItem]:
    """The candidates as rules see them, in their order."""
    index, at_us = found.index, found.visit.at_us
    numbers, first_us, prices = contenders.items.tolist(), found.facts.first_us.tolist(), found.facts.prices.tolist()
    items = []
    for place, (number, score, source) in enumerate(
        zip(numbers, contenders.scores.tolist(), contenders.sources.tolist(), strict=True)
    ):
        said = index.facts(number)
        category, title = (None, None) if said is None else (said.category, said.title)
        age_days = (at_us - first_us[place]) / US_PER_DAY if first_us[place] > 0 else float("nan")
        items.append(
            SlateItem(index.ids[number], category, title, prices[place], age_days, score, SOURCE_NAMES[source])
        )
    return items


def _by_score(contenders: Contenders, k: int) -> list[Place]:
    usable = np.flatnonzero(~contenders.barred & np.isfinite(contenders.scores))
    best = usable[np.argsort(-contenders.scores[usable], kind="stable")[:k]]
    items, scores, sources = (column[best].tolist() for column in contenders[:3])
    columns = zip(items, scores, sources, best.tolist(), strict=True)
    return [Place(item, score, source, at=at) for item, score, source, at in columns]
