"""What charts, maps and graphs are drawn from."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta

import msgspec
import pytest

from review.links import Edge, Graph, Node
from review.traits import Kind
from review.web.amount_chart import HEIGHT, WIDTH, amount_chart
from review.web.link_layout import COLUMNS, OTHERS_LIMIT, link_drawing
from review.web.reason_bars import WIDTH as BAR_WIDTH
from review.web.reason_bars import bar
from review.web.travel import SIDE, place_map, steps
from stream.records import Decision, Reason

Make = Callable[..., Decision]
PARIS, BERLIN = (48.86, 2.35), (52.52, 13.40)


def at(decision: Decision, place: tuple[float, float] | None) -> Decision:
    latitude, longitude = place or (None, None)
    record = msgspec.structs.replace(decision.record, latitude=latitude, longitude=longitude)
    return msgspec.structs.replace(decision, record=record)


def test_a_later_event_stands_farther_right_and_a_larger_one_higher(decision: Make) -> None:
    chart = amount_chart(
        [decision("small", amount=5.0, hour=0.0), decision("large", amount=900.0, hour=3.0)], {"large"}
    )
    assert chart is not None
    small, large = chart.dots
    assert small.x < large.x
    assert small.y > large.y
    assert (small.own, large.own) == (False, True)
    assert chart.unit == "EUR"


def test_a_chart_through_the_night_says_which_day_it_is(decision: Make) -> None:
    chart = amount_chart([decision("evening", hour=20.0), decision("morning", hour=28.0)], set())
    assert chart is not None
    words = [tick.text for tick in chart.x_ticks]
    assert words == ["1 Jan 20:00", "22:00", "2 Jan 00:00", "02:00", "04:00"]


@pytest.mark.parametrize("amount", [0.0, 0.01, 1.0, 10.0, 999_999.0, 1e12])
def test_every_amount_stands_within_the_chart(decision: Make, amount: float) -> None:
    chart = amount_chart([decision("e", amount=amount)], set())
    assert chart is not None
    assert all(0 <= dot.x <= WIDTH and 0 <= dot.y <= HEIGHT for dot in chart.dots)
    assert all(math.isfinite(tick.at) for tick in chart.x_ticks + chart.y_ticks)


def test_nothing_to_draw_is_no_chart() -> None:
    assert amount_chart([], set()) is None


def test_the_way_between_two_places_is_a_distance_and_a_speed(decision: Make) -> None:
    step = steps([at(decision("b", hour=1.0), BERLIN), at(decision("a", hour=0.0), PARIS)])["b"]
    assert (round(step.km), step.time) == (877, timedelta(hours=1))
    assert step.speed_kmh == pytest.approx(step.km)


def test_two_places_at_one_moment_have_a_distance_and_no_speed(decision: Make) -> None:
    assert steps([at(decision("a"), PARIS), at(decision("b"), BERLIN)])["b"].speed_kmh is None


def test_events_without_a_place_are_passed_over(decision: Make) -> None:
    found = steps([at(decision("a"), PARIS), at(decision("b", hour=1.0), None), at(decision("c", hour=2.0), BERLIN)])
    assert list(found) == ["c"]
    assert found["c"].time == timedelta(hours=2)


def test_north_is_above_and_east_is_right_on_the_map(decision: Make) -> None:
    places = place_map([at(decision("a"), PARIS), at(decision("b", hour=1.0), BERLIN)], ("b",))
    assert places is not None
    paris, berlin = places.dots
    assert berlin.x > paris.x
    assert berlin.y < paris.y
    assert all(0 <= dot.x <= SIDE and 0 <= dot.y <= SIDE for dot in places.dots)


def test_one_place_is_no_map(decision: Make) -> None:
    assert place_map([at(decision("a"), PARIS), at(decision("b"), PARIS)], ()) is None


def node(kind: Kind, value: str, depth: int, cases: int = 2, fraud: int = 0) -> Node:
    return Node(kind=kind, value=value, depth=depth, case_id="c", cases=cases, open=0, fraud=fraud)


def test_a_device_that_two_cards_share_stands_between_them() -> None:
    nodes = (node("card", "a", 0), node("device", "shared", 1), node("device", "alone", 1), node("card", "b", 2))
    drawn = link_drawing(Graph(nodes, (Edge(0, 1, 1), Edge(0, 2, 1), Edge(1, 3, 1))))
    assert drawn is not None
    assert [(spot.node.value, spot.x) for spot in drawn.spots] == list(zip(["a", "shared", "b"], COLUMNS, strict=True))
    assert [(line.a.node.value, line.b.node.value) for line in drawn.lines] == [("a", "shared"), ("shared", "b")]


def test_a_merchant_with_fraud_is_drawn_though_it_links_nobody() -> None:
    nodes = (node("card", "a", 0), node("merchant", "clean", 1), node("merchant", "bad", 1, fraud=3))
    drawn = link_drawing(Graph(nodes, (Edge(0, 1, 1), Edge(0, 2, 1))))
    assert drawn is not None
    assert [spot.node.value for spot in drawn.spots] == ["a", "bad"]


@pytest.mark.parametrize(
    "graph", [Graph((), ()), Graph((node("card", "a", 0), node("device", "d", 1)), (Edge(0, 1, 1),))]
)
def test_who_shares_nothing_has_no_drawing(graph: Graph) -> None:
    assert link_drawing(graph) is None


def test_of_many_the_worst_are_drawn_and_all_stand_within_the_box() -> None:
    cards = [node("card", f"card-{number}", 2, fraud=number) for number in range(60)]
    nodes = (node("card", "a", 0), node("device", "d", 1), *cards)
    drawn = link_drawing(Graph(nodes, (Edge(0, 1, 1), *(Edge(1, number + 2, 1) for number in range(60)))))
    assert drawn is not None
    names = {spot.node.value for spot in drawn.spots}
    assert names == {"a", "d", *(f"card-{number}" for number in range(60 - OTHERS_LIMIT, 60))}
    assert all(0 < spot.x < drawn.width and 0 < spot.y < drawn.height for spot in drawn.spots)
    assert len({(spot.x, spot.y) for spot in drawn.spots}) == len(drawn.spots)


def test_a_value_of_three_times_the_usual_is_a_bar_three_times_as_long() -> None:
    found = bar(Reason("amount", "", 300.0, 100.0))
    assert found is not None
    assert found.value == pytest.approx(3 * found.usual, rel=0.01)
    assert not found.below


@pytest.mark.parametrize(("value", "usual"), [(None, 1.0), (1.0, None), (-1.0, 2.0), (0.0, 0.0), (math.inf, 1.0)])
def test_what_cannot_be_compared_has_no_bar(value: float | None, usual: float | None) -> None:
    assert bar(Reason("amount", "", value, usual)) is None


@pytest.mark.parametrize(("value", "usual"), [(1e300, 1.0), (1.0, 1e300), (5.0, 5.0), (0.0, 3.0)])
def test_a_bar_is_never_longer_than_its_box(value: float, usual: float) -> None:
    found = bar(Reason("amount", "", value, usual))
    assert found is not None
    assert 0 <= found.value <= BAR_WIDTH
    assert 0 <= found.usual <= BAR_WIDTH
