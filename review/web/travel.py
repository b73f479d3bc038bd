"""Where an entity's events took place, and how far apart: two places and the time between tell of a copied card."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from stream.records import Decision

EARTH_KM = 6371.0
NEAR_KM = 1.0
"""Closer than that is the same place."""
SIDE = 190.0
MARGIN = 16.0


class Step(NamedTuple):
    """From the event before, of those with a place, to this one. `speed_kmh` is None where no time passed."""

    km: float
    time: timedelta
    speed_kmh: float | None


class PlaceDot(NamedTuple):
    """Where an event stands on the map."""

    x: float
    y: float
    own: bool
    title: str


class PlaceMap(NamedTuple):
    """Places of events in the order of time, north above, in a square of `side`; `path` joins them."""

    dots: list[PlaceDot]
    path: str
    span_km: float
    side: float = SIDE


def distance_km(one: tuple[float, float], other: tuple[float, float]) -> float:
    """The way over the ground between two (latitude, longitude).

    >>> round(distance_km((48.86, 2.35), (52.52, 13.40)))
    877
    """
    (lat, lon), (lat_2, lon_2) = (tuple(map(math.radians, place)) for place in (one, other))
    half = math.sin((lat_2 - lat) / 2) ** 2 + math.cos(lat) * math.cos(lat_2) * math.sin((lon_2 - lon) / 2) ** 2
    return 2 * EARTH_KM * math.asin(min(1.0, math.sqrt(half)))


def steps(decisions: Sequence[Decision]) -> dict[str, Step]:
    """By event id, how far each event was from the one before; those without a place, and the first, have none."""
    found = {}
    before: Decision | None = None
    for decision in sorted(decisions, key=lambda one: one.event_timestamp):
        place = place_of(decision)
        if place is None:
            continue
        if before is not None:
            km = distance_km(place_of(before) or place, place)
            time = decision.event_timestamp - before.event_timestamp
            hours = time.total_seconds() / 3600
            found[decision.event_id] = Step(km, time, km / hours if hours else None)
        before = decision
    return found


def place_map(decisions: Sequence[Decision], own: Sequence[str]) -> PlaceMap | None:
    """A map without a ground; None unless there are two places. Degrees of longitude are as short as they are there."""
    placed = [
        (place, decision)
        for decision in sorted(decisions, key=lambda one: one.event_timestamp)
        if (place := place_of(decision)) is not None
    ]
    if not placed or all(distance_km(placed[0][0], place) < NEAR_KM for place, _ in placed):
        return None
    middle = math.cos(math.radians(sum(place[0] for place, _ in placed) / len(placed)))
    points = [(longitude * middle, -latitude) for (latitude, longitude), _ in placed]
    low_x, low_y = min(x for x, _ in points), min(y for _, y in points)
    span = max(max(x for x, _ in points) - low_x, max(y for _, y in points) - low_y)
    scale = (SIDE - 2 * MARGIN) / span
    left = (SIDE - scale * (max(x for x, _ in points) - low_x)) / 2
    top = (SIDE - scale * (max(y for _, y in points) - low_y)) / 2
    at = [(round(left + (x - low_x) * scale, 1), round(top + (y - low_y) * scale, 1)) for x, y in points]
    dots = [
        PlaceDot(x, y, decision.event_id in own, f"{place[0]:.2f}, {place[1]:.2f}")
        for (x, y), (place, decision) in zip(at, placed, strict=True)
    ]
    return PlaceMap(dots, " ".join(f"{x},{y}" for x, y in at), span * 2 * math.pi * EARTH_KM / 360)


def place_of(decision: Decision) -> tuple[float, float] | None:
    """Latitude and longitude of an event, where it has them."""
    payment = decision.record
    if payment.latitude is None or payment.longitude is None:
        return None
    return payment.latitude, payment.longitude
