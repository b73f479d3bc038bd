"""What a view can compute over its history: one function for each aggregate, each a line in a declaration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

AggregateKind = Literal[
    "count",
    "sum",
    "mean",
    "std",
    "min",
    "max",
    "last",
    "previous",
    "distinct",
    "share",
    "since_first",
    "since_last",
    "decayed_count",
    "decayed_sum",
]
WINDOWLESS: frozenset[AggregateKind] = frozenset({"since_last", "previous"})


@dataclass(frozen=True)
class Aggregate:
    """One aggregate of a declaration; over each of its view's windows unless it names its own."""

    kind: AggregateKind
    field: str | None = None
    where: str | None = None
    name: str | None = None
    windows: tuple[str, ...] | None = None
    delay: str = "0s"
    half_life: str | None = None


def count(
    *,
    where: str | None = None,
    name: str | None = None,
    windows: tuple[str, ...] | None = None,
    delay: str = "0s",
) -> Aggregate:
    """How many events; with `where`, how many that satisfy the condition."""
    return Aggregate("count", None, where, name, windows, delay)


def share(where: str, *, name: str, windows: tuple[str, ...] | None = None, delay: str = "0s") -> Aggregate:
    """Which share of the events satisfies the condition, in [0, 1]; null where there are none."""
    return Aggregate("share", None, where, name, windows, delay)


def sum(
    field: str,
    *,
    where: str | None = None,
    name: str | None = None,
    windows: tuple[str, ...] | None = None,
    delay: str = "0s",
) -> Aggregate:
    """The sum of a field; 0 where there are no events."""
    return Aggregate("sum", field, where, name, windows, delay)


def mean(
    field: str,
    *,
    where: str | None = None,
    name: str | None = None,
    windows: tuple[str, ...] | None = None,
    delay: str = "0s",
) -> Aggregate:
    """The mean of a field; null where no event has it."""
    return Aggregate("mean", field, where, name, windows, delay)


def std(
    field: str,
    *,
    where: str | None = None,
    name: str | None = None,
    windows: tuple[str, ...] | None = None,
    delay: str = "0s",
) -> Aggregate:
    """The population standard deviation of a field; null where no event has it."""
    return Aggregate("std", field, where, name, windows, delay)


def min(
    field: str,
    *,
    where: str | None = None,
    name: str | None = None,
    windows: tuple[str, ...] | None = None,
    delay: str = "0s",
) -> Aggregate:
    """The smallest value of a field; null where no event has it."""
    return Aggregate("min", field, where, name, windows, delay)


def max(
    field: str,
    *,
    where: str | None = None,
    name: str | None = None,
    windows: tuple[str, ...] | None = None,
    delay: str = "0s",
) -> Aggregate:
    """The largest value of a field; null where no event has it."""
    return Aggregate("max", field, where, name, windows, delay)


def last(field: str, *, name: str | None = None, windows: tuple[str, ...] | None = None) -> Aggregate:
    """The field of the latest event in the window, the scored one included; null where there is none."""
    return Aggregate("last", field, None, name, windows)


def previous(field: str, *, name: str | None = None) -> Aggregate:
    """The field of the latest event before the scored one, as far back as the history reaches; no window."""
    return Aggregate("previous", field, None, name, ())


def distinct(
    field: str, *, name: str | None = None, windows: tuple[str, ...] | None = None, delay: str = "0s"
) -> Aggregate:
    """How many different values of a field."""
    return Aggregate("distinct", field, None, name, windows, delay)


def since_first(*, windows: tuple[str, ...] | None = None) -> Aggregate:
    """Seconds since the oldest event in the window; null where there is none."""
    return Aggregate("since_first", None, None, None, windows)


def since_last() -> Aggregate:
    """Seconds since the latest event before the scored one; null where there is none; no window."""
    return Aggregate("since_last", None, None, None, ())


def decayed_count(half_life: str, *, windows: tuple[str, ...] | None = None) -> Aggregate:
    """Events, each counting half after every `half_life`."""
    return Aggregate("decayed_count", None, None, None, windows, half_life=half_life)


def decayed_sum(field: str, half_life: str, *, windows: tuple[str, ...] | None = None) -> Aggregate:
    """The sum of a field, each event counting half after every `half_life`."""
    return Aggregate("decayed_sum", field, None, None, windows, half_life=half_life)
