"""A made-up shop: a catalogue that changes, shoppers with a history worth learning from, visits that react to slates.

What a shopper does with an item at a moment follows from one number, its utility: how well the item serves what the
visit is about (3.0 for the line looked for, 0.6 of it for the line that goes with it, 0.45 for the rest of its
category), the shopper's taste (1.5 times a cosine), the item's appeal to everybody (its quality, novelty that halves in
five days, fads of some days, seasons of weeks) and the price against the shopper's budget (0.7 for each e-fold).

- An item at place p of a slate is clicked with the probability `1 / (1 + 0.15 (p - 1)) * sigmoid(utility - 4.5)`:
  `ShopVisit.click_probability`, the known answer that estimates are held against.
- After a look it is put into the cart with `0.35 * sigmoid(utility - 4)`, and half of the carts are bought.
- Without slates a shopper looks at items of the category in mind, by the exponent of their utility, and in 15 of 100
  looks at what is popular.
- After each look, with a probability of 0.15, the visit turns to another line: of the same category (3 of 5), or the
  one that goes with it. One visit in ten is anonymous: its actions have a session and no user.

These figures were set for being plausible, before any recommender was measured on them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np

from stream.records import Action, Item, from_micros, micros
from stream.shoppers_days import Days
from stream.shoppers_visit import ShopVisit
from stream.shoppers_will import Will
from stream.shoppers_world import DAY_US, LINE_COUNT, NEVER_US, People, Shelves

OPENS = datetime(2026, 6, 1, tzinfo=UTC)
VISITS_A_DAY = 0.3
CHANGE_EVERY = timedelta(seconds=2)
HISTORY_STREAM, ARRIVALS_STREAM = 1, 3


class ShopWorld:
    """The same shop for the same arguments.

    Parameters
    ----------
    seed
        Names the world.
    items, shoppers
        How many there ever are; 3% of the items appear after `opens`.
    opens
        The moment at which history ends and live visits begin, with a zone.
    change_every
        After `opens`: how often an item appears, and another goes.

    The trap: deterministic for one version of numpy's generators. A world knows no past: whether a shopper has seen an
    item before does not change what is done with it, except within one visit, where nothing is clicked twice.
    """

    def __init__(
        self,
        seed: int,
        items: int = 2_000,
        shoppers: int = 2_000,
        *,
        opens: datetime = OPENS,
        change_every: timedelta = CHANGE_EVERY,
    ) -> None:
        if seed < 0 or items < LINE_COUNT or shoppers < 1 or opens.tzinfo is None:
            raise ValueError(
                f"seed {seed}, items {items}, shoppers {shoppers}, opens {opens.isoformat()}: give a seed from 0, "
                f"at least {LINE_COUNT} items and 1 shopper, and a moment with a zone"
            )
        self.seed = seed
        self.opens = opens
        self.opens_us = micros(opens)
        rng = np.random.default_rng([seed, 0])
        self.shelves = Shelves(rng, items, opens, change_every)
        self.people = People(rng, shoppers, self.shelves, VISITS_A_DAY)
        self._will = Will(self.shelves, self.people)
        self._days = Days(self._will)

    def catalogue(self) -> Iterator[Item]:
        """The items that there are when history ends, oldest first."""
        numbers = np.flatnonzero(self.shelves.there(self.opens_us))
        for number in numbers[np.argsort(self.shelves.released_us[numbers], kind="stable")].tolist():
            yield self.shelves.record(number)

    def changes(self, since: datetime, until: datetime) -> list[Item]:
        """What appears and what goes in `(since, until]`, in time order."""
        first_us, last_us = micros(since), micros(until)
        found = []
        for moments, deleted in ((self.shelves.released_us, False), (self.shelves.withdrawn_us, True)):
            numbers = np.flatnonzero((first_us < moments) & (moments <= last_us) & (moments < NEVER_US)).tolist()
            found += [self.shelves.record(number, deleted=deleted) for number in numbers]
        return sorted(found, key=lambda item: (item.event_timestamp, item.event_id))

    def history(self, days: int) -> Iterator[Action]:
        """What shoppers did in the days before `opens`, in time order; a longer history ends like a shorter one."""
        under_way: list[Action] = []
        for day in range(days + 1, 0, -1):  # One more: visits under way when the first day begins.
            start_us = self.opens_us - day * DAY_US
            rng = np.random.default_rng([self.seed, HISTORY_STREAM, day])
            under_way += self._days.day(rng, start_us, f"shop-{self.seed}-{start_us // 1_000_000}")
            under_way.sort(key=_moment)
            ended = bisect_left(under_way, from_micros(start_us + DAY_US), key=lambda action: action.event_timestamp)
            if day <= days:
                first = bisect_left(under_way, from_micros(start_us), key=lambda action: action.event_timestamp)
                yield from under_way[first:ended]
            under_way = under_way[ended:]

    def arrivals(self) -> Iterator[int]:
        """Who comes next, without end; each as often as such a shopper does."""
        rng = np.random.default_rng([self.seed, ARRIVALS_STREAM])
        shares = self.people.visits_a_day / self.people.visits_a_day.sum()
        while True:
            yield from rng.choice(len(self.people), 256, p=shares).tolist()

    def visit(self, shopper: int, at: datetime) -> ShopVisit:
        """A visit that begins then; the same one for the same shopper and moment."""
        return ShopVisit(self._will, self.seed, shopper, micros(at))

    def click_probability(self, shopper: int, item_id: str, place: int, at: datetime) -> float:
        """That of the first slate of the visit that begins then, places counted from 1."""
        return self.visit(shopper, at).click_probability(item_id, place, at)


def _moment(action: Action) -> tuple[datetime, str]:
    return action.event_timestamp, action.event_id
