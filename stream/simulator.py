"""A made-up city life of card payments, with four kinds of fraud among them, as long as you like."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from stream.played import Played
from stream.records import Transaction, from_micros, micros
from stream.simulator_changes import Changes
from stream.simulator_episodes import EpisodesUnderWay
from stream.simulator_patterns import DRIFTED, LONGEST_EPISODE_DAYS, PATTERNS, USUAL, Episode
from stream.simulator_world import DAY_US, NO_DEVICE, ROW, Rows, World

MISSING_PLACE_SHARE = 0.05
UNCHANGED = Changes()
FIRST_DAY = 1_000_000  # days before 1970 are negative, and a generator's seed must not be


class Simulator:
    """Transactions of made-up customers, the same ones for the same arguments, in time order.

    Customers have cards, devices, a home, favourite merchants, habits of hour and amount (log-normal); days and weeks
    have their rhythm. They also travel, try new merchants and buy phones, so no single feature tells a fraud.

    Parameters
    ----------
    seed
        Names the world; two simulators differ only by their arguments.
    customers, merchants
        How many; a customer makes about two payments a day.
    start, end
        The transactions in `[start, end)`, both with a zone; without `end` they never stop.
    fraud_share
        The share of frauds aimed at. Single weeks are above or below it.
    patterns
        Which of `PATTERNS` are committed.
    chargeback_window
        How long nobody can know that a payment is legit: its label's delay. Frauds are known after 1 to 10 days, at
        most after this.
    drift_at
        From here on, fraudsters who begin behave otherwise: smaller, nearer, by day.
    changes
        On which days each pattern is about, and shifts of everybody's amounts; both by whole days (UTC).

    The traps: `play` is deterministic for one version of numpy's generators; a later `start` is another world, not a
    later part of the same one.
    """

    def __init__(
        self,
        seed: int,
        *,
        start: datetime,
        end: datetime | None = None,
        customers: int = 2_000,
        merchants: int = 400,
        fraud_share: float = 0.008,
        patterns: Sequence[str] = tuple(PATTERNS),
        chargeback_window: timedelta = timedelta(days=10),
        drift_at: datetime | None = None,
        changes: Changes = UNCHANGED,
    ) -> None:
        for name, moment in (("start", start), ("end", end), ("drift_at", drift_at)):
            if moment is not None and moment.tzinfo is None:
                raise ValueError(f"{name} {moment.isoformat()} has no zone; give one, such as UTC")
        for pattern in patterns:
            if pattern not in PATTERNS:
                raise ValueError(f"no fraud pattern {pattern!r}; there are {', '.join(PATTERNS)}")
        changes.check(patterns)
        if seed < 0 or customers < 10 or merchants < 10 or not 0.0 <= fraud_share <= 0.5:
            raise ValueError(
                f"seed {seed}, customers {customers}, merchants {merchants}, fraud_share {fraud_share}: "
                f"give a seed from 0, at least 10 customers and 10 merchants, and a share from 0 to 0.5"
            )
        self.seed = seed
        self.start_us = micros(start)
        self.end_us = None if end is None else micros(end)
        self.drift_us = None if drift_at is None else micros(drift_at)
        self.customers = customers
        self.merchants = merchants
        self.fraud_share = fraud_share
        self.patterns = tuple(patterns)
        self.changes = changes
        self.window_us = chargeback_window // timedelta(microseconds=1)

    def play(self) -> Iterator[Played]:
        """Play from the start, a new world each time; one simulated day is made at once and held in memory."""
        world = World(np.random.default_rng([self.seed, 0]), self.customers, self.merchants)
        under_way = EpisodesUnderWay(world)
        first_day_us = self.start_us - self.start_us % DAY_US
        # Episodes that began before the start are under way on the first day, as on any other.
        day_us = first_day_us - LONGEST_EPISODE_DAYS * DAY_US
        while self.end_us is None or day_us < self.end_us:
            rng = np.random.default_rng([self.seed, 1, day_us // DAY_US + FIRST_DAY])
            for episode in self._episodes(rng, world, day_us):
                under_way.add(episode)
            legitimate = np.zeros(0, ROW)
            if day_us >= first_day_us:
                legitimate = world.ordinary_day(rng, day_us, (day_us // DAY_US + 3) % 7)
            rows = under_way.end_day(rng, day_us + DAY_US, legitimate)
            if day_us >= first_day_us:
                yield from self._played(rng, rows, day_us)
            day_us += DAY_US

    def _episodes(self, rng: np.random.Generator, world: World, day_us: int) -> Iterator[Episode]:
        shape = DRIFTED if self.drift_us is not None and day_us >= self.drift_us else USUAL
        chosen = [PATTERNS[name] for name in self.changes.about(self.patterns, from_micros(day_us))]
        frauds_a_day = world.payments_a_day * self.fraud_share
        for pattern in chosen:
            share = pattern.weight / sum(each.weight for each in chosen)
            for _ in range(rng.poisson(frauds_a_day * share / pattern.mean_rows(world, shape))):
                yield pattern.begin(rng, world, day_us, shape)

    def _played(self, rng: np.random.Generator, rows: Rows, day_us: int) -> Iterator[Played]:
        day = f"sim-{self.seed}-{from_micros(day_us):%Y%m%d}-"
        delays_us = np.where(rows["fraud"], _fraud_delays_us(rng, len(rows), self.window_us), self.window_us)
        factor = self.changes.amount_factor(from_micros(day_us))
        amounts = np.maximum(np.round(rows["amount"] * factor, 2), 0.01)
        is_unplaced = rng.random(len(rows)) < MISSING_PLACE_SHARE
        latitudes, longitudes = (_places(rows[name], is_unplaced) for name in ("latitude", "longitude"))
        columns = (rows[name].tolist() for name in ("at_us", "card", "customer", "merchant", "device", "fraud"))
        plain = zip(*columns, amounts.tolist(), delays_us.tolist(), latitudes, longitudes, strict=True)
        last_us = day_us + DAY_US if self.end_us is None else self.end_us
        for place, row in enumerate(plain):
            at_us, card, customer, merchant, device, fraud, amount, delay_us, latitude, longitude = row
            if not self.start_us <= at_us < last_us:
                continue
            transaction = Transaction(
                event_id=f"{day}{place}",
                event_timestamp=from_micros(at_us),
                card_id=f"card-{card}",
                merchant_id=f"merchant-{merchant}",
                amount=amount,
                customer_id=f"customer-{customer}",
                device_id=None if device == NO_DEVICE else f"device-{device}",
                latitude=latitude,
                longitude=longitude,
            )
            yield Played(transaction, fraud, timedelta(microseconds=delay_us))


def _fraud_delays_us(rng: np.random.Generator, count: int, window_us: int) -> NDArray[np.int64]:
    """One to ten days, mostly the first few: when the customer looks at the statement."""
    days = 1.0 + 9.0 * rng.beta(1.5, 3.0, count)
    return np.minimum((days * DAY_US).astype(np.int64), window_us)


def _places(degrees: NDArray[np.float64], is_unplaced: NDArray[np.bool_]) -> list[float | None]:
    places = np.round(degrees, 4).astype(object)
    places[is_unplaced] = None
    listed: list[float | None] = places.tolist()
    return listed
