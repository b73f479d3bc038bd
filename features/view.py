"""Declarations: a view says which features one entity's history gives."""

from __future__ import annotations

import struct
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, lru_cache
from hashlib import blake2b
from typing import Any
from zlib import crc32

from features.aggregates import WINDOWLESS, Aggregate, AggregateKind
from features.duration import duration_us
from features.expression import Kind, function, parse
from stream.records import micros

STATE_VERSION = 1
ROW_BUDGET = 256
MERGED_BUDGET = 160
KEPT_ROWS = 64
RECENT_IDS = 256
MEMBER_LIMIT = 256
MEMBER_FIELDS = 15
GRACE = "1d"
UNITS: dict[AggregateKind, str] = {
    "count": "events",
    "distinct": "values",
    "share": "share",
    "since_first": "seconds",
    "since_last": "seconds",
    "decayed_count": "events",
}
DESCRIPTIONS: dict[AggregateKind, str] = {
    "count": "events of the {whose}",
    "sum": "total {field} of the {whose}",
    "mean": "mean {field} of the {whose}",
    "std": "spread of {field} of the {whose}",
    "min": "smallest {field} of the {whose}",
    "max": "largest {field} of the {whose}",
    "last": "latest {field} of the {whose}",
    "previous": "previous {field} of the {whose}",
    "distinct": "different {field}s of the {whose}",
    "share": "share of the {whose}'s events",
    "since_first": "time since the {whose}'s first event",
    "since_last": "time since the {whose}'s previous event",
    "decayed_count": "fading count of the {whose}'s events",
    "decayed_sum": "fading total {field} of the {whose}",
}


@dataclass(frozen=True)
class Column:
    """One measured column of a history's rows: a field or a condition, null where it does not apply."""

    field: str | None
    where: str | None


@dataclass(frozen=True)
class Feature:
    """One number of the vector: what it is called, what it is, and where it comes from."""

    name: str
    kind: AggregateKind
    column: int
    window: str
    window_us: int
    delay_us: int
    half_life_us: int
    description: str
    unit: str

    @property
    def meaning(self) -> tuple[str | int, ...]:
        """What the number is, apart from the words about it."""
        return (self.name, self.kind, self.column, self.window_us, self.delay_us, self.half_life_us)


class View:
    """A history for each value of one entity, and the features that are read from it.

    Parameters
    ----------
    name
        Of the view; it begins the name of each feature.
    entity
        The field of the record whose value names the entity. A record without it does not touch the view.
    source
        The type of the records that make the history.
    windows
        Such as `("10m", "1d")`: every aggregate is computed over each, unless it names its own.
    features
        The aggregates. Their order fixes the order in the vector.
    where
        Which records count, as an expression over the record's fields; all by default.
    time
        The field that says when the record takes effect. What is learned later than it happened (a label) takes effect
        when it becomes known: no row then comes late, and no feature ever sees what nobody could have known.
    """

    def __init__(
        self,
        name: str,
        *,
        entity: str,
        source: type[Any],
        windows: tuple[str, ...],
        features: list[Aggregate],
        where: str | None = None,
        time: str = "event_timestamp",
        description: str = "",
    ) -> None:
        self.name = name
        self.entity = entity
        self.source = source
        self.windows = windows
        self.where = where
        self.time = time
        self.description = description
        self.fields = field_kinds(source)
        if self.fields.get(entity) != "text":
            raise ValueError(f"view {name!r}: {source.__name__} has no id field {entity!r}; it has {list(self.fields)}")
        if where is not None:
            parse(where, self.fields, "boolean")
        self.columns: list[Column] = []
        self.members: list[str] = []
        self.features = [feature for aggregate in features for feature in self._expand(aggregate)]
        self._refuse_duplicates()
        self.row_format = struct.Struct("<q" + "d" * len(self.columns) + "q" * len(self.members))
        self.row_size = self.row_format.size

    @property
    def state_view(self) -> str:
        """The name of the Feast view that keeps the history."""
        return f"{self.name}_state"

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the features, in order."""
        return tuple(feature.name for feature in self.features)

    @cached_property
    def horizon_us(self) -> int:
        """How far back from its newest event a history reaches: the longest window, its delay, and the grace."""
        longest = [feature.window_us + feature.delay_us for feature in self.features]
        return max([*longest, *map(duration_us, self.windows)], default=0) + duration_us(GRACE)

    @cached_property
    def layout(self) -> int:
        """A 32-bit name for the shape of this view's rows: a state of another shape is not read."""
        shape = (STATE_VERSION, self.name, self.source.__name__, self.where, self.time, self.columns, self.members)
        return crc32(repr(shape).encode())

    @cached_property
    def row(self) -> Callable[[Any], bytes | None]:
        """The row that a record adds to the history, packed; None where the record does not touch the view."""
        cells = [self._cell(column) for column in self.columns]
        cells += [f"member(r.{field})" for field in self.members]
        values = function("r, member", f"({', '.join(cells)}{',' if cells else ''})")
        wanted = None
        if self.where is not None:
            wanted = function("r", parse(self.where, self.fields, "boolean").python(self._sources()))
        pack, entity, time = self.row_format.pack, self.entity, self.time

        def row(record: Any) -> bytes | None:
            moment = getattr(record, time)
            if getattr(record, entity) is None or moment is None:
                return None
            if wanted is not None and not wanted(record):
                return None
            return pack(micros(moment), *values(record, _known_member))

        return row

    def _expand(self, aggregate: Aggregate) -> list[Feature]:
        column = self._column(aggregate)
        windows = self.windows if aggregate.windows is None else aggregate.windows
        if aggregate.kind in WINDOWLESS:
            windows = ("",)
        return [self._feature(aggregate, column, window) for window in windows]

    def _column(self, aggregate: Aggregate) -> int:
        if aggregate.where is not None and not aggregate.name:
            raise ValueError(f"view {self.name!r}: {aggregate.kind}(where={aggregate.where!r}) needs a name")
        if aggregate.where is not None:
            parse(aggregate.where, self.fields, "boolean")
        if aggregate.kind == "distinct":
            assert aggregate.field is not None
            self._need(aggregate.field, "text")
            if aggregate.field not in self.members:
                self.members.append(aggregate.field)
            if len(self.members) > MEMBER_FIELDS:
                raise ValueError(f"view {self.name!r} has more than {MEMBER_FIELDS} distinct fields; split it in two")
            return self.members.index(aggregate.field)
        if aggregate.field is not None:
            self._need(aggregate.field, "number")
        elif aggregate.where is None:
            return -1
        column = Column(aggregate.field, aggregate.where)
        if column not in self.columns:
            self.columns.append(column)
        return self.columns.index(column)

    def _feature(self, aggregate: Aggregate, column: int, window: str) -> Feature:
        stem = aggregate.name or "_".join(part for part in (aggregate.kind, aggregate.field) if part)
        name = f"{self.name}_{stem}"
        if aggregate.half_life:
            name += f"_half_{aggregate.half_life}"
        if window:
            name += f"_{window}"
        for length in (window, aggregate.half_life):
            if length and not duration_us(length):
                raise ValueError(f"view {self.name!r}: {name!r} looks back {length!r}, which holds nothing; use '1m'")
        delay_us = duration_us(aggregate.delay)
        if delay_us:
            name += f"_after_{aggregate.delay}"
        return Feature(
            name=name,
            kind=aggregate.kind,
            column=column,
            window=window,
            window_us=duration_us(window) if window else 0,
            delay_us=delay_us,
            half_life_us=duration_us(aggregate.half_life) if aggregate.half_life else 0,
            description=self._describe(aggregate, window),
            unit=UNITS.get(aggregate.kind, f"as {aggregate.field}"),
        )

    def _describe(self, aggregate: Aggregate, window: str) -> str:
        whose = self.entity.removesuffix("_id")
        field = (aggregate.field or "").removesuffix("_id")
        text = DESCRIPTIONS[aggregate.kind].format(whose=whose, field=field.replace("_", " "))
        text += f" within {window}" if window else ""
        text += f", ending {aggregate.delay} ago" if aggregate.delay != "0s" else ""
        text += f", where {aggregate.where}" if aggregate.where else ""
        return text + (f", halved every {aggregate.half_life}" if aggregate.half_life else "")

    def _cell(self, column: Column) -> str:
        sources = self._sources()
        value = "1.0" if column.field is None else sources[column.field]
        if column.where is None:
            return value
        otherwise = "0.0" if column.field is None else "nan"
        return f"({value} if {parse(column.where, self.fields, 'boolean').python(sources)} else {otherwise})"

    def _sources(self) -> dict[str, str]:
        return field_sources(self.source, "r")

    def _need(self, field: str, kind: Kind) -> None:
        if self.fields.get(field) != kind:
            able = [name for name, has in self.fields.items() if has == kind]
            raise ValueError(f"view {self.name!r}: {field!r} is no {kind} field of {self.source.__name__}; use {able}")

    def _refuse_duplicates(self) -> None:
        seen: set[str] = set()
        for feature in self.features:
            if feature.name in seen:
                raise ValueError(f"view {self.name!r} declares {feature.name!r} twice; give one a name")
            seen.add(feature.name)


def member_hash(text: str | None) -> int:
    """64 bits that stand for one value of a `distinct` field; 0 for a missing one."""
    return 0 if text is None else int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little", signed=True)


# Cards and merchants come again and again; the cache is bounded, and a miss costs a microsecond.
_known_member = lru_cache(maxsize=1 << 16)(member_hash)


def field_kinds(source: type[Any]) -> dict[str, Kind]:
    """The fields of a record type that an expression can read. A time is a number: microseconds since 1970 UTC."""
    kinds: dict[str, Kind] = {}
    for name, options in _field_types(source).items():
        if options & {float, int, datetime}:
            kinds[name] = "number"
        elif str in options or any(typing.get_origin(option) is typing.Literal for option in options):
            kinds[name] = "text"
    return kinds


def field_sources(source: type[Any], record: str) -> dict[str, str]:
    """The Python source that reads each field of a record as `Expression.python` wants it."""
    types_of = _field_types(source)
    sources = {}
    for name, kind in field_kinds(source).items():
        reads = f"{record}.{name}"
        # Floats throughout: whole numbers of Python have no bound, and SQL's other rules.
        value = f"micros({reads}) * 1.0" if datetime in types_of[name] else reads
        if int in types_of[name]:
            value = f"{reads} * 1.0"
        optional = kind == "number" and type(None) in types_of[name]
        value = f"({value})" if value != reads else value
        sources[name] = f"(nan if {reads} is None else {value})" if optional else value
    return sources


def _field_types(source: type[Any]) -> dict[str, set[Any]]:
    hints = typing.get_type_hints(source)
    unions = (types.UnionType, typing.Union)
    return {
        name: set(typing.get_args(hints[name])) if typing.get_origin(hints[name]) in unions else {hints[name]}
        for name in source.__struct_fields__
    }
