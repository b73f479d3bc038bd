"""One visit to the shop as it goes on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from stream.records import Action, micros
from stream.shoppers_will import ANONYMOUS_SHARE, CLICK_OFFSET, PLACE_FATIGUE, Names, Will, drawn, sigmoid
from stream.shoppers_world import LINES_EACH, Floats, Ints

SLATES_MEAN, SLATES_LIMIT, BROWSE_SHARE = 4.0, 20, 0.4
VISIT_STREAM = 2
"""Of the seeds: each part of a world draws from its own generators."""


class ShopVisit:
    """One visit as it goes on: it browses, reacts to slates, turns to other things, and ends.

    `user_id` is None where the visit is anonymous. `over` once the shopper has seen enough slates. Not for two threads.
    """

    def __init__(self, will: Will, seed: int, shopper: int, at_us: int) -> None:
        self._will = will
        self._shelves = will.shelves
        self._rng = np.random.default_rng([seed, VISIT_STREAM, shopper, at_us])
        self._shopper = np.array([shopper])
        self._taste = will.people.taste(at_us)
        wants = will.people.wants(self._shopper, at_us, will.shelves)
        self._intent: Ints = drawn(wants, self._rng)
        self._slates_left = min(int(self._rng.geometric(1.0 / SLATES_MEAN)), SLATES_LIMIT)
        self._looked: set[int] = set()
        self._actions = 0
        self.user_id = None if self._rng.random() < ANONYMOUS_SHARE else f"shopper-{shopper}"
        self.session_id = f"v-{shopper}-{at_us}"

    @property
    def over(self) -> bool:
        """Whether the shopper has left."""
        return self._slates_left <= 0

    def click_probability(self, item_id: str, place: int, at: datetime) -> float:
        """That the shopper, with what the visit is about now, clicks the item at that place (from 1) of a slate."""
        number = self._shelves.number_of(item_id)
        if number < 0 or number in self._looked:
            return 0.0
        utility = self._utilities(np.array([number]), micros(at))[0]
        return float(sigmoid(utility - CLICK_OFFSET)) / (1.0 + PLACE_FATIGUE * (place - 1))

    def browse(self, at: datetime) -> list[Action]:
        """What the shopper looks at without being shown a slate: often nothing, at first always something."""
        if self._actions and self._rng.random() >= BROWSE_SHARE:
            return []
        at_us = micros(at)
        shown = self._shelves.members[int(self._intent[0]) // LINES_EACH]
        shown = shown[self._shelves.there(at_us)[shown]]
        shown = shown[~np.isin(shown, list(self._looked))]
        if not len(shown):
            return []
        liked = self._utilities(shown, at_us)
        chosen = int(drawn(np.exp(liked - liked.max())[None, :], self._rng)[0])
        found = self._look("view", int(shown[chosen]), float(liked[chosen]), at_us, None)
        self._turn()
        return found

    def react(self, item_ids: Sequence[str], at: datetime, slate_id: str | None = None) -> list[Action]:
        """What the shopper does with a slate, in the order of its places: clicks, and what follows from them."""
        found: list[Action] = []
        for place, item_id in enumerate(item_ids, 1):
            if self._rng.random() < self.click_probability(item_id, place, at):
                number = self._shelves.number_of(item_id)
                at_us = micros(at) + len(found) * 1_000
                utility = self._utilities(np.array([number]), at_us)[0]
                found += self._look("click", number, float(utility), at_us, slate_id)
        self._slates_left -= 1
        self._turn()
        return found

    def _look(self, kind: str, number: int, utility: float, at_us: int, slate_id: str | None) -> list[Action]:
        self._looked.add(number)
        self._actions += 1
        in_cart, bought = self._will.follows(np.array([utility]), self._rng)
        name = Names(f"{self.session_id}-{self._actions}", self.session_id, slate_id, step_us=1_000)
        return self._will.actions_on(number, kind, name, self.user_id or "", at_us, bool(in_cart[0]), bool(bought[0]))

    def _turn(self) -> None:
        self._intent = self._will.turned(self._intent, self._rng)

    def _utilities(self, items: Ints, at_us: int) -> Floats:
        appeal = self._shelves.appeal(at_us)[items]
        found: Floats = self._will.utilities(self._shopper, self._intent, items, self._taste, appeal)[0]
        return found
