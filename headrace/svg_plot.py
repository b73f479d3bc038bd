"""Plots as inline SVG: text in, text out. Colours come from the page's CSS, so that one plot fits light and dark.

Every text is escaped: names of models, segments and features come from others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Literal

from headrace.svg_axis import Axis

WIDTH, HEIGHT = 960.0, 340.0
LEFT, RIGHT, TOP, BOTTOM = 64.0, 18.0, 34.0, 46.0
ROW_HEIGHT = 24.0
LABEL_WIDTH = 220.0
CHARACTER = 6.6
"""About as wide as one is, at the size of a plot's text."""
COLOURS = 4
CSS = """
.plot{width:100%;min-width:620px;height:auto;display:block;
font:12px system-ui,sans-serif;font-variant-numeric:tabular-nums}
.plot text{fill:var(--soft)}.plot .legend text{fill:var(--ink)}.plot .row{fill:var(--ink)}
.plot .grid{stroke:var(--rule);stroke-width:1}.plot .axis{stroke:var(--soft);stroke-width:1}
.plot .line{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
.plot .dashed{stroke-dasharray:5 4}.plot .whisker{stroke-width:1.5;opacity:.5}
.c0{stroke:var(--c0);fill:var(--c0)}.c1{stroke:var(--c1);fill:var(--c1)}.c2{stroke:var(--c2);fill:var(--c2)}
.c3{stroke:var(--c3);fill:var(--c3)}.plain{stroke:var(--soft);fill:var(--soft)}
"""


@dataclass(frozen=True)
class Series:
    """Points to draw, in the order given: as a line, as dots, or both. `spans` are intervals of y, one for each point.

    `colour` is 0 to 3, or None for a plain line of reference.
    """

    name: str
    points: Sequence[tuple[float, float]]
    colour: int | None = 0
    form: Literal["line", "dots", "both"] = "line"
    dashed: bool = False
    spans: Sequence[tuple[float, float]] = field(default=())


class InOrder:
    """Ids that are unique on a page: a title must be found by its own plot."""

    def __init__(self) -> None:
        self._count = 0

    def next(self) -> str:
        """The next one."""
        self._count += 1
        return f"plot{self._count}"


def plot(ids: InOrder, title: str, description: str, x: Axis, y: Axis, every: Sequence[Series]) -> str:
    """Lines and dots over two axes. `description` says what is seen to those who do not see it."""
    parts = [*_grid(x, y), *(_series(one, x, y) for one in every), _legend(every)]
    return _svg(ids, title, description, HEIGHT, parts)


def interval_plot(
    ids: InOrder, title: str, description: str, x: Axis, rows: Sequence[tuple[str, tuple[float, float, float]]]
) -> str:
    """One row for each name: a value as a dot and its interval as a line. A row is name and (value, low, high)."""
    bottom = TOP + ROW_HEIGHT * len(rows)
    span = WIDTH - RIGHT - LABEL_WIDTH

    def across(value: float) -> float:
        return LABEL_WIDTH + x.place(value) * span

    parts = []
    for tick in x.ticks():
        at = across(tick)
        parts.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP:.1f}" y2="{bottom:.1f}"/>')
        parts.append(f'<text x="{at:.1f}" y="{bottom + 16:.1f}" text-anchor="middle">{_text(x.tick_text(tick))}</text>')
    for number, (name, (value, low, high)) in enumerate(rows):
        y = TOP + ROW_HEIGHT * (number + 0.5)
        most = int((LABEL_WIDTH - 14) / CHARACTER)
        short = name if len(name) <= most else name[: most - 1] + "…"
        parts.append(
            f'<text class="row" x="{LABEL_WIDTH - 12:.1f}" y="{y + 4:.1f}" text-anchor="end">{_text(short)}</text>'
        )
        ends = f'x1="{across(low):.1f}" x2="{across(high):.1f}" y1="{y:.1f}" y2="{y:.1f}"'
        parts.append(
            f'<line class="whisker c0" {ends}/><circle class="c0" cx="{across(value):.1f}" cy="{y:.1f}" r="4"/>'
        )
    middle = LABEL_WIDTH + span / 2
    parts.append(f'<text x="{middle:.1f}" y="{bottom + 36:.1f}" text-anchor="middle">{_text(x.title)}</text>')
    return _svg(ids, title, description, bottom + BOTTOM, parts)


def _svg(ids: InOrder, title: str, description: str, height: float, parts: Sequence[str]) -> str:
    own = ids.next()
    return (
        f'<svg class="plot" role="img" viewBox="0 0 {WIDTH:g} {height:g}" aria-labelledby="{own}-title {own}-desc">'
        f'<title id="{own}-title">{_text(title)}</title><desc id="{own}-desc">{_text(description)}</desc>'
        f"{''.join(parts)}</svg>"
    )


def _grid(x: Axis, y: Axis) -> list[str]:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = []
    for tick in y.ticks():
        at = _down(y, tick)
        parts.append(f'<line class="grid" x1="{LEFT:g}" x2="{right:g}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8:g}" y="{at + 4:.1f}" text-anchor="end">{_text(y.tick_text(tick))}</text>')
    for tick in x.ticks():
        at = _across(x, tick)
        parts.append(f'<line class="axis" x1="{at:.1f}" x2="{at:.1f}" y1="{bottom:g}" y2="{bottom + 4:g}"/>')
        parts.append(f'<text x="{at:.1f}" y="{bottom + 18:g}" text-anchor="middle">{_text(x.tick_text(tick))}</text>')
    parts.append(f'<line class="axis" x1="{LEFT:g}" x2="{right:g}" y1="{bottom:g}" y2="{bottom:g}"/>')
    middle = (LEFT + right) / 2
    parts.append(f'<text x="{middle:g}" y="{HEIGHT - 8:g}" text-anchor="middle">{_text(x.title)}</text>')
    parts.append(f'<text x="4" y="14">{_text(y.title)}</text>')
    return parts


def _series(series: Series, x: Axis, y: Axis) -> str:
    colour = "plain" if series.colour is None else f"c{series.colour % COLOURS}"
    places = [(_across(x, one), _down(y, other)) for one, other in series.points]
    parts = []
    for (at, _), (low, high) in zip(places, series.spans, strict=False):
        ends = f'x1="{at:.1f}" x2="{at:.1f}" y1="{_down(y, low):.1f}" y2="{_down(y, high):.1f}"'
        parts.append(f'<line class="whisker {colour}" {ends}/>')
    if series.form != "dots":
        path = " ".join(f"{at:.1f},{down:.1f}" for at, down in places)
        dashed = " dashed" if series.dashed else ""
        # The class for lines comes last in the CSS of fills: a line has none.
        parts.append(f'<polyline class="{colour} line{dashed}" style="fill:none" points="{path}"/>')
    if series.form != "line":
        parts += [f'<circle class="{colour}" cx="{at:.1f}" cy="{down:.1f}" r="3"/>' for at, down in places]
    return "".join(parts)


def _legend(every: Sequence[Series]) -> str:
    """At the top right, so that it never lies over what it explains."""
    parts, at = [], WIDTH - RIGHT
    for series in reversed(every):
        colour = "plain" if series.colour is None else f"c{series.colour % COLOURS}"
        at -= len(series.name) * CHARACTER
        parts.append(f'<text x="{at:.1f}" y="14">{_text(series.name)}</text>')
        dashed = " dashed" if series.dashed else ""
        parts.append(f'<line class="{colour} line{dashed}" x1="{at - 26:.1f}" x2="{at - 6:.1f}" y1="10" y2="10"/>')
        at -= 40
    return f'<g class="legend">{"".join(reversed(parts))}</g>'


def _across(axis: Axis, value: float) -> float:
    return LEFT + axis.place(value) * (WIDTH - RIGHT - LEFT)


def _down(axis: Axis, value: float) -> float:
    return HEIGHT - BOTTOM - axis.place(value) * (HEIGHT - BOTTOM - TOP)


def _text(text: str) -> str:
    return escape(text, quote=True)
