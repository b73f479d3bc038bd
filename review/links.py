"""Who is linked to whom: entities that share cards, devices, customers, places or a merchant, as a small graph."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

import msgspec
from sqlalchemy import Connection, bindparam, select, text

from review.case_rows import CaseRows
from review.columns import Words
from review.tables import CASES, TRAITS
from review.traits import LINKING, Kind

DEPTH_LIMIT = 3
NODES_LIMIT = 200
HUB = 25
"""A value in more cases than this links nobody: everybody uses it."""
CASES_LIMIT = 200
"""So many cases are looked at in one step."""

Value = tuple[Kind, str]


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A card, a device, …: in how many cases it is, how many of them are open, and how many are fraud.

    `depth` is how many steps it is away from the case's own entity; `case_id` is its newest case. A `hub` is in more
    than 25 cases, and the graph does not go on from it: its figures are then of 26 of them.
    """

    kind: Kind
    value: str
    depth: int
    case_id: str | None
    cases: int
    open: int
    fraud: int
    hub: bool = False


class Edge(msgspec.Struct, frozen=True):
    """Two nodes, by their places in the graph, and in how many of the cases that were looked at they occur together."""

    a: int
    b: int
    cases: int


class Graph(msgspec.Struct, frozen=True):
    """The first node is what the case is about."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]


class Links(CaseRows):
    """Walks from case to case over what they share."""

    def linked(self, case_id: str, depth: int = 2, limit: int = 50) -> Graph:
        """What a case's entity is linked to, up to `depth` steps away and `limit` nodes, the nearest first.

        A step goes from a value to all that occurs in its cases: 1 is the devices of the card, 2 the cards of these
        devices. Merchants are shown beside the case's own entity only, and nothing is followed through them. Raises
        `UnknownCase`; `ValueError` for a depth that is not 1 to 3 or a limit that is not 1 to 200.
        """
        if not 1 <= depth <= DEPTH_LIMIT or not 1 <= limit <= NODES_LIMIT:
            raise ValueError(
                f"depth {depth}, limit {limit}: ask for 1 to {DEPTH_LIMIT} steps and 1 to {NODES_LIMIT} nodes"
            )
        with self.database.reading() as db:
            one = self._one(db, case_id)
            start = _own(db, case_id, one.entity)
            if start is None:
                return Graph((), ())
            depths: dict[Value, int] = {start: 0}
            together: Counter[tuple[Value, Value]] = Counter()
            hubs: set[Value] = set()
            walked: set[str] = set()
            frontier = [start]
            for step in range(1, depth + 1):
                of_value = _cases_of(db, frontier)
                hubs |= {value for value in frontier if len(of_value[value]) > HUB and value != start}
                wanted = [one for value in frontier if value not in hubs for one in of_value[value]]
                fresh = [one for one in dict.fromkeys([case_id, *wanted]) if one not in walked][:CASES_LIMIT]
                walked |= set(fresh)
                frontier = []
                for traits in _traits_of(db, fresh).values():
                    kept = [value for value in traits if value[0] != "merchant" or step == 1]
                    for value in kept:
                        if value not in depths and len(depths) < limit:
                            depths[value] = step
                            if value[0] != "merchant":
                                frontier.append(value)
                    together.update(_pairs(kept, start[0]))
            return _graph(db, depths, together, hubs)


def _own(db: Connection, case_id: str, entity: str) -> Value | None:
    kinds = set(
        db.execute(select(TRAITS.c.kind).where(TRAITS.c.case_id == case_id, TRAITS.c.value == entity)).scalars()
    )
    found: list[Kind] = [kind for kind in LINKING if kind in kinds]
    return (found[0], entity) if found else None


def _cases_of(db: Connection, values: list[Value]) -> dict[Value, list[str]]:
    """The cases of each value, of a hub so many that it is seen to be one: no matter how many it has."""
    found: dict[Value, list[str]] = {value: [] for value in values}
    if values:
        few = "SELECT case_id FROM traits WHERE kind = :kind_{0} AND value = :value_{0} LIMIT {1}"
        parts = [f"SELECT {n} AS n, case_id FROM ({few.format(n, HUB + 1)}) AS of_{n}" for n in range(len(values))]
        asked = {
            f"{name}_{n}": word
            for n, pair in enumerate(values)
            for name, word in zip(("kind", "value"), pair, strict=True)
        }
        statement = text(" UNION ALL ".join(parts)).bindparams(*(bindparam(name, type_=Words()) for name in asked))
        for n, case_id in db.execute(statement, asked):
            found[values[n]].append(case_id)
    return found


def _traits_of(db: Connection, case_ids: list[str]) -> dict[str, list[Value]]:
    found: dict[str, list[Value]] = defaultdict(list)
    linking = (TRAITS.c.case_id.in_(case_ids), TRAITS.c.kind.in_(LINKING))
    statement = select(TRAITS.c.case_id, TRAITS.c.kind, TRAITS.c.value).where(*linking)
    for case_id, kind, value in db.execute(statement.order_by(TRAITS.c.case_id, TRAITS.c.kind, TRAITS.c.value)):
        found[case_id].append((kind, value))
    return {case_id: found[case_id] for case_id in case_ids if case_id in found}


def _pairs(values: list[Value], own: Kind) -> Iterable[tuple[Value, Value]]:
    """A star in each case, from what cases are about (cards) to the rest: a clique would hide who is who."""
    middles = [value for value in values if value[0] == own]
    return {(middle, other) for middle in middles for other in values if other[0] != own}


def _graph(db: Connection, depths: dict[Value, int], together: Counter[tuple[Value, Value]], hubs: set[Value]) -> Graph:
    values = list(depths)
    places = {value: place for place, value in enumerate(values)}
    figures = _figures(db, values)
    nodes = tuple(
        Node(
            kind=value[0],
            value=value[1],
            depth=depths[value],
            case_id=figures[value][0],
            cases=figures[value][1],
            open=figures[value][2],
            fraud=figures[value][3],
            hub=value in hubs or figures[value][1] > HUB,
        )
        for value in values
    )
    edges = (Edge(places[a], places[b], count) for (a, b), count in together.items() if a in places and b in places)
    return Graph(nodes, tuple(sorted(edges, key=lambda edge: (edge.a, edge.b))))


def _figures(db: Connection, values: list[Value]) -> dict[Value, tuple[str | None, int, int, int]]:
    """Of each value: its newest case, and how many cases it has, how many wait, how many are fraud."""
    of_value = _cases_of(db, values)
    every = sorted({case_id for case_ids in of_value.values() for case_id in case_ids})
    columns = (CASES.c.case_id, CASES.c.number, CASES.c.status, CASES.c.verdict)
    rows = {row.case_id: row for row in db.execute(select(*columns).where(CASES.c.case_id.in_(every)))}
    found: dict[Value, tuple[str | None, int, int, int]] = {}
    for value, case_ids in of_value.items():
        own = [rows[case_id] for case_id in case_ids]
        newest = max(own, key=lambda row: row.number, default=None)
        waiting = sum(row.status != "decided" for row in own)
        fraud = sum(row.status == "decided" and row.verdict == "fraud" for row in own)
        found[value] = (newest.case_id if newest else None, len(own), waiting, fraud)
    return found
