"""Four ways of fraud. Each is a function that begins one episode and returns what it will do."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec
import numpy as np

from stream.simulator_world import CITIES, DAY_US, HOUR_US, NO_DEVICE, ROW, Floats, Ints, Rows, World, rows_of

MINUTE_US = 60_000_000
LONGEST_EPISODE_DAYS = 28


class Shape(msgspec.Struct, frozen=True):
    """How the fraudsters behave; `DRIFTED` is how they behave once they have learned what gives them away."""

    testing_amount: float = 2.5
    testing_gap_minutes: float = 1.0
    stolen_factor: float = 3.0
    stolen_far_share: float = 0.6
    stolen_device_share: float = 0.7
    compromised_share: float = 0.3
    compromised_factor: float = 1.3
    takeover_hour: float = 3.0
    takeover_growth: float = 1.4
    takeover_device_share: float = 0.8


USUAL = Shape()
DRIFTED = Shape(
    testing_amount=9.0,
    testing_gap_minutes=9.0,
    stolen_factor=1.7,
    stolen_far_share=0.2,
    stolen_device_share=0.4,
    compromised_factor=1.0,
    takeover_hour=14.0,
    takeover_growth=1.15,
    takeover_device_share=0.5,
)


class Compromise(NamedTuple):
    """A merchant at whom, in `[from_us, until_us)`, a share of the customers' own payments are fraud."""

    merchant: int
    from_us: int
    until_us: int
    share: float
    factor: float


class Episode(NamedTuple):
    """What one fraud will do: its payments, the merchant it turns, the card that is blocked after the last payment."""

    rows: Rows
    compromise: Compromise | None = None
    blocked_card: int | None = None


Begin = Callable[[np.random.Generator, World, int, Shape], Episode]


class Pattern(NamedTuple):
    """One way of fraud: its part of all frauds, and how many payments an episode has on average."""

    weight: float
    mean_rows: Callable[[World, Shape], float]
    begin: Begin


def card_testing(rng: np.random.Generator, world: World, day_us: int, shape: Shape) -> Episode:
    """Many small amounts at one online merchant within minutes, often from one device, over two to five cards."""
    victims = rng.choice(world.customers, rng.integers(2, 6))
    customer = np.repeat(victims, rng.integers(2, 7, len(victims)))
    rng.shuffle(customer)
    gaps = rng.exponential(shape.testing_gap_minutes * MINUTE_US, len(customer))
    device = world.new_device() if rng.random() < 0.75 else NO_DEVICE
    rows = rows_of(
        len(customer),
        at_us=_time_in(rng, day_us) + np.cumsum(gaps).astype(np.int64),
        customer=customer,
        card=world.cards[customer, 0],
        merchant=rng.choice(np.flatnonzero(world.online)) if world.online.any() else 0,
        device=device,
        amount=shape.testing_amount * np.exp(rng.normal(0.0, 0.8, len(customer))),
        fraud=True,
    )
    return Episode(_placed(rows, _hideout(rng, len(customer))))


def stolen_card(rng: np.random.Generator, world: World, day_us: int, shape: Shape) -> Episode:
    """Several times the usual amounts at new merchants, mostly far away, for days until the card is blocked."""
    count = int(rng.integers(2, 11))
    victim = np.full(count, rng.integers(world.customers))
    slot = int(rng.random() < 0.2)
    merchant = rng.integers(0, world.merchants, count)
    card = int(world.cards[victim[0], slot])
    rows = rows_of(
        count,
        at_us=_time_in(rng, day_us) + np.cumsum(rng.exponential(8 * HOUR_US, count)).astype(np.int64),
        customer=victim,
        card=card,
        merchant=merchant,
        device=world.new_device() if rng.random() < shape.stolen_device_share else NO_DEVICE,
        amount=world.amounts(rng, victim, merchant) * shape.stolen_factor * np.exp(rng.normal(0.0, 0.4)),
        fraud=True,
    )
    is_far = rng.random() < shape.stolen_far_share
    place = _hideout(rng, count) if is_far else world.places(rng, victim, merchant)
    return Episode(_placed(rows, place), blocked_card=card)


def compromised_merchant(rng: np.random.Generator, world: World, day_us: int, shape: Shape) -> Episode:
    """For one to four weeks a share of a merchant's payments are fraud, and look much like the others."""
    from_us = _time_in(rng, day_us)
    until_us = from_us + int(rng.integers(7, LONGEST_EPISODE_DAYS + 1)) * DAY_US
    share = shape.compromised_share * rng.uniform(0.6, 1.4)
    turned = Compromise(int(rng.choice(_middling(world))), from_us, until_us, share, shape.compromised_factor)
    return Episode(np.zeros(0, ROW), compromise=turned)


def account_takeover(rng: np.random.Generator, world: World, day_us: int, shape: Shape) -> Episode:
    """A new device in the customer's name: usual amounts at first, then rising, at hours that are not theirs."""
    count = int(rng.integers(3, 10))
    victim = np.full(count, rng.integers(world.customers))
    is_known = rng.random(count) < 0.5
    merchant = np.where(
        is_known, rng.choice(world.favourites[victim[0]], count), rng.integers(0, world.merchants, count)
    )
    hours = np.arange(count) // 2 * 24 + (rng.normal(shape.takeover_hour, 3.0, count) % 24)
    rises = shape.takeover_growth ** np.arange(count)
    rows = rows_of(
        count,
        at_us=day_us + np.sort((hours * HOUR_US).astype(np.int64)),
        customer=victim,
        card=world.cards[victim, 0],
        merchant=merchant,
        device=world.new_device() if rng.random() < shape.takeover_device_share else NO_DEVICE,
        amount=np.exp(world.log_amount[victim] - 0.2 + rng.normal(0.0, 0.3, count)) * rises,
        fraud=True,
    )
    place = _hideout(rng, count) if rng.random() < 0.3 else world.places(rng, victim, merchant)
    return Episode(_placed(rows, place))


def _middling(world: World) -> Ints:
    """Neither the largest merchants, whose frauds would drown all others, nor those whom nobody visits."""
    by_size = np.argsort(world.popularity, kind="stable")
    return by_size[len(by_size) // 4 : len(by_size) * 9 // 10]


def _compromised_rows(world: World, shape: Shape) -> float:
    mean_days = (7 + LONGEST_EPISODE_DAYS) / 2
    return world.payments_a_day * float(world.popularity[_middling(world)].mean()) * mean_days * shape.compromised_share


PATTERNS: dict[str, Pattern] = {
    "card_testing": Pattern(0.15, lambda world, shape: 14.0, card_testing),
    "stolen_card": Pattern(0.3, lambda world, shape: 6.0, stolen_card),
    "compromised_merchant": Pattern(0.3, _compromised_rows, compromised_merchant),
    "account_takeover": Pattern(0.25, lambda world, shape: 6.0, account_takeover),
}


def _time_in(rng: np.random.Generator, day_us: int) -> int:
    return day_us + int(rng.integers(DAY_US))


def _hideout(rng: np.random.Generator, count: int) -> Floats:
    """One place, the same for a whole episode, in any of the cities or far from all of them."""
    city = CITIES[rng.integers(len(CITIES)), :2]
    far = rng.normal(0.0, 4.0, 2) if rng.random() < 0.5 else rng.normal(0.0, 0.1, 2)
    return np.tile(city + far, (count, 1)) + rng.normal(0.0, 0.02, (count, 2))


def _placed(rows: Rows, places: Floats) -> Rows:
    rows["latitude"], rows["longitude"] = places.T
    return rows
