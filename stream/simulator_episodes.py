"""The simulator's frauds that have begun and not yet ended."""

from __future__ import annotations

import numpy as np

from stream.simulator_patterns import Compromise, Episode
from stream.simulator_world import ROW, Rows, World


class EpisodesUnderWay:
    """Holds what begun episodes will still do, at most a few weeks of frauds, and hands it out day by day."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._ahead: Rows = np.zeros(0, ROW)
        self._compromises: list[Compromise] = []
        self._blocked_after: list[tuple[int, int]] = []

    def add(self, episode: Episode) -> None:
        """Take in an episode that begins."""
        self._ahead = np.concatenate([self._ahead, episode.rows])
        if episode.compromise is not None:
            self._compromises.append(episode.compromise)
        if episode.blocked_card is not None:
            self._blocked_after.append((int(episode.rows["at_us"][-1]), episode.blocked_card))

    def end_day(self, rng: np.random.Generator, until_us: int, legitimate: Rows) -> Rows:
        """All payments of the day that ends at `until_us`, in time order, frauds among them.

        1. Turn payments at compromised merchants.  2. Add the frauds that are due.  3. Block cards.
        The blocked card is replaced last: until the day has ended, its customer still pays with it.
        """
        for compromise in self._compromises:
            _turn(rng, legitimate, compromise)
        self._compromises = [each for each in self._compromises if each.until_us > until_us]
        is_due = self._ahead["at_us"] < until_us
        rows = np.concatenate([legitimate, self._ahead[is_due]])
        self._ahead = self._ahead[~is_due]
        for last_us, card in self._blocked_after:
            if last_us < until_us:
                self._world.replace_card(card)
        self._blocked_after = [each for each in self._blocked_after if each[0] >= until_us]
        by_time: Rows = rows[np.argsort(rows["at_us"], kind="stable")]
        return by_time


def _turn(rng: np.random.Generator, rows: Rows, compromise: Compromise) -> None:
    at_us = rows["at_us"]
    exposed = (rows["merchant"] == compromise.merchant) & (at_us >= compromise.from_us) & (at_us < compromise.until_us)
    turned = np.flatnonzero(exposed & ~rows["fraud"])
    turned = turned[rng.random(len(turned)) < compromise.share]
    rows["fraud"][turned] = True
    rows["amount"][turned] *= compromise.factor
