"""Whose shopping is played: made-up shoppers, or people of MovieLens. One shape for both.

A shop has its own time, in which its history ends when it `opens`. Whoever plays it says that as many microseconds
later as have passed since is now.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from stream.records import Action, Item
from stream.shoppers import CHANGE_EVERY, ShopWorld

HISTORY_DAYS = 14
ITEMS, SHOPPERS = 1_500, 1_000


class Visit(Protocol):
    """Somebody who looks around and reacts to slates, until it is over."""

    @property
    def user_id(self) -> str | None:
        """None where nobody is signed in."""

    @property
    def session_id(self) -> str:
        """Of this visit alone."""

    @property
    def over(self) -> bool:
        """Whether the visitor has left."""

    def click_probability(self, item_id: str, place: int, at: datetime) -> float:
        """What the world knows and the service does not: how likely a click is at that place, from 1."""

    def browse(self, at: datetime) -> list[Action]:
        """What the visitor does unasked, often nothing."""

    def react(self, item_ids: Sequence[str], at: datetime, slate_id: str | None = None) -> list[Action]:
        """What the visitor does with a slate: actions on its items, the first on each being the click."""


class Shop(Protocol):
    """A catalogue, a history and visitors. Thread safe but for its visits, each of which is one thread's."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def opens(self) -> datetime:
        """When history ends."""

    def catalogue(self) -> Iterator[Item]:
        """What there is when it opens."""

    def history(self) -> Iterator[Action]:
        """What was done before it opened, in time order."""

    def changes(self, since: datetime, until: datetime) -> list[Item]:
        """What appears and goes in `(since, until]`, in time order."""

    def arrivals(self) -> Iterator[int]:
        """Who comes, one after another; may end."""

    def visit(self, shopper: int, at: datetime) -> Visit:
        """A visit that begins then."""


class MadeUpShop:
    """`ShopWorld` with a history of two weeks."""

    def __init__(
        self,
        seed: int,
        *,
        items: int = ITEMS,
        shoppers: int = SHOPPERS,
        days: int = HISTORY_DAYS,
        change_every: timedelta = CHANGE_EVERY,
    ) -> None:
        self._world = ShopWorld(seed, items, shoppers, change_every=change_every)
        self._days = days
        self.name = f"a made-up shop of {items:,} items and {shoppers:,} shoppers"
        self.opens = self._world.opens
        self.catalogue = self._world.catalogue
        self.changes = self._world.changes
        self.arrivals = self._world.arrivals
        self.visit = self._world.visit

    def history(self) -> Iterator[Action]:
        """See `ShopWorld.history`."""
        return self._world.history(self._days)
