"""The vector: which views and request-time features answer one type of record, in which order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.expression import Expression, Kind, function, parse
from features.history import History, row_times
from features.scan import Part, Scan
from features.view import STATE_VERSION, View, field_kinds, field_sources
from stream.records import micros

LAYOUT_BYTES = 4


@dataclass(frozen=True)
class Derived:
    """A request-time feature: an expression over the record's fields, the views' features and earlier such ones."""

    name: str
    text: str
    description: str
    unit: str = "number"


@dataclass(frozen=True)
class CatalogueEntry:
    """What is known of one feature, for people and pages."""

    name: str
    view: str
    window: str
    unit: str
    description: str


class EntityRef(NamedTuple):
    """One entity: the field that names it (`card_id`) and its value."""

    entity: str
    value: str


@dataclass(frozen=True)
class Vector:
    """The features of one event: float64 of shape (features,), null as NaN, and the names of those not exact."""

    values: NDArray[np.float64]
    approximate: list[str]


@dataclass
class ViewRead:
    """What a vector needs of one view: the stored history, and rows that are answered but not yet folded."""

    history: History
    pending: list[bytes]


def _time_of(rows: bytes, at: int) -> int:
    return int.from_bytes(rows[at : at + 8], "little", signed=True)


class FeatureSet:
    """The features of one type of record.

    `definition_hash` names the exact set, order and meaning of the features; it travels with every vector, model and
    training set.
    """

    def __init__(self, name: str, *, source: type[Any], views: tuple[View, ...], derived: tuple[Derived, ...]) -> None:
        self.name = name
        self.source = source
        self.views = views
        self.derived = derived
        self._by_layout = {view.layout: view for view in views}
        self._heads = [view.layout.to_bytes(LAYOUT_BYTES, "little") for view in views]
        self._scans = [Scan(view) for view in views]
        self._scan_all = Scan(*views)
        view_names = self._scan_all.names
        self._stored = len(view_names)
        self.names: tuple[str, ...] = (*view_names, *(feature.name for feature in derived))
        if len(set(self.names)) != len(self.names):
            twice = sorted({feature for feature in self.names if self.names.count(feature) > 1})
            raise ValueError(f"feature set {name!r} declares {twice} more than once")
        self._derive = self._compile()

    @cached_property
    def definition_hash(self) -> str:
        """Twelve hexadecimal digits."""
        content = [STATE_VERSION, self.name, self.source.__name__]
        content += [
            repr(
                (
                    view.name,
                    view.entity,
                    view.source.__name__,
                    view.layout,
                    [feature.meaning for feature in view.features],
                )
            )
            for view in self.views
        ]
        content += [repr((feature.name, feature.text)) for feature in self.derived]
        return sha256("\n".join(map(str, content)).encode()).hexdigest()[:12]

    @cached_property
    def entities(self) -> tuple[str, ...]:
        """The entity fields of the views, each once, in order."""
        return tuple(dict.fromkeys(view.entity for view in self.views))

    @cached_property
    def kinds(self) -> dict[str, Kind]:
        """Every name that a rule may read: the record's fields and all features."""
        return field_kinds(self.source) | dict.fromkeys(self.names, "number")

    def refs(self, record: Any) -> list[EntityRef]:
        """The entities of a record that this set reads; one that the record does not name is left out."""
        return [
            EntityRef(entity, value) for entity in self.entities if (value := getattr(record, entity, None)) is not None
        ]

    def rows(self, record: Any) -> list[bytes | None]:
        """The packed row that the record adds to each view; None where it does not touch the view."""
        return [view.row(record) if isinstance(record, view.source) else None for view in self.views]

    def pending(self, record: Any, rows: list[bytes | None] | None = None) -> dict[EntityRef, bytes]:
        """What each entity shows to readers until a worker has folded the record: the views' rows, ready to be read.

        `rows` spares packing them again, for a caller that has them.
        """
        found: dict[EntityRef, bytes] = {}
        for view, head, row in zip(self.views, self._heads, self.rows(record) if rows is None else rows, strict=True):
            if row is not None:
                ref = EntityRef(view.entity, getattr(record, view.entity))
                found[ref] = found.get(ref, b"") + head + row
        return found

    def pending_rows(self, content: bytes) -> Iterator[tuple[View, bytes]]:
        """The rows in what `pending` gave, with their views; from the first of another definition on, none."""
        at = 0
        while at < len(content):
            view = self._by_layout.get(int.from_bytes(content[at : at + LAYOUT_BYTES], "little"))
            if view is None:
                return
            at += LAYOUT_BYTES + view.row_size
            yield view, content[at - view.row_size : at]

    def vector(self, record: Any, reads: Mapping[str, ViewRead], rows: list[bytes | None] | None = None) -> Vector:
        """The features at the record's time, itself included. `reads` is by view name; a missing view gives nulls.

        `rows` are the record's own (`rows`), for a caller that has them.
        """
        parts: list[Part] = []
        for view, row in zip(self.views, self.rows(record) if rows is None else rows, strict=True):
            read = reads.get(view.name)
            parts.append(None if read is None else (read.history, read.pending, row))
        values = np.empty(len(self.names))
        stored = values[: self._stored]
        approximate = self._scan_all.read_views(parts, micros(record.event_timestamp), stored)
        if self.derived:
            values[self._stored :] = self._derive(record, stored.tolist())
        return Vector(values, approximate)

    def with_derived(self, record: Any, stored: NDArray[np.float64]) -> NDArray[np.float64]:
        """The whole vector of a record, from its stored features (in order, null as NaN) and what it says itself."""
        if not self.derived:
            return stored
        return np.concatenate([stored, np.array(self._derive(record, stored.tolist()), dtype=np.float64)])

    def read_view(self, name: str, history: History, at_us: int) -> NDArray[np.float64]:
        """The features of one view at a time, without a scored event."""
        return self._scan(name).read(history, at_us)[0]

    def read_at(self, name: str, history: History, at_us: int) -> NDArray[np.float64]:
        """The features of one view at a time; at the very time of an event of its history, as that event was scored.

        It is the current event then: in the windows, but `since_last` and `previous` look at what came before it. Of
        several events of that microsecond it is the one that arrived last. What Feast serves.
        """
        scan = self._scan(name)
        out = np.empty(len(scan.names))
        scan.read_views([self._as_scored(scan.view, history, at_us)], at_us, out)
        return out

    def read_all_at(self, histories: Mapping[str, History], at_us: int) -> NDArray[np.float64]:
        """The stored features of all views in order, each as by `read_at`; a view without a history gives nulls."""
        parts = [
            self._as_scored(view, histories[view.name], at_us) if view.name in histories else None
            for view in self.views
        ]
        out = np.empty(self._stored)
        self._scan_all.read_views(parts, at_us, out)
        return out

    def _as_scored(self, view: View, history: History, at_us: int) -> Part:
        rows, size = history.rows, view.row_size
        if view.source is not self.source or not rows or _time_of(rows, len(rows) - size) < at_us:
            return history, (), None
        end = int(row_times(view, rows).searchsorted(at_us, side="right")) * size
        if not end or _time_of(rows, end - size) != at_us:
            return history, (), None
        before = History(view)
        before.merged, before.members = history.merged, history.members
        before.evicted_until_us = history.evicted_until_us
        before.rows = rows[: end - size]
        return before, (), rows[end - size : end]

    def _scan(self, name: str) -> Scan:
        for scan in self._scans:
            if scan.view.name == name:
                return scan
        raise KeyError(f"feature set {self.name!r} has no view {name!r}; it has {[view.name for view in self.views]}")

    def derived_expressions(self) -> list[Expression]:
        """The request-time features as checked expressions, in order."""
        kinds: dict[str, Kind] = field_kinds(self.source)
        kinds |= {feature: "number" for view in self.views for feature in view.names}
        expressions = []
        for feature in self.derived:
            expressions.append(parse(feature.text, kinds, "number"))
            kinds[feature.name] = "number"
        return expressions

    def catalogue(self) -> list[CatalogueEntry]:
        """Every feature in the vector's order."""
        stored = [
            CatalogueEntry(feature.name, view.name, feature.window, feature.unit, feature.description)
            for view in self.views
            for feature in view.features
        ]
        return stored + [CatalogueEntry(f.name, "(request)", "", f.unit, f.description) for f in self.derived]

    def _compile(self) -> Any:
        sources = field_sources(self.source, "r")
        sources |= {name: f"v[{i}]" for i, name in enumerate(n for view in self.views for n in view.names)}
        bodies = []
        for feature, expression in zip(self.derived, self.derived_expressions(), strict=True):
            bodies.append(f"(d_{feature.name} := {expression.python(sources)})")
            sources[feature.name] = f"d_{feature.name}"
        return function("r, v", f"({', '.join(bodies)},)" if bodies else "()")
