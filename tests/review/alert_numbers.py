"""Series that a test writes by hand, and conditions over them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import msgspec

from review.alert_condition import Alerts, Condition


class Numbers:
    """Points by name."""

    def __init__(self) -> None:
        self.points: dict[str, list[tuple[float, float]]] = defaultdict(list)

    def add(self, name: str, at_s: float, value: float) -> None:
        self.points[name].append((at_s, value))

    def steady(self, name: str, begin_s: float, end_s: float, value: float, step_s: float = 10.0) -> None:
        """The same value from a time up to another one."""
        at_s = begin_s
        while at_s <= end_s:
            self.add(name, at_s, value)
            at_s += step_s

    def latest(self, name: str) -> tuple[float, float] | None:
        return self.points[name][-1] if self.points[name] else None

    def since(self, name: str, at_s: float) -> Sequence[tuple[float, float]]:
        return [point for point in self.points[name] if point[0] > at_s]


def condition(name: str = "lag", **fields: Any) -> Condition:
    """Above 10 s for a minute, clear at 5 for as long, unless said otherwise."""
    if not {"above", "below", "burn", "jump", "silent"} & set(fields):
        fields = {"above": 10.0, "for": 60.0, "clear": 5.0, "clear_for": 60.0} | fields
    whole = {"title": f"{name} is wrong", "series": "lag_s", "severity": "page", "link": "/", "remedy": "look at it"}
    made = msgspec.convert({"name": name} | whole | fields, type=Condition)
    assert made.fault() is None, made.fault()
    return made


def alerts(*conditions: Condition, **fields: Any) -> Alerts:
    """A file of these."""
    return Alerts(alerts=conditions, **fields)
