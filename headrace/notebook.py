"""What a notebook shows: tables, and the plots of the reports, without a plotting library."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from headrace.svg_axis import Axis
from headrace.svg_plot import CSS, InOrder, Series, interval_plot, plot

PALETTE = ".plot{--ink:#1d2126;--soft:#5f6872;--rule:#e3e5e4;--c0:#0b66a8;--c1:#c2560c;--c2:#2c7a4b;--c3:#8a4bb0}"
WIDTH_PX = 800


class Drawing:
    """An SVG that stands for itself: Jupyter shows it wherever a cell ends with it."""

    def __init__(self, svg: str) -> None:
        head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH_PX}" style="background:#fff"'
        opened = svg.replace("<svg", head, 1)
        at = opened.index(">") + 1
        self.svg = f"{opened[:at]}<style>{PALETTE}{CSS}</style>{opened[at:]}"

    def _repr_svg_(self) -> str:
        return self.svg


class Shown:
    """A table: Jupyter shows it wherever a cell ends with it, others its text."""

    def __init__(self, headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        self.headings = [str(one) for one in headings]
        self.rows = [[str(cell) for cell in row] for row in rows]

    def _repr_html_(self) -> str:
        head = "".join(_cell("th", one) for one in self.headings)
        body = "".join(f"<tr>{''.join(_cell('td', cell) for cell in row)}</tr>" for row in self.rows)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def __repr__(self) -> str:
        return "\n".join(" | ".join(row) for row in [self.headings, *self.rows])


def _cell(tag: str, text: str) -> str:
    return f"<{tag} style='text-align:left'>{escape(text)}</{tag}>"


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> Shown:
    """A table of texts."""
    return Shown(headings, rows)


def lines(title: str, description: str, x: Axis, y: Axis, every: Sequence[Series]) -> Drawing:
    """Lines and dots over two axes; `description` says what is seen to those who do not see it."""
    return Drawing(plot(InOrder(), title, description, x, y, every))


def spans(title: str, description: str, x: Axis, rows: Sequence[tuple[str, tuple[float, float, float]]]) -> Drawing:
    """One row for each name: a value and its interval, as (value, low, high)."""
    return Drawing(interval_plot(InOrder(), title, description, x, rows))
