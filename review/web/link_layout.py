"""Linked entities as a drawing of three columns: what the case is about, what it shares, and who shares it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from review.links import Graph, Node

WIDTH = 720.0
COLUMNS = (14.0, 230.0, 480.0)
ROW = 27.0
MARGIN = 20.0
WORDS_LIMIT, TELLS = 20, 48.0
"""A node's words: so many characters of its value, and what is told of its cases behind them."""
SHARED_LIMIT, OTHERS_LIMIT = 9, 12
"""How many are drawn; a list beside the drawing has all."""


class Spot(NamedTuple):
    """A node and where it stands; its words are to the right of it."""

    node: Node
    x: float
    y: float


class Line(NamedTuple):
    """From one spot to another, beginning at `x` behind the first one's words; `cases` have both."""

    a: Spot
    b: Spot
    cases: int
    x: float


class LinkDrawing(NamedTuple):
    """What is drawn, in units of a box of `width` and `height`."""

    spots: list[Spot]
    lines: list[Line]
    height: float
    width: float = WIDTH


def link_drawing(graph: Graph) -> LinkDrawing | None:
    """Entities of the own's kind that share something with it, and what they share; None where nobody does.

    Of many, those with the most fraud and then the most cases are drawn. A value that fraud went through is drawn even
    if nobody else in the graph has it (a merchant is followed no further). The same graph looks the same again.
    """
    if not graph.nodes:
        return None
    beside = _beside(graph)
    own = graph.nodes[0].kind
    others = {place for place, node in enumerate(graph.nodes) if place and node.kind == own}
    shared = [place for place in beside[0] if beside[place].keys() & others or (graph.nodes[place].fraud > 0)]
    if not shared:
        return None
    shared = _most_telling(graph, shared, SHARED_LIMIT)
    linked = _most_telling(graph, [place for place in others if beside[place].keys() & set(shared)], OTHERS_LIMIT)
    shared.sort(key=lambda place: (graph.nodes[place].kind, graph.nodes[place].value))
    row = {place: number for number, place in enumerate(shared)}
    linked.sort(key=lambda place: (_mean([row[one] for one in beside[place] if one in row]), graph.nodes[place].value))
    height = ROW * max(len(shared), len(linked), 1) + 2 * MARGIN
    spots: dict[int, Spot] = {}
    for x, column in zip(COLUMNS, ([0], shared, linked), strict=True):
        top = (height - ROW * len(column)) / 2 + ROW / 2
        spots |= {place: Spot(graph.nodes[place], x, round(top + ROW * at, 1)) for at, place in enumerate(column)}
    ends = [(0, place) for place in shared] + [(place, other) for place in shared for other in linked]
    lines = [Line(spots[a], spots[b], beside[a][b], _behind(spots[a], a == 0)) for a, b in ends if b in beside[a]]
    return LinkDrawing(list(spots.values()), lines, height)


def _beside(graph: Graph) -> dict[int, dict[int, int]]:
    found: dict[int, dict[int, int]] = defaultdict(dict)
    for edge in graph.edges:
        found[edge.a][edge.b] = found[edge.b][edge.a] = edge.cases
    return found


def _most_telling(graph: Graph, places: Sequence[int], limit: int) -> list[int]:
    return sorted(places, key=lambda place: (-graph.nodes[place].fraud, -graph.nodes[place].cases, place))[:limit]


def _behind(spot: Spot, is_own: bool) -> float:
    """Where a spot's words end; those of the case's own stand above it."""
    if is_own:
        return spot.x + 9.0
    return min(spot.x + 22.0 + 7.0 * min(len(spot.node.value), WORDS_LIMIT) + TELLS, COLUMNS[-1] - 40.0)


def _mean(numbers: list[int]) -> float:
    return sum(numbers) / len(numbers) if numbers else 0.0
