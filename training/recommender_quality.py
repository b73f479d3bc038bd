"""How good recommending is, as the sequence tells it: what was clicked of what was shown, and what was foreseen.

In memory alone and from the learner's start on: nothing that is served depends on it.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from models.interaction import weight_of
from scoring.recommender_report import Clicks, RecommenderReport
from scoring.sequenced import Applied, RecommenderState, topic_of
from stream.invalid_record import InvalidRecord
from stream.records import Action, Slate, decode, micros
from stream.sequence import Sequenced

SLATES_LIMIT = 20_000
"""Slates whose clicks are waited for."""
LOOKED_AT = 16
"""Of so many entries one is looked at beforehand: asking for candidates costs more than learning."""
WINDOW = 2_000
FORESEEN = 10
GROUPS_LIMIT = 64
"""Scenarios that are told apart; clients name them."""
OTHERS = "(others)"


class _Place(NamedTuple):
    source: str
    place: str
    scenario: str


class RecommenderQuality:
    """Give it each entry before and after it is applied."""

    def __init__(self) -> None:
        self.by_source: dict[str, Clicks] = {}
        self.by_place: dict[str, Clicks] = {}
        self.by_scenario: dict[str, Clicks] = {}
        self.hits: deque[bool] = deque(maxlen=WINDOW)
        self._slates: dict[str, dict[str, _Place]] = {}

    @property
    def hit_rate(self) -> float | None:
        """The share of the last interactions looked at that were foreseen."""
        return sum(self.hits) / len(self.hits) if self.hits else None

    def before(self, state: RecommenderState, entry: Sequenced) -> None:
        """Would this item have been proposed? Asked of known visitors and items that they have not seen."""
        if entry.number % LOOKED_AT or topic_of(entry.source) != Action.topic:
            return
        action = _action(entry)
        if action is None or action.item_id is None or weight_of(action.action, action.value) <= 0.0:
            return
        number = state.recommender.index.number_of(action.item_id)
        visit = state.recommender.visit(action.user_id, micros(action.event_timestamp))
        if number < 0 or not len(visit.items) or number in visit.seen:
            return
        self.hits.append(number in state.recommender.candidates(visit, FORESEEN).items)

    def after(self, entry: Sequenced, applied: Applied) -> None:
        """Count what was shown and what was acted on, each item of a slate once."""
        if applied.effect == "shown":
            self._shown(decode(entry.payload, Slate))
        elif applied.effect == "learned" and b'"slate_id"' in entry.payload:
            self._acted(decode(entry.payload, Action))

    def _shown(self, slate: Slate) -> None:
        while len(self._slates) >= SLATES_LIMIT:
            self._slates.pop(next(iter(self._slates)))
        scenario = slate.scenario
        if scenario not in self.by_scenario and len(self.by_scenario) >= GROUPS_LIMIT:
            scenario = OTHERS
        places = self._slates[slate.event_id] = {}
        for number, one in enumerate(slate.items, 1):
            place = _Place("explored" if one.explored else one.source, f"{number:02}", scenario)
            places[one.item_id] = place
            for clicks in self._groups(place):
                clicks.shown += 1

    def _acted(self, action: Action) -> None:
        if weight_of(action.action, action.value) <= 0.0:
            return
        place = self._slates.get(action.slate_id or "", {}).pop(action.item_id or "", None)
        if place is not None:
            for clicks in self._groups(place):
                clicks.clicked += 1

    def _groups(self, place: _Place) -> tuple[Clicks, Clicks, Clicks]:
        return (
            self.by_source.setdefault(place.source, Clicks()),
            self.by_place.setdefault(place.place, Clicks()),
            self.by_scenario.setdefault(place.scenario, Clicks()),
        )


def report_of(
    state: RecommenderState, quality: RecommenderQuality, behind: int, saved: int, saved_bytes: int, problem: str
) -> RecommenderReport:
    """What there is to tell."""
    return RecommenderReport(
        number=state.number,
        behind=behind,
        items=len(state.recommender.index),
        visitors=len(state.recommender.visitors),
        entries={name: getattr(state.counts, name) for name in state.counts.__struct_fields__},
        adopted=state.adopted,
        saved=saved,
        saved_bytes=saved_bytes,
        problem=problem,
        hit_rate=quality.hit_rate,
        hits_over=len(quality.hits),
        by_source=quality.by_source,
        by_place=quality.by_place,
        by_scenario=quality.by_scenario,
    )


def _action(entry: Sequenced) -> Action | None:
    try:
        return decode(entry.payload, Action)
    except InvalidRecord:
        return None
