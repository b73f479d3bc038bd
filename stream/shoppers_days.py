"""Whole days of visits to the shop without recommendations, made at once."""

from __future__ import annotations

import numpy as np

from stream.records import Action
from stream.shoppers_will import ANONYMOUS_SHARE, Names, Will, drawn
from stream.shoppers_world import DAY_US, HOUR_US, LINES_EACH, Flags, Floats, Ints
from stream.simulator_world import HOUR_WEIGHTS

HOME_PAGE_SHARE, HOME_PAGE_SHARPNESS = 0.15, 1.5
LOOKS_MEAN, LOOKS_LIMIT, LOOK_GAP_S = 5.0, 30, 40.0


class Days:
    """What shoppers do by themselves."""

    def __init__(self, will: Will) -> None:
        self._will = will
        self._shelves = will.shelves

    def day(self, rng: np.random.Generator, start_us: int, prefix: str) -> list[Action]:
        """The actions of the visits that begin on the day that starts then, in no order."""
        shopper = np.repeat(np.arange(len(self._will.people)), rng.poisson(self._will.people.visits_a_day))
        count = len(shopper)
        if not count:
            return []
        hour = rng.choice(24, count, p=HOUR_WEIGHTS / HOUR_WEIGHTS.sum()) + rng.random(count)
        at_us = start_us + ((hour * HOUR_US).astype(np.int64) - start_us) % DAY_US
        intent = drawn(self._will.people.wants(shopper, start_us, self._shelves), rng)
        looks = np.minimum(rng.geometric(1.0 / LOOKS_MEAN, count), LOOKS_LIMIT)
        rows: list[tuple[Ints, Ints, Ints]] = []
        for step in range(int(looks.max())):
            going = np.flatnonzero(looks > step)
            rows.append((going, intent[going], at_us[going]))
            at_us = at_us + (rng.exponential(LOOK_GAP_S, count) * 1e6).astype(np.int64) + 1_000_000
            intent = self._will.turned(intent, rng)
        visit, wanted, when = (np.concatenate(column) for column in zip(*rows, strict=True))
        item, liked = self._looked_at(rng, shopper[visit], wanted, when, start_us)
        # Within a visit the first look at an item counts.
        _, first = np.unique(visit * len(self._shelves) + item, return_index=True)
        first = np.sort(first[item[first] >= 0])
        carted, bought = self._will.follows(liked[first], rng)
        anonymous = rng.random(count) < ANONYMOUS_SHARE
        plain = zip(
            *(each.tolist() for each in (visit[first], shopper[visit[first]], anonymous[visit[first]], item[first])),
            *(each.tolist() for each in (when[first], carted, bought)),
            strict=True,
        )
        found: list[Action] = []
        for number, who, unnamed, what, moment_us, in_cart, is_bought in plain:
            name = Names(f"{prefix}-{len(found)}", f"s-{start_us // 1_000_000}-{number}")
            user = "" if unnamed else f"shopper-{who}"
            found += self._will.actions_on(what, "view", name, user, moment_us, in_cart, is_bought)
        return found

    def _looked_at(
        self, rng: np.random.Generator, shopper: Ints, wanted: Ints, when: Ints, start_us: int
    ) -> tuple[Ints, Floats]:
        """For each look: the item, -1 where there was none to look at, and its utility."""
        first_hour = start_us // HOUR_US
        hours = when // HOUR_US - first_hour
        appeal = np.stack([self._shelves.appeal((first_hour + hour) * HOUR_US) for hour in range(int(hours.max()) + 1)])
        taste = self._will.people.taste(start_us)
        at_home = rng.random(len(when)) < HOME_PAGE_SHARE
        item = np.full(len(when), -1)
        utility = np.zeros(len(when))
        everything = np.arange(len(self._shelves))
        pages = [(np.flatnonzero(at_home), everything)]
        pages += [
            (np.flatnonzero(~at_home & (wanted // LINES_EACH == number)), members)
            for number, members in enumerate(self._shelves.members)
        ]
        for looks, shown in pages:
            if not len(looks) or not len(shown):
                continue
            liked = self._will.utilities(shopper[looks], wanted[looks], shown, taste, appeal[hours[looks]][:, shown])
            drawn_by = HOME_PAGE_SHARPNESS * appeal[hours[looks]] if shown is everything else liked
            there = self._there(shown, when[looks])
            chosen = drawn(np.exp(drawn_by - drawn_by.max(axis=1, keepdims=True)) * there, rng)
            item[looks] = np.where(there.any(axis=1), shown[chosen], -1)
            utility[looks] = liked[np.arange(len(looks)), chosen]
        return item, utility

    def _there(self, items: Ints, when: Ints) -> Flags:
        released, withdrawn = self._shelves.released_us[items], self._shelves.withdrawn_us[items]
        found: Flags = (released[None, :] <= when[:, None]) & (when[:, None] < withdrawn[None, :])
        return found
