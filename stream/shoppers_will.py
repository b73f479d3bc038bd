"""What shoppers want, and what comes of it: utilities, turns of mind, looks, carts and purchases."""

from __future__ import annotations

import numpy as np

from stream.records import Action, from_micros
from stream.shoppers_world import LINES_EACH, Flags, Floats, Ints, People, Shelves

TASTE_WEIGHT, INTENT_WEIGHT, APPEAL_WEIGHT, PRICE_WEIGHT = 1.5, 3.0, 1.0, 0.7
CLICK_OFFSET, PLACE_FATIGUE = 4.5, 0.15
CART_OFFSET, CART_SHARE, PURCHASE_SHARE = 4.0, 0.35, 0.5
TURN_SHARE, TURN_WITHIN_SHARE = 0.15, 0.6
ANONYMOUS_SHARE = 0.1


class Will:
    """What people want of the items on the shelves, and what they do about it."""

    def __init__(self, shelves: Shelves, people: People) -> None:
        self.shelves = shelves
        self.people = people

    def utilities(self, shoppers: Ints, intents: Ints, items: Ints, taste: Floats, appeal: Floats) -> Floats:
        """[shopper with an intent, item]: how much each item is worth to each.

        `appeal` is by item, one row for all or one for each.
        """
        found: Floats = (
            TASTE_WEIGHT * (taste[shoppers] @ self.shelves.vectors[items].T)
            + INTENT_WEIGHT * self.shelves.match[intents][:, self.shelves.line[items]]
            + APPEAL_WEIGHT * appeal
            - PRICE_WEIGHT * np.abs(self.shelves.relative_price[items] - self.people.budget[shoppers][:, None])
        )
        return found

    def turned(self, intents: Ints, rng: np.random.Generator) -> Ints:
        """What visits are about after one more look."""
        chance, where = rng.random((2, len(intents)))
        within = intents - intents % LINES_EACH + rng.integers(0, LINES_EACH, len(intents))
        other = np.where(where < TURN_WITHIN_SHARE, within, self.shelves.complement[intents])
        found: Ints = np.where(chance < TURN_SHARE, other, intents)
        return found

    def follows(self, utility: Floats, rng: np.random.Generator) -> tuple[Flags, Flags]:
        """After looks at items of that utility: which are put into the cart, and which are bought."""
        chance = rng.random((2, len(utility)))
        in_cart: Flags = chance[0] < CART_SHARE * sigmoid(utility - CART_OFFSET)
        return in_cart, in_cart & (chance[1] < PURCHASE_SHARE)

    def actions_on(
        self, number: int, kind: str, name: Names, user_id: str, at_us: int, in_cart: bool, is_bought: bool
    ) -> list[Action]:
        """The look, and what follows from it."""
        kinds = [kind, *(["add_to_cart"] if in_cart else []), *(["purchase"] if is_bought else [])]
        price = float(self.shelves.price[number])
        return [
            Action(
                event_id=f"{name.event}-{what}",
                event_timestamp=from_micros(at_us + place * name.step_us),
                action=what,
                user_id=user_id,
                item_id=self.shelves.item_id(number),
                session_id=name.session,
                value=price if what == "purchase" else None,
                slate_id=name.slate,
            )
            for place, what in enumerate(kinds)
        ]


class Names:
    """What the actions on one item are called, which slate they answer, and how far apart they are."""

    __slots__ = ("event", "session", "slate", "step_us")

    def __init__(self, event: str, session: str, slate: str | None = None, step_us: int = 7_000_000) -> None:
        self.event = event
        self.session = session
        self.slate = slate
        self.step_us = step_us


def drawn(weights: Floats, rng: np.random.Generator) -> Ints:
    """Of each row of weights one place, by its share; a row of zeros gives its last."""
    total = np.cumsum(weights, axis=1)
    drawn = rng.random(len(weights)) * total[:, -1]
    found: Ints = np.minimum((total <= drawn[:, None]).sum(axis=1), weights.shape[1] - 1)
    return found


def sigmoid(value: Floats | float) -> Floats:
    """The logistic function."""
    found: Floats = 1.0 / (1.0 + np.exp(-np.asarray(value)))
    return found
