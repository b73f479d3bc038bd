"""The items and people of the shoppers' shop: what there is when, what is popular when, and who likes what."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from stream.records import Item, from_micros, micros
from stream.shoppers_words import BRANDS, COLOURS, LINES, QUALITIES

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
NEVER_US = np.iinfo(np.int64).max
CATEGORY_NAMES = tuple(LINES)
LINES_EACH = 4
LINE_COUNT = len(LINES) * LINES_EACH
DIMENSIONS = 6
YOUNG_DAYS = 60
"""How far before the opening items appear and go; what is older was always there."""
RELEASED_SHARE, WITHDRAWN_SHARE, UPCOMING_SHARE = 0.25, 0.06, 0.03
NOVELTY, NOVELTY_DAYS = 0.8, 7.0
FAD_SHARE, FAD_DAYS, FAD_HEIGHT = 0.15, 2.5, 2.0  # the height is the highest
SEASON, TASTE_PERIOD_DAYS = 0.4, 240.0
INTENT_SHARPNESS = 4.0
SAME_LINE, COMPLEMENT, SAME_CATEGORY = 1.0, 0.6, 0.45


class Shelves:
    """Every item there was, is or will be. Arrays by item; `released_us <= t < withdrawn_us` is when it can be had.

    A quarter of the items appeared in the 60 days before `opens`, a few go in that time. The last 3% appear after it,
    one every `change_every`, and as often one of the others goes.
    """

    def __init__(self, rng: np.random.Generator, items: int, opens: datetime, change_every: timedelta) -> None:
        opens_us, every_us = micros(opens), change_every // timedelta(microseconds=1)
        centres = np.repeat(rng.normal(0.0, 1.0, (len(LINES), DIMENSIONS)), LINES_EACH, axis=0)
        self.line_vectors = _unit(centres + rng.normal(0.0, 0.6, centres.shape))
        self.complement: Ints = (
            np.arange(LINE_COUNT) + LINES_EACH * rng.integers(1, len(LINES), LINE_COUNT)
        ) % LINE_COUNT
        self.line: Ints = rng.choice(LINE_COUNT, items, p=rng.dirichlet(np.full(LINE_COUNT, 4.0)))
        self.vectors = _unit(self.line_vectors[self.line] + rng.normal(0.0, 0.25, (items, DIMENSIONS)))
        self.relative_price: Floats = rng.normal(0.0, 0.4, items)
        self.price: Floats = np.exp(rng.normal(3.3, 0.8, LINE_COUNT)[self.line] + self.relative_price).round(2)
        self._quality: Floats = rng.normal(0.0, 0.7, items)
        self._season: Floats = rng.random((2, LINE_COUNT))
        self._fad_at_us: Ints = opens_us - (rng.random(items) * YOUNG_DAYS * DAY_US).astype(np.int64)
        self._fad: Floats = np.where(rng.random(items) < FAD_SHARE, rng.uniform(0.0, FAD_HEIGHT, items), 0.0)
        self.released_us: Ints = opens_us - ((YOUNG_DAYS + 600 * rng.random(items)) * DAY_US).astype(np.int64)
        self.withdrawn_us: Ints = np.full(items, NEVER_US, dtype=np.int64)
        self._plan(rng, opens_us, every_us)
        self._titles = self._titled(rng)
        self.match = matches(self.complement)
        self._appeal: tuple[int, Floats] = (-1, np.zeros(items))
        self.members = [np.flatnonzero(self.line // LINES_EACH == number) for number in range(len(LINES))]

    def __len__(self) -> int:
        return len(self.line)

    def _plan(self, rng: np.random.Generator, opens_us: int, every_us: int) -> None:
        count = len(self)
        upcoming = max(1, int(count * UPCOMING_SHARE))
        young = rng.permutation(count - upcoming)
        released, withdrawn, going = np.split(
            young[: int(count * (RELEASED_SHARE + WITHDRAWN_SHARE)) + upcoming],
            [int(count * RELEASED_SHARE), int(count * RELEASED_SHARE) + int(count * WITHDRAWN_SHARE)],
        )
        self.released_us[released] = opens_us - (rng.random(len(released)) * YOUNG_DAYS * DAY_US).astype(np.int64)
        self.withdrawn_us[withdrawn] = opens_us - (rng.random(len(withdrawn)) * YOUNG_DAYS * DAY_US).astype(np.int64)
        after_us = opens_us + every_us * np.arange(1, upcoming + 1)
        self.released_us[count - upcoming :] = after_us
        self.withdrawn_us[going[:upcoming]] = after_us[: len(going)] + every_us // 2

    def _titled(self, rng: np.random.Generator) -> list[tuple[str, list[str]]]:
        chosen = zip(*(rng.integers(0, len(words), len(self)) for words in (BRANDS, QUALITIES, COLOURS)), strict=True)
        nouns = [noun for line in LINES.values() for noun in line]
        found = []
        for line, (brand, quality, colour) in zip(self.line.tolist(), chosen, strict=True):
            title = f"{BRANDS[brand]} {QUALITIES[quality]} {nouns[line]}"
            found.append((title, [nouns[line].lower(), BRANDS[brand].lower(), COLOURS[colour]]))
        return found

    def item_id(self, number: int) -> str:
        """An item's id."""
        return f"item-{number}"

    def number_of(self, item_id: str) -> int:
        """An item's number, -1 for what the shop never had."""
        text = item_id.removeprefix("item-")
        number = int(text) if text.isdecimal() and item_id != text else -1
        return number if number < len(self) else -1

    def record(self, number: int, *, deleted: bool = False) -> Item:
        """What the catalogue says of an item when it appears, or that it goes."""
        at_us = int(self.withdrawn_us[number] if deleted else self.released_us[number])
        name = self.item_id(number)
        if deleted:
            return Item(event_id=f"{name}-gone", event_timestamp=from_micros(at_us), item_id=name, deleted=True)
        title, tags = self._titles[number]
        return Item(
            event_id=f"{name}-new",
            event_timestamp=from_micros(at_us),
            item_id=name,
            title=title,
            category=CATEGORY_NAMES[self.line[number] // LINES_EACH],
            tags=tags,
            price=float(self.price[number]),
        )

    def there(self, at_us: int) -> Flags:
        """By item: whether it can be had."""
        found: Flags = (self.released_us <= at_us) & (at_us < self.withdrawn_us)
        return found

    def appeal(self, at_us: int) -> Floats:
        """By item: how much everybody is drawn to it in that hour: its quality, that it is new, a fad, the season."""
        hour, kept = at_us // HOUR_US, self._appeal
        if kept[0] != hour:
            kept = self._appeal = (hour, self._appeal_in(hour * HOUR_US))
        return kept[1]

    def _appeal_in(self, at_us: int) -> Floats:
        age_days = np.maximum(at_us - self.released_us, 0) / DAY_US
        since_fad_days = (at_us - self._fad_at_us) / DAY_US
        season = SEASON * np.sin(2 * np.pi * (at_us / DAY_US / (20 + 40 * self._season[0]) + self._season[1]))
        fad = self._fad * np.exp(-0.5 * (since_fad_days / FAD_DAYS) ** 2)
        found: Floats = self._quality + NOVELTY * np.exp(-age_days / NOVELTY_DAYS) + fad + season[self.line]
        return found


def matches(complement: Ints) -> Floats:
    """[intent, line]: how well an item of a line serves who wants another, 0 to 1."""
    wanted, line = np.arange(LINE_COUNT)[:, None], np.arange(LINE_COUNT)[None, :]
    table = np.where(wanted // LINES_EACH == line // LINES_EACH, SAME_CATEGORY, 0.0)
    table = np.where(complement[:, None] == line, COMPLEMENT, table)
    found: Floats = np.where(wanted == line, SAME_LINE, table)
    return found


class People:
    """Who shops: a taste that turns slowly, a budget, and how often they come. Arrays by shopper."""

    def __init__(self, rng: np.random.Generator, shoppers: int, shelves: Shelves, visits_a_day: float) -> None:
        near = rng.integers(0, LINE_COUNT, (2, shoppers))
        self._tastes = shelves.line_vectors[near] + rng.normal(0.0, 0.2, (2, shoppers, DIMENSIONS))
        self._phase: Floats = rng.random(shoppers)
        self._taste: tuple[int, Floats] = (-1, np.zeros((shoppers, DIMENSIONS)))
        self.budget: Floats = rng.normal(0.0, 0.4, shoppers)
        activity = rng.gamma(0.8, 1.0, shoppers) + 0.02
        self.visits_a_day: Floats = activity * (visits_a_day / activity.mean())

    def __len__(self) -> int:
        return len(self.budget)

    def taste(self, at_us: int) -> Floats:
        """By shopper: a unit vector, the same for a whole day; it swings between two liked lines."""
        day, kept = at_us // DAY_US, self._taste
        if kept[0] != day:
            turn = 2 * np.pi * (day / TASTE_PERIOD_DAYS + self._phase)
            share = (0.5 + 0.5 * np.sin(turn))[:, None]
            kept = self._taste = (day, _unit(share * self._tastes[0] + (1.0 - share) * self._tastes[1]))
        return kept[1]

    def wants(self, shoppers: Ints, at_us: int, shelves: Shelves) -> Floats:
        """[shopper, line]: how likely a visit of that day is to be about a line; rows add up to 1."""
        weights = np.exp(INTENT_SHARPNESS * (self.taste(at_us)[shoppers] @ shelves.line_vectors.T))
        found: Floats = weights / weights.sum(axis=1, keepdims=True)
        return found


def _unit(vectors: Floats) -> Floats:
    found: Floats = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
    return found
