"""The people, cards, merchants, devices and places of the simulator, and one ordinary day among them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.void]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

DAY_US = 86_400_000_000
HOUR_US = 3_600_000_000
NO_DEVICE = -1
FAVOURITES = 15
ROW = np.dtype(
    [
        *(("at_us", "i8"), ("card", "i8"), ("customer", "i8"), ("merchant", "i8"), ("device", "i8")),
        *(("amount", "f8"), ("latitude", "f8"), ("longitude", "f8"), ("fraud", "?")),
    ]
)
# Latitude, longitude and share of the people, from London to Athens.
CITIES = np.array(
    [
        *((51.5, -0.1, 0.16), (48.9, 2.4, 0.15), (52.5, 13.4, 0.13), (40.4, -3.7, 0.11), (41.9, 12.5, 0.11)),
        *((52.2, 21.0, 0.09), (48.2, 16.4, 0.08), (55.7, 12.6, 0.07), (38.7, -9.1, 0.05), (38.0, 23.7, 0.05)),
    ]
)
HOUR_WEIGHTS = np.array([3, 2, 1, 1, 1, 2, 5, 12, 20, 24, 26, 30, 36, 32, 28, 28, 32, 40, 44, 40, 32, 24, 15, 8.0])
WEEKDAY_WEIGHTS = np.array([0.92, 0.92, 0.95, 1.0, 1.15, 1.2, 0.86])  # Monday first


def rows_of(count: int, **columns: object) -> Rows:
    """So many rows with the columns given, the others zero."""
    rows = np.zeros(count, ROW)
    for name, values in columns.items():
        rows[name] = values
    return rows


class World:
    """Who pays where, with what. It changes as people buy new phones and lose cards, so each play needs its own.

    People, merchants and places are rows of arrays; cards and devices are numbers that only grow.
    """

    def __init__(self, rng: np.random.Generator, customers: int, merchants: int) -> None:
        self.rng = rng
        city = rng.choice(len(CITIES), customers, p=CITIES[:, 2])
        self.home = CITIES[city, :2] + rng.normal(0.0, 0.08, (customers, 2))
        self.payments_per_day: Floats = rng.gamma(2.0, 1.0, customers) + 0.05
        self.log_amount: Floats = rng.normal(3.2, 0.6, customers)
        self.log_spread: Floats = rng.uniform(0.4, 0.9, customers)
        self.hour_shift: Floats = rng.normal(0.0, 1.8, customers)
        self.cards: Ints = np.arange(2 * customers).reshape(customers, 2)
        self.devices: Ints = np.arange(2 * customers).reshape(customers, 2)
        self._next_card = self._next_device = 2 * customers

        merchant_city = rng.choice(len(CITIES), merchants, p=CITIES[:, 2])
        self.online: Flags = rng.random(merchants) < 0.35
        self.shop = CITIES[merchant_city, :2] + rng.normal(0.0, 0.06, (merchants, 2))
        self.price_level: Floats = rng.normal(0.0, 0.5, merchants)
        self.popularity: Floats = _shares(rng.pareto(1.5, merchants) + 0.3)
        self.favourites: Ints = np.empty((customers, FAVOURITES), np.int64)
        for place in range(len(CITIES)):
            near = _shares(self.popularity * np.where(self.online | (merchant_city == place), 1.0, 0.01))
            of_place = np.flatnonzero(city == place)
            self.favourites[of_place] = rng.choice(merchants, (len(of_place), FAVOURITES), p=near)

    @property
    def customers(self) -> int:
        """How many people there are."""
        return len(self.home)

    @property
    def merchants(self) -> int:
        """How many merchants there are."""
        return len(self.online)

    @property
    def payments_a_day(self) -> float:
        """How many payments an average day has."""
        return float(self.payments_per_day.sum())

    def new_device(self) -> int:
        """The number of a device that nobody has seen."""
        self._next_device += 1
        return self._next_device - 1

    def replace_card(self, card: int) -> None:
        """Block a card and give its customer another; the blocked number never comes back."""
        self.cards[self.cards == card] = self._next_card
        self._next_card += 1

    def places(self, rng: np.random.Generator, customer: Ints, merchant: Ints) -> Floats:
        """Where payments happen, as (n, 2): at the shop, or near home for what is bought online."""
        near_home = self.home[customer] + rng.normal(0.0, 0.02, (len(customer), 2))
        return np.where(self.online[merchant][:, None], near_home, self.shop[merchant])

    def amounts(self, rng: np.random.Generator, customer: Ints, merchant: Ints) -> Floats:
        """What these customers usually pay at these merchants: log-normal around their own mean."""
        spread = rng.normal(0.0, 1.0, len(customer)) * self.log_spread[customer]
        return np.exp(self.log_amount[customer] + spread + 0.5 * self.price_level[merchant])

    def ordinary_day(self, rng: np.random.Generator, day_us: int, weekday: int) -> Rows:
        """The legitimate payments of the day that starts at `day_us`, in no order."""
        self._buy_devices(rng)
        counts = rng.poisson(self.payments_per_day * WEEKDAY_WEIGHTS[weekday])
        customer = np.repeat(np.arange(self.customers), counts)
        total = len(customer)
        merchant = self._merchants_visited(rng, customer)
        card_slot = (rng.random(total) < 0.2).astype(np.int64)
        rows = rows_of(
            total,
            at_us=day_us + self._times_of_day(rng, customer),
            customer=customer,
            merchant=merchant,
            card=self.cards[customer, card_slot],
            device=self._devices_used(rng, customer, merchant),
            amount=self.amounts(rng, customer, merchant),
        )
        rows["latitude"], rows["longitude"] = self.places(rng, customer, merchant).T
        return rows

    def _buy_devices(self, rng: np.random.Generator) -> None:
        buyers = np.flatnonzero(rng.random(self.customers) < 1 / 120)
        self.devices[buyers, 1] = self.devices[buyers, 0]
        self.devices[buyers, 0] = self._next_device + np.arange(len(buyers))
        self._next_device += len(buyers)

    def _merchants_visited(self, rng: np.random.Generator, customer: Ints) -> Ints:
        total = len(customer)
        # Squared, so that the first favourites are visited most.
        favourite = self.favourites[customer, (FAVOURITES * rng.random(total) ** 2).astype(np.int64)]
        explored = np.searchsorted(np.cumsum(self.popularity)[:-1], rng.random(total))
        travels = rng.random(self.customers) < 0.03
        anywhere = rng.integers(0, self.merchants, total)
        usual = np.where(rng.random(total) < 0.85, favourite, explored)
        return np.where(travels[customer], anywhere, usual)

    def _times_of_day(self, rng: np.random.Generator, customer: Ints) -> Ints:
        total = len(customer)
        hour = np.searchsorted(np.cumsum(_shares(HOUR_WEIGHTS))[:-1], rng.random(total))
        shifted = (hour + rng.random(total) + self.hour_shift[customer]) * HOUR_US
        return shifted.astype(np.int64) % DAY_US

    def _devices_used(self, rng: np.random.Generator, customer: Ints, merchant: Ints) -> Ints:
        slot = (rng.random(len(customer)) < 0.15).astype(np.int64)
        device = self.devices[customer, slot]
        # A borrowed phone, a private window: devices that are seen once, and are not fraud.
        once = np.flatnonzero(self.online[merchant] & (rng.random(len(customer)) < 0.04))
        device[once] = self._next_device + np.arange(len(once))
        self._next_device += len(once)
        return np.where(rng.random(len(customer)) < np.where(self.online[merchant], 0.1, 0.5), NO_DEVICE, device)


def _shares(weights: Floats) -> Floats:
    shares: Floats = weights / weights.sum()
    return shares
