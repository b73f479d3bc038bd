"""What the fire is fed with: a stream of records that come late and twice, made from a seed."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from random import Random
from typing import Any

from stream.records import Label, Transaction, from_micros
from tests.oracle import DAY, HOUR, T0_US

SPAN_US = 6 * DAY
"""Short enough that every event stays in every history: whatever is lost or doubled can be counted."""
LATE_LIMIT_US = 20 * HOUR
COPY_DISTANCE = 180
"""Other records of its card between a record and its copy. The bound is 255; a repeated batch adds a few."""
HOT_SHARE = 0.03
DUPLICATE_SHARE = LATE_SHARE = 0.05
LABEL_SHARE = 0.04


@dataclass(frozen=True)
class Plan:
    """Records in the order of their arrival, copies among them, and what makes up the stream."""

    arrivals: list[Transaction | Label]
    unique: list[Transaction | Label]
    end_us: int
    duplicates: int
    late: int


def plan(events: int, seed: int) -> Plan:
    """So many transactions and 4% labels; 5% of all come out of order, 5% a second time."""
    random = Random(seed)
    step_us = SPAN_US // events
    cards, merchants, devices = max(4, events // 50), max(3, events // 150), max(3, events // 60)
    placed: list[tuple[float, Transaction | Label]] = []
    late = 0
    for number in range(events):
        at_us = T0_US + number * step_us
        position = float(number)
        if random.random() < LATE_SHARE:
            furthest = LATE_LIMIT_US / step_us if random.random() < 0.5 else 20.0
            position += random.uniform(1.5, furthest)
            late += 1
        payment = Transaction(
            event_id=f"e{number}",
            event_timestamp=from_micros(at_us),
            card_id=f"c{_skewed(random, cards)}",
            merchant_id=f"m{_skewed(random, merchants)}",
            device_id=None if random.random() < 0.2 else f"d{_skewed(random, devices)}",
            amount=round(random.lognormvariate(3, 1.2), 2),
            latitude=random.choice([None, round(random.uniform(-90, 90), 4)]),
        )
        placed.append((position, payment))
        if random.random() < LABEL_SHARE:
            placed.append((position + random.uniform(1, 50), _label(payment, at_us, random)))
    placed.sort(key=lambda pair: pair[0])
    unique = [record for _, record in placed]
    copies = _copies(unique, random)
    arrivals = sorted([*enumerate(unique), *copies], key=lambda pair: pair[0])
    return Plan([record for _, record in arrivals], unique, T0_US + events * step_us + HOUR, len(copies), late)


def _skewed(random: Random, size: int) -> int:
    # Number 0 is a hot one, far beyond the row budget in a long stream.
    return 0 if random.random() < HOT_SHARE else random.randrange(1, size)


def _label(payment: Transaction, at_us: int, random: Random) -> Label:
    return Label(
        event_id=payment.event_id,
        label="fraud" if random.random() < 0.8 else "legit",
        event_timestamp=payment.event_timestamp,
        labelled_at=from_micros(at_us + random.randint(1, HOUR)),
        card_id=payment.card_id,
        merchant_id=payment.merchant_id,
        amount=payment.amount,
    )


def _copies(unique: list[Transaction | Label], random: Random) -> list[tuple[float, Any]]:
    """Exact copies with their places: mostly anywhere within the bound, one in four as late as it allows."""
    places: dict[str, list[int]] = defaultdict(list)
    for place, record in enumerate(unique):
        places[_remembered_by(record)].append(place)
    copies = []
    for own in places.values():
        for nth, place in enumerate(own):
            if random.random() < DUPLICATE_SHARE:
                last = own[nth + COPY_DISTANCE] if nth + COPY_DISTANCE < len(own) else len(unique)
                at = last if random.random() < 0.25 else random.uniform(place + 0.1, last)
                copies.append((at - 0.05, unique[place]))
    return copies


def _remembered_by(record: Transaction | Label) -> str:
    return record.card_id if isinstance(record, Transaction) else f"labels of {record.merchant_id}"
