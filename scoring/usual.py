"""What is usual for an entity, from the features of its own history; for everybody, from the training population.

A view's longest window says what the entity does in general. Of a shorter window, usual is what the rest of the longest
one says: of a card with 60 events in 30 days, two days' worth in the last day is unusual, four events are not. So
nothing is read that was not scored, and the present event counts on one side only.

Where the rest of the history has fewer than `LEAST_EVENTS` events, or the kind of feature says nothing of it
(distances, largest values, distinct counts), usual is the reference of the model: the median of the legit rows that it
was trained on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.expression import function
from features.feature_set import FeatureSet
from features.view import Feature, View

LEAST_EVENTS = 3
SECOND_US = 1_000_000


class Reference(NamedTuple):
    """What is usual, shape (features,), NaN where nothing is known; and whose: True where it is the entity's own."""

    values: NDArray[np.float64]
    own: NDArray[np.bool_]


class UsualValues:
    """The usual values of a feature set: worked out from its declarations, compiled into one function."""

    def __init__(self, features: FeatureSet) -> None:
        self.names = features.names
        at = {name: index for index, name in enumerate(features.names)}
        found: dict[int, str] = {}
        for view in features.views:
            found |= _of_view(view, at, view.source is features.source)
        for derived in features.derived:
            if (body := _of_field(derived.text, at[derived.name], features.views[0], at)) is not None:
                found[at[derived.name]] = body
        self._places = np.array(list(found), dtype=np.intp)
        self._own = function("v", f"({''.join(f'{body}, ' for body in found.values())})")
        self._population: tuple[object, NDArray[np.float64]] = (None, np.empty(0))

    def of(self, vector: NDArray[np.float64], reference: Mapping[str, float]) -> Reference:
        """What is usual for the entities of a vector, shape (features,). `reference` is the model's, by name."""
        values = self._of_population(reference).copy()
        is_own = np.zeros(len(values), dtype=np.bool_)
        own = np.array(self._own(vector.tolist()), dtype=np.float64)
        known = np.isfinite(own)
        places = self._places[known]
        values[places] = own[known]
        is_own[places] = True
        return Reference(values, is_own)

    def _of_population(self, reference: Mapping[str, float]) -> NDArray[np.float64]:
        known, values = self._population
        if known is not reference:
            values = np.array([reference.get(name, math.nan) for name in self.names])
            self._population = (reference, values)
        return values


def entities_of(features: FeatureSet) -> Sequence[str]:
    """Whose history each feature looks at, in words (`card`), in the vector's order; the primary entity's otherwise."""
    own = [view.entity.removesuffix("_id") for view in features.views for _ in view.features]
    return own + [features.views[0].entity.removesuffix("_id")] * len(features.derived)


def _of_view(view: View, at: dict[str, int], holds_itself: bool) -> dict[int, str]:
    """Python source by place in the vector, over `v`, the vector's values with NaN for null."""
    found: dict[int, str] = {}
    families: dict[tuple[Any, ...], list[Feature]] = {}
    for feature in view.features:
        if feature.window_us:
            families.setdefault((feature.kind, feature.column, feature.delay_us), []).append(feature)
    for (kind, _, delay_us), family in families.items():
        counts = {one.window_us: f"v[{at[one.name]}]" for one in families.get(("count", -1, delay_us), ())}
        longest = max(family, key=lambda one: one.window_us)
        if kind not in ("count", "sum", "mean", "share") or longest.window_us not in counts:
            continue
        first = None if delay_us else _first(view, at, longest.window_us)
        for one in family:
            if one is longest or one.window_us not in counts:
                continue
            own, whole = f"v[{at[one.name]}]", f"v[{at[longest.name]}]"
            own_count, whole_count = counts[one.window_us], counts[longest.window_us]
            rest = f"({whole_count} - {own_count})"
            # At the time of an event its window holds that event and, at the usual rate, some others.
            itself = 1.0 if holds_itself and not delay_us else 0.0
            rate = f"({itself} + {rest} * {_share_of_rest(one.window_us, counts, longest.window_us, first)})"
            if kind == "count":
                body = rate
            elif kind == "sum":
                body = f"{rate} * ({whole} - {own}) / {rest}"
            else:  # of an empty window the mean is null, and adds nothing to the total
                body = f"({whole} * {whole_count} - ({own} * {own_count} if {own_count} else 0.0)) / {rest}"
            found[at[one.name]] = f"({body} if {rest} >= {LEAST_EVENTS} else nan)"
    return found | _gap(view, at)


def _share_of_rest(window_us: int, counts: dict[int, str], longest_us: int, first: str | None) -> str:
    """The window's length as a share of the rest of the history.

    The history is as long as the time since the first event says, or else the shortest window that has all events.
    """
    span = f"{longest_us / SECOND_US}"
    for shorter_us in sorted((us for us in counts if window_us < us < longest_us), reverse=True):
        span = f"({shorter_us / SECOND_US} if {counts[shorter_us]} == {counts[longest_us]} else {span})"
    if first is not None:
        span = f"({first} if {first} < {longest_us / SECOND_US} else {span})"
    window_s = window_us / SECOND_US
    return f"_divide({window_s}, {span} - {window_s})"


def _first(view: View, at: dict[str, int], window_us: int) -> str | None:
    name = next((one.name for one in view.features if one.kind == "since_first" and one.window_us == window_us), None)
    return None if name is None else f"v[{at[name]}]"


def _gap(view: View, at: dict[str, int]) -> dict[int, str]:
    """Time since the previous event: usual is the mean time between the earlier ones."""
    counts = _plain_counts(view, at)
    last = next((at[one.name] for one in view.features if one.kind == "since_last"), None)
    if last is None or not counts or (first := _first(view, at, max(counts))) is None:
        return {}
    before = f"({counts[max(counts)]} - 1.0)"  # the present one is counted
    return {last: f"(({first} - v[{last}]) / ({before} - 1.0) if {before} >= {LEAST_EVENTS} else nan)"}


def _of_field(text: str, own: int, primary: View, at: dict[str, int]) -> str | None:
    """A field of the record itself (`amount`): usual is the mean of the primary entity's earlier events."""
    column = next((i for i, one in enumerate(primary.columns) if (one.field, one.where) == (text, None)), None)
    counts = _plain_counts(primary, at)
    means = {
        one.window_us: f"v[{at[one.name]}]"
        for one in primary.features
        if (one.kind, one.column, one.delay_us) == ("mean", column, 0)
    }
    both = means.keys() & counts.keys()
    if not both:
        return None
    mean, count = means[max(both)], counts[max(both)]
    return f"(({mean} * {count} - v[{own}]) / ({count} - 1.0) if {count} - 1.0 >= {LEAST_EVENTS} else nan)"


def _plain_counts(view: View, at: dict[str, int]) -> dict[int, str]:
    """The counts of all events of a view, by window, as Python source."""
    return {
        one.window_us: f"v[{at[one.name]}]"
        for one in view.features
        if (one.kind, one.column, one.delay_us) == ("count", -1, 0)
    }
