"""The third executor: every aggregate from a plain list of events, in plain Python, with nothing clever in it.

It reads the declarations (`View.features`, `columns`, `members`) and nothing else of `features/`. Conditions are given
here a second time, as Python functions, so that the expression language is not its own judge.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from features import aggregates as a
from features.view import Feature, View
from stream.records import Transaction, from_micros, micros

T0_US = 1_767_225_600_000_000
SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

CONDITIONS: dict[str, Callable[[Any], bool]] = {
    "amount < 5": lambda r: r.amount < 5,
    "latitude > 0": lambda r: r.latitude is not None and r.latitude > 0,
    "currency == 'USD'": lambda r: r.currency == "USD",
    "label == 'fraud'": lambda r: r.label == "fraud",
    "action == 'purchase'": lambda r: r.action == "purchase",
    "action in ('dislike', 'hide', 'remove_from_cart')": lambda r: r.action in ("dislike", "hide", "remove_from_cart"),
}


def everything(name: str = "card", entity: str = "card_id") -> View:
    """A view of all aggregates, over windows of seconds and minutes, some of them delayed."""
    return View(
        name,
        entity=entity,
        source=Transaction,
        windows=("10s", "1m", "1h"),
        features=[
            a.count(),
            a.sum("amount"),
            a.mean("amount"),
            a.std("amount"),
            a.min("amount"),
            a.max("amount"),
            a.last("amount"),
            a.sum("latitude"),
            a.mean("latitude"),
            a.std("latitude"),
            a.min("latitude"),
            a.max("latitude"),
            a.last("latitude"),
            a.previous("amount"),
            a.previous("latitude"),
            a.distinct("merchant_id"),
            a.distinct("device_id"),
            a.share("amount < 5", name="small_share"),
            a.count(where="latitude > 0", name="north_count"),
            a.sum("amount", where="latitude > 0", name="north_sum"),
            a.mean("amount", where="latitude > 0", name="north_mean"),
            a.since_first(),
            a.since_last(),
            a.decayed_count("30s"),
            a.decayed_sum("amount", "30s"),
            a.count(delay="1m"),
            a.mean("amount", delay="1m"),
            a.std("amount", delay="1m", windows=("1m",)),
            a.max("amount", delay="10s", windows=("10s",)),
            a.distinct("merchant_id", delay="1m"),
        ],
    )


def payment(number: int, at_us: int, **fields: Any) -> Transaction:
    """A transaction at a time; `number` makes its id."""
    return Transaction(
        event_id=f"e{number}",
        event_timestamp=from_micros(at_us),
        card_id=fields.pop("card_id", "c"),
        merchant_id=fields.pop("merchant_id", "m"),
        amount=fields.pop("amount", 1.0),
        **fields,
    )


def reachable(view: View, events: Sequence[Any]) -> list[Any]:
    """The events that a history still holds: those less than its horizon older than its newest."""
    newest = max([micros(event.event_timestamp) for event in events], default=0)
    return [event for event in events if micros(event.event_timestamp) > newest - view.horizon_us]


def read(view: View, events: Sequence[Any], at_us: int, current: Any = None) -> list[float | None]:
    """Every feature of a view at a time. Events are in the order of their arrival, which ties keep."""
    past = sorted(
        (event for event in events if micros(event.event_timestamp) <= at_us),
        key=lambda event: micros(event.event_timestamp),
    )
    whole = past if current is None else [*past, current]
    return [_value(view, feature, past, whole, at_us) for feature in view.features]


def _value(view: View, feature: Feature, past: list[Any], whole: list[Any], at_us: int) -> float | None:
    if feature.kind in ("since_last", "previous"):
        if not past:
            return None
        if feature.kind == "since_last":
            return (at_us - micros(past[-1].event_timestamp)) / SECOND
        value: float | None = getattr(past[-1], str(view.columns[feature.column].field))
        return value
    end_us = at_us - feature.delay_us
    rows = [e for e in whole if end_us - feature.window_us < micros(e.event_timestamp) <= end_us]
    return _windowed(view, feature, rows, at_us, end_us)


def _windowed(view: View, feature: Feature, rows: list[Any], at_us: int, end_us: int) -> float | None:
    if feature.kind == "distinct":
        return len({getattr(e, view.members[feature.column]) for e in rows} - {None})
    column = view.columns[feature.column] if feature.column >= 0 else None
    satisfying = [e for e in rows if CONDITIONS[column.where](e)] if column is not None and column.where else rows
    kept = [e for e in satisfying if column is None or column.field is None or getattr(e, column.field) is not None]
    values: list[float] = [getattr(e, column.field) for e in kept] if column is not None and column.field else []
    weights = [0.5 ** ((end_us - micros(e.event_timestamp)) / (feature.half_life_us or 1)) for e in kept]
    match feature.kind:
        case "count":
            return len(satisfying)
        case "share":
            return len(satisfying) / len(rows) if rows else None
        case "since_first":
            return (at_us - micros(rows[0].event_timestamp)) / SECOND if rows else None
        case "last":
            newest: float | None = getattr(rows[-1], str(column and column.field)) if rows else None
            return newest
        case "decayed_count":
            return math.fsum(weights)
        case "decayed_sum":
            return math.fsum(weight * value for weight, value in zip(weights, values, strict=True))
        case "sum":
            return math.fsum(values)
    if not values:
        return None
    match feature.kind:
        case "mean":
            return math.fsum(values) / len(values)
        case "std":
            return statistics.pstdev(values)
        case "min":
            return min(values)
        case "max":
            return max(values)
    raise AssertionError(feature.kind)


def differences(
    names: Sequence[str], found: Sequence[float], expected: Sequence[float | None], size: float = 0.0
) -> dict[str, tuple[float, float | None]]:
    """What differs, by name: (found, expected). Equal is 1e-9 of the value; of `size`, where signed values cancel."""
    assert len(names) == len(found) == len(expected)
    return {
        name: (one, other)
        for name, one, other in zip(names, found, expected, strict=True)
        if not _same(one, other, size if "latitude" in name else 0.0)
    }


def _same(found: float, expected: float | None, size: float) -> bool:
    if expected is None or math.isnan(found):
        return expected is None and math.isnan(found)
    return math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-9 * size)
