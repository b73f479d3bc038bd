"""Plots are well-formed, say what they show, and let no text break out."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from headrace.svg_axis import Axis, day_number, days, linear, logarithmic, round_ticks
from headrace.svg_plot import InOrder, Series, interval_plot, plot

HOSTILE = "\"><script>alert(1)</script>&'"
SVG = "{http://www.w3.org/2000/svg}"


def parsed(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


def test_a_plot_is_well_formed_has_a_title_and_a_description_and_escapes_its_texts() -> None:
    ids = InOrder()
    x = Axis(HOSTILE, 0.0, 1.0, lambda value: f"{value:g}<")
    lines = [Series(HOSTILE, [(0.0, 0.1), (1.0, 0.9)], 0, "both", spans=[(0.0, 0.2), (0.8, 1.0)])]
    for text in (
        plot(ids, HOSTILE, "what is seen", x, x, lines),
        interval_plot(ids, "by part", HOSTILE, x, [(HOSTILE, (0.5, 0.4, 0.6))]),
    ):
        root = parsed(text)
        assert "<script" not in text
        title, description = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
        assert title is not None
        assert description is not None
        assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
        assert root.get("role") == "img"
    assert parsed(text).findall(f".//{SVG}script") == []


def test_points_are_where_the_axes_say() -> None:
    axis = Axis("y", 0.0, 10.0, str)
    root = parsed(plot(InOrder(), "t", "d", axis, axis, [Series("s", [(0.0, 0.0), (10.0, 10.0)], 0, "dots")]))
    low, high = root.findall(f"{SVG}circle")
    assert float(low.get("cx", 0)) < float(high.get("cx", 0))
    assert float(low.get("cy", 0)) > float(high.get("cy", 0))


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.0, 0.037, [0.0, 0.01, 0.02, 0.03]),
        (-30.0, 1700.0, [0.0, 500.0, 1000.0, 1500.0]),
    ],
)
def test_ticks_are_round(low: float, high: float, ticks: list[float]) -> None:
    assert round_ticks(low, high) == ticks


def test_axes_hold_what_they_are_given() -> None:
    assert linear("y", [], str).ticks()
    assert linear("y", [3.0, 3.0], str).low == 0.0
    powers = logarithmic("p", [0.0, 0.0004, 0.3], str, 1e-5)
    assert (powers.low, powers.high) == pytest.approx((1e-4, 1.0))
    assert powers.place(0.0) == 0.0
    month = days("day", [f"2026-01-{day:02}" for day in range(1, 31)])
    assert 3 <= len(month.ticks()) <= 7
    assert month.tick_text(day_number("2026-01-08")) == "8 Jan"
