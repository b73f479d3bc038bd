"""What the state of recommending has for a visitor at this moment: candidates, and what is known of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from features.feature_set import ViewRead
from features.recommendation import Visit as Asked
from models.candidate_facts import facts_of, recents_of
from models.candidates import CANDIDATES_LIMIT, Candidates, no_candidates
from models.cross_features import CandidateFacts, Recents
from models.item_index import ItemIndex
from models.recommender import Recommender
from models.visit import Visit
from scoring.recommend_bodies import RecommendRequest
from scoring.visitor import NO_ITEMS, ItemNumbers, visit_of
from stream.records import micros

NEWCOMERS = 8
"""The newest items of the catalogue that are candidates for everybody: else nobody would ever see them."""
LOOKED_AT = 16
"""How many items are looked at for each newcomer that is wanted."""


@dataclass(frozen=True)
class Found:
    """Taken while the state was held: nothing here changes any more, but for what is asked of `index` by number."""

    index: ItemIndex
    visit: Visit
    candidates: Candidates
    facts: CandidateFacts
    recents: Recents

    def without(self, gone: Set[str]) -> Found:
        """The same without the candidates of these ids."""
        ids = self.index.ids
        kept = np.array([ids[number] not in gone for number in self.candidates.items.tolist()], dtype=np.bool_)
        if kept.all():
            return self
        c, f = self.candidates, self.facts
        candidates = Candidates(c.items[kept], c.scores[kept], c.blend[kept])
        return replace(self, candidates=candidates, facts=_rows_of(f, kept))


def _rows_of(facts: CandidateFacts, kept: NDArray[np.bool_]) -> CandidateFacts:
    columns = {name: column[kept] for name, column in facts._asdict().items() if len(column) == len(kept)}
    return facts._replace(**columns)


def find(
    recommender: Recommender,
    numbers: ItemNumbers,
    request: RecommendRequest,
    asked: Asked,
    reads: Mapping[str, ViewRead],
    k: int,
    gone: Iterable[str] = (),
) -> Found:
    """Candidates for who asks; more of them than `k`, where there are. Only while the state is held.

    `gone` are items deleted so lately that the state may not know it.
    """
    index, context, at_us = recommender.index, request.context, micros(asked.event_timestamp)
    here = -1 if context.item_id is None else index.number_of(context.item_id)
    barred = [index.number_of(item) for item in (*request.exclude, *gone)]
    if here >= 0:
        barred.append(here)
    visit = visit_of(
        asked,
        reads,
        numbers,
        recommender.visit(asked.user_id, at_us),
        here,
        np.array(barred, dtype=np.int32) if barred else NO_ITEMS,
        index.code_of(context.category),
    )
    if context.category is not None and visit.category < 0:
        candidates = no_candidates()  # a category that no item ever had
    else:
        candidates = recommender.candidates(visit, max(CANDIDATES_LIMIT, 2 * k))
        candidates = with_newcomers(candidates, visit, index, max(NEWCOMERS, k - len(candidates.items)))
    return Found(
        index, visit, candidates, facts_of(recommender, candidates.items, at_us), recents_of(recommender, visit)
    )


def with_newcomers(candidates: Candidates, visit: Visit, index: ItemIndex, count: int) -> Candidates:
    """The candidates, and then the newest of the catalogue's items that are not among them nor barred.

    No source says anything of them: exploration may find out, and where there is nothing else, they are the answer.
    """
    return Candidates(*index.with_newest(candidates, count, LOOKED_AT * count, visit))
