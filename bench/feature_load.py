"""The traffic of the feature benches: payments that name three entities each, the same for us and for the peers."""

from __future__ import annotations

from random import Random

from stream.records import Transaction, from_micros

T0_US = 1_767_225_600_000_000
STEP_US = 1_000_000
CARDS = 2000
MERCHANTS = 300


def payments(count: int, seed: int = 1, cards: int = CARDS, merchants: int = MERCHANTS) -> list[Transaction]:
    """`count` payments one second apart, by cards, at merchants and from devices that are drawn evenly."""
    random = Random(seed)
    return [
        Transaction(
            event_id=f"e{seed}-{number}",
            event_timestamp=from_micros(T0_US + number * STEP_US),
            card_id=f"c{random.randrange(cards)}",
            merchant_id=f"m{random.randrange(merchants)}",
            device_id=f"d{random.randrange(cards)}",
            amount=float(random.randrange(1, 500)),
            latitude=random.uniform(-60, 60),
            longitude=random.uniform(-180, 180),
        )
        for number in range(count)
    ]
