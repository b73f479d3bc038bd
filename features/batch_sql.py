"""One view as SQL: every feature is a window function over a constant RANGE frame.

Rows are ordered by a key, `time_us * STEP + rank`, where the rank tells apart the rows of one entity at one
microsecond, in the order of their arrival, and stays below `TIE_LIMIT`, half a step. So a frame can end with the own
row and leave out what arrived later at the same time, as the live engine does; and its edge can lie in the empty half
between two microseconds, where no tie is cut, whatever the own rank.

Sums in a frame come from DuckDB's segment trees, never from differences of running sums, so they lose no digits. What
is counted may be: those sums are whole numbers.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from types import NoneType
from typing import Any

from features.expression import parse
from features.view import Column, Feature, View, field_kinds
from stream.table import quoted

STEP = 2048
TIE_LIMIT = STEP // 2
"""So many rows of one entity in a view may share a microsecond; with more, the query ends with an error."""
OFFSET_US = 1 << 52
"""Keys hold times less than this far from 1970 (142 years)."""
DECAYED_TO_NOTHING = 1200
"""Half-lives after which an event no longer counts: far below the smallest double."""
LOST_DIGITS = 1e-5
"""Where the squares of a window cancel to less than this share of themselves, they are summed again, centred."""


class ViewSql:
    """The SQL of one view: common table expressions, the last of which gives `sequence` and `v_0`, `v_1` … .

    Parameters
    ----------
    prefix
        Begins the names of the table expressions.
    source, relation
        The feature set's record type, and the relation of its records: each of them is a point to answer.
    rows
        The relation of the view's own records; the same one where the view's source is the feature set's.
    points
        SQL condition over a record `r` of the feature set's source: which are answered.
    """

    def __init__(self, view: View, prefix: str, source: type[Any], relation: str, rows: str, points: str) -> None:
        self.view = view
        self.prefix = prefix
        self.is_own = view.source is source
        self._relation = relation
        self._rows = rows
        self._points = points
        self._filtered = not self.is_own or view.where is not None
        self._windows: dict[str, str] = {}
        self._references = sorted({f.column for f in view.features if f.kind == "std"})
        self._results = [self._feature(feature) for feature in view.features]

    @property
    def tables(self) -> list[tuple[str, str]]:
        """The common table expressions: names and queries, in order."""
        over = ", ".join(f"{expression} AS {name}" for expression, name in self._windows.items())
        tables = [
            (f"{self.prefix}_rows", self._rows_sql()),
            (f"{self.prefix}_keyed", self._keyed_sql()),
            (f"{self.prefix}_framed", f"SELECT *{', ' if over else ''}{over} FROM {self.prefix}_ready"),
        ]
        tables.insert(2, (f"{self.prefix}_ready", self._ready_sql()))
        joins = ""
        for i, feature in enumerate(self.view.features):
            if feature.kind == "std":
                tables.append((f"{self.prefix}_centred_{i}", self._centred_sql(feature)))
                joins += f" LEFT JOIN {self.prefix}_centred_{i} AS centred_{i} USING (sequence)"
        results = "".join(f", {sql} AS v_{i}" for i, sql in enumerate(self._results))
        select = f"SELECT sequence{results} FROM {self.prefix}_framed AS f{joins} WHERE is_point"
        return [*tables, (self.prefix, select)]

    def _rows_sql(self) -> str:
        """The view's rows and the points: entity, time, measured columns, members; null where a row does not count."""
        view, columns = self.view, record_columns(self.view.source, "r")
        counts = parse(view.where, view.fields, "boolean").sql(columns) if view.where else ""
        cells = cells_sql(view, columns)
        members = [f"r.{quoted(member)}" for member in view.members]
        if self.is_own and counts:
            cells = [f"CASE WHEN {counts} THEN {cell} END" for cell in cells]
            members = [f"CASE WHEN {counts} THEN {member} END" for member in members]
        named = "".join(f", {cell} AS c_{i}" for i, cell in enumerate(cells))
        named += "".join(f", {member} AS m_{i}" for i, member in enumerate(members))
        entity = quoted(view.entity)
        if self.is_own:
            counted = f"CASE WHEN {counts} THEN 1 END" if counts else "1"
            return (
                f"SELECT r.sequence, coalesce({self._points}, FALSE) AS is_point, {counted} AS counted,"
                f" r.{entity} AS entity, r.event_timestamp AS at_us{named}"
                f" FROM {self._relation} AS r WHERE r.{entity} IS NOT NULL"
            )
        time = quoted(view.time)
        where = f" AND {counts}" if counts else ""
        return (
            f"SELECT r.sequence, FALSE AS is_point, 1 AS counted, r.{entity} AS entity, r.{time} AS at_us{named}"
            f" FROM {self._rows} AS r WHERE r.{entity} IS NOT NULL AND r.{time} IS NOT NULL{where}"
            f" UNION ALL BY NAME SELECT r.sequence, TRUE AS is_point, r.{entity} AS entity, r.event_timestamp AS at_us"
            f" FROM {self._relation} AS r WHERE r.{entity} IS NOT NULL AND {self._points}"
        )

    def _keyed_sql(self) -> str:
        # Points come after the rows of another source: what is known at their time, they know.
        order = "sequence" if self.is_own else "is_point, sequence"
        if not self._needs_ranks:
            return f"SELECT *, at_us * {STEP} AS k FROM {self.prefix}_rows"
        problem = f"more than {TIE_LIMIT} records of one entity of view {self.view.name} share a microsecond"
        return (
            f"SELECT *, at_us * {STEP} + CASE WHEN tie < {TIE_LIMIT} THEN tie ELSE error('{problem}') END AS k"
            f" FROM (SELECT *, row_number() OVER (PARTITION BY entity, at_us ORDER BY {order}) - 1 AS tie"
            f" FROM {self.prefix}_rows)"
        )

    def _ready_sql(self) -> str:
        """What needs another order: the neighbours of each member, and a reference near which deviations are small."""
        extra = "".join(
            f", lag(at_us) OVER same_{i} AS m_{i}_before, lead(at_us) OVER same_{i} AS m_{i}_after"
            for i in range(len(self.view.members))
        )
        extra += "".join(f", median(c_{i}) OVER (PARTITION BY entity) AS reference_{i}" for i in self._references)
        same = ", ".join(f"same_{i} AS (PARTITION BY entity, m_{i} ORDER BY k)" for i in range(len(self.view.members)))
        return f"SELECT *{extra} FROM {self.prefix}_keyed{' WINDOW ' if same else ''}{same}"

    @property
    def _needs_ranks(self) -> bool:
        """Whether the order within a microsecond matters: where frames end with the own row, or look for a latest."""
        latest = any(feature.kind in ("last", "previous", "since_last") for feature in self.view.features)
        return latest or (self.is_own and not all(feature.delay_us for feature in self.view.features))

    def _centred_sql(self, feature: Feature) -> str:
        """Deviations of the few windows that are narrow beside their distance from the reference, about their mean."""
        sums = self._deviations(feature)
        lower, upper = self._edges(feature)
        reference = f"reference_{feature.column}"
        return (
            "SELECT sequence,"
            " sqrt(greatest(0, sum(off * off) - sum(off) * sum(off) / count(off)) / count(off)) AS value"
            f" FROM (SELECT p.sequence, s.c_{feature.column} - p.middle AS off"
            f" FROM (SELECT sequence, entity, k, {reference} + {sums[1]} / {sums[0]} AS middle"
            f" FROM {self.prefix}_framed WHERE is_point AND {_cancels(*sums)}) AS p"
            f" JOIN {self.prefix}_keyed AS s"
            f" ON s.entity = p.entity AND s.k >= p.k - {lower} AND s.k <= p.k - {upper}) GROUP BY sequence"
        )

    def _feature(self, feature: Feature) -> str:
        """The SQL of one feature over the framed rows."""
        cell = f"c_{feature.column}"
        match feature.kind:
            case "count" if feature.column < 0:
                return self._count(feature)
            case "count" | "sum":
                return f"coalesce({self._framed(f'sum({cell})', feature)}, 0)"
            case "mean" | "share":
                return f"{self._framed(f'sum({cell})', feature)} / nullif({self._count(feature)}, 0)"
            case "std":
                n, off, squares = self._deviations(feature)
                i = self.view.features.index(feature)
                plain = f"sqrt(greatest(0, {squares} - {off} * {off} / {n}) / {n})"
                return f"CASE WHEN {n} > 0 THEN coalesce(centred_{i}.value, {plain}) END"
            case "min" | "max":
                return self._framed(f"{feature.kind}({cell})", feature)
            case "last" if not self._filtered:
                return cell
            case "last":
                boxed = f"last_value(CASE WHEN counted = 1 THEN {{'value': {cell}}} END IGNORE NULLS)"
                return f"{self._framed(boxed, feature)}.value"
            case "previous":
                return self._before(cell)
            case "since_last":
                return f"(at_us - {self._before('at_us')}) / 1e6"
            case "since_first":
                first = "min(CASE WHEN counted = 1 THEN at_us END)" if self._filtered else "first_value(at_us)"
                return f"(at_us - {self._framed(first, feature)}) / 1e6"
            case "distinct":
                return self._distinct(feature)
            case "decayed_count" | "decayed_sum":
                return self._decayed(feature)
        raise AssertionError(feature.kind)  # pragma: no cover - every kind is above

    def _count(self, feature: Feature) -> str:
        """How many rows in the window have the column."""
        if feature.column >= 0 and self._may_be_null(self.view.columns[feature.column]):
            return self._framed(f"count(c_{feature.column})", feature)
        return self._framed("count(counted)" if self._filtered else "count(*)", feature)

    def _deviations(self, feature: Feature) -> tuple[str, str, str]:
        """Count, sum and sum of squares of the deviations from the entity's reference."""
        off = f"(c_{feature.column} - reference_{feature.column})"
        return (
            self._count(feature),
            self._framed(f"sum({off})", feature),
            self._framed(f"sum({off} * {off})", feature),
        )

    def _before(self, value: str) -> str:
        """A value of the latest counting row before this one."""
        if not self._filtered:
            return self._window(f"lag({value}) OVER (PARTITION BY entity ORDER BY k)")
        boxed = f"last_value(CASE WHEN counted = 1 THEN {{'value': {value}}} END IGNORE NULLS)"
        frame = "ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING"
        return f"{self._window(f'{boxed} OVER (PARTITION BY entity ORDER BY k {frame})')}.value"

    def _distinct(self, feature: Feature) -> str:
        """Members seen in the window, by counting stays.

        A member comes when it was not seen for a whole window before, and goes a window after it was seen for the last
        time before such a gap. Those present are those that came, less those that went.
        """
        member, w = f"m_{feature.column}", feature.window_us
        came = f"{member} IS NOT NULL AND ({member}_before IS NULL OR at_us - {member}_before >= {w})"
        went = f"{member} IS NOT NULL AND ({member}_after IS NULL OR {member}_after - at_us >= {w})"
        _, upper = self._edges(feature)
        came = self._over(f"count(CASE WHEN {came} THEN 1 END)", None, upper)
        went = self._over(f"count(CASE WHEN {went} THEN 1 END)", None, (feature.delay_us + w) * STEP - TIE_LIMIT)
        return f"{came} - {went}"

    def _decayed(self, feature: Feature) -> str:
        """A decayed sum by blocks of time at least as long as the window.

        Within a block, weights are taken at its middle, so that none grows beyond a double however long the history. A
        window meets two blocks at most, its end's and the one before: the even one and the odd one keep them apart.
        """
        half = feature.half_life_us
        block_us = min(feature.window_us, DECAYED_TO_NOTHING * half)
        block = f"((at_us + {OFFSET_US}) // {block_us})"
        middle = f"({block} * {block_us} - {OFFSET_US} + {block_us // 2})"
        value = f"c_{feature.column}" if feature.column >= 0 else "counted"
        weighted = f"{value} * pow(2.0, (at_us - {middle}) / {half}.0)"
        lower = (feature.delay_us + block_us - 1) * STEP + TIE_LIMIT
        _, upper = self._edges(feature)
        even, odd = (
            self._over(f"sum(CASE WHEN {block} % 2 = {parity} THEN {weighted} END)", lower, upper) for parity in (0, 1)
        )
        end = f"(at_us - {feature.delay_us} + {OFFSET_US})"
        number = f"({end} // {block_us})"
        total = ""
        for back in (0, 1):
            # In two halves: a weight may be too small for a double where the product is not.
            root = f"pow(2.0, (({number} - {back}) * {block_us} + {block_us // 2} - {end}) / {2 * half}.0)"
            part = f"coalesce(CASE WHEN ({number} - {back}) % 2 = 0 THEN {even} ELSE {odd} END, 0)"
            total += f"{' + ' if back else ''}{part} * {root} * {root}"
        return total

    def _edges(self, feature: Feature) -> tuple[int, int]:
        """How far back in keys the window begins and ends."""
        lower = (feature.delay_us + feature.window_us - 1) * STEP + TIE_LIMIT
        if self.is_own and not feature.delay_us:
            return lower, 0
        return lower, feature.delay_us * STEP - TIE_LIMIT

    def _framed(self, aggregate: str, feature: Feature) -> str:
        return self._over(aggregate, *self._edges(feature))

    def _over(self, aggregate: str, lower: int | None, upper: int) -> str:
        begins = "UNBOUNDED PRECEDING" if lower is None else f"{lower} PRECEDING"
        ends = "CURRENT ROW" if upper == 0 else f"{upper} PRECEDING" if upper > 0 else f"{-upper} FOLLOWING"
        return self._window(f"{aggregate} OVER (PARTITION BY entity ORDER BY k RANGE BETWEEN {begins} AND {ends})")

    def _window(self, expression: str) -> str:
        """The column that holds a window function; one for all features that need it."""
        return self._windows.setdefault(expression, f"w_{len(self._windows)}")

    def _may_be_null(self, column: Column) -> bool:
        if column.field is None:
            return False
        options = typing.get_args(typing.get_type_hints(self.view.source)[column.field])
        return column.where is not None or NoneType in options


def record_columns(source: type[Any], alias: str) -> dict[str, str]:
    """The SQL of each field of a record, as `Expression.sql` wants it. Times are columns of microseconds since 1970."""
    kinds = field_kinds(source)
    return {
        name: f"CAST({alias}.{quoted(name)} AS DOUBLE)" if kind == "number" else f"{alias}.{quoted(name)}"
        for name, kind in kinds.items()
    }


def cells_sql(view: View, columns: Mapping[str, str]) -> list[str]:
    """The SQL of each measured column of a view, over `record_columns` of its source."""
    return [_cell(view, column, columns) for column in view.columns]


def _cell(view: View, column: Column, columns: Mapping[str, str]) -> str:
    value = "1.0::DOUBLE" if column.field is None else columns[column.field]
    if column.where is None:
        return value
    otherwise = "0.0::DOUBLE" if column.field is None else "NULL"
    return f"CASE WHEN {parse(column.where, view.fields, 'boolean').sql(columns)} THEN {value} ELSE {otherwise} END"


def _cancels(n: str, off: str, squares: str) -> str:
    return f"{squares} > 0 AND {squares} - {off} * {off} / {n} < {LOST_DIGITS!r} * {squares}"
