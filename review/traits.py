"""What cases may have in common: cards, devices, merchants, customers, places and rules."""

from __future__ import annotations

from typing import Literal

from stream.records import Decision

Kind = Literal["card", "device", "merchant", "customer", "place", "rule"]

LINKING: tuple[Kind, ...] = ("card", "device", "customer", "place", "merchant")
PLACE_DIGITS = 3
"""Of degrees: places are about 100 m wide."""


def traits_of(decision: Decision) -> set[tuple[Kind, str]]:
    """The traits of one event."""
    record = decision.record
    named: list[tuple[Kind, str | None]] = [
        ("card", record.card_id),
        ("device", record.device_id),
        ("merchant", record.merchant_id),
        ("customer", record.customer_id),
        ("place", place_of(record.latitude, record.longitude)),
        *(("rule", rule) for rule in decision.rules),
    ]
    return {(kind, value) for kind, value in named if value is not None}


def place_of(latitude: float | None, longitude: float | None) -> str | None:
    """A place's name, None where it is unknown.

    >>> place_of(48.85837, 2.29448), place_of(48.85837, None)
    ('48.858,2.294', None)
    """
    if latitude is None or longitude is None:
        return None
    # Adding 0.0 makes one name of 0.0 and -0.0.
    return ",".join(f"{round(degrees, PLACE_DIGITS) + 0.0:.{PLACE_DIGITS}f}" for degrees in (latitude, longitude))
