from __future__ import annotations

import time
from collections import Counter, defaultdict
from datetime import datetime, timedelta
from itertools import islice, pairwise

import numpy as np
import pytest

from stream.records import Action, Item, decode, encode, micros
from stream.shoppers import OPENS, ShopWorld
from stream.shoppers_world import LINES_EACH

SECOND = timedelta(seconds=1)


@pytest.fixture(scope="module")
def world() -> ShopWorld:
    return ShopWorld(1, items=600, shoppers=800)


@pytest.fixture(scope="module")
def history(world: ShopWorld) -> list[Action]:
    return list(world.history(10))


def test_one_seed_gives_one_shop_and_another_seed_another(world: ShopWorld) -> None:
    again, other = ShopWorld(1, items=600, shoppers=800), ShopWorld(2, items=600, shoppers=800)
    assert list(world.history(2)) == list(again.history(2)) != list(other.history(2))
    assert list(world.catalogue()) == list(again.catalogue()) != list(other.catalogue())
    at = OPENS + SECOND
    assert world.visit(3, at).react(["item-1", "item-2"], at) == again.visit(3, at).react(["item-1", "item-2"], at)
    assert list(islice(world.arrivals(), 300)) == list(islice(again.arrivals(), 300))


def test_a_longer_history_ends_like_a_shorter_one(world: ShopWorld, history: list[Action]) -> None:
    short = list(world.history(2))
    assert len(short) > 500
    assert history[-len(short) :] == short


def test_history_is_in_time_order_and_ends_before_the_shop_opens(history: list[Action]) -> None:
    assert all(first.event_timestamp <= second.event_timestamp for first, second in pairwise(history))
    assert OPENS - timedelta(days=10) <= history[0].event_timestamp
    assert history[-1].event_timestamp < OPENS
    assert len({action.event_id for action in history}) == len(history)


def test_every_record_is_one_that_the_service_takes(world: ShopWorld, history: list[Action]) -> None:
    records: list[Action | Item] = [*history[:200], *islice(world.catalogue(), 50)]
    for record in (*records, *world.changes(OPENS, OPENS + 10 * SECOND)):
        assert decode(encode(record)) == record


def test_nobody_looks_at_an_item_before_it_is_there_or_after_it_has_gone(
    world: ShopWorld, history: list[Action]
) -> None:
    shelves = world.shelves
    at_us = np.array([micros(action.event_timestamp) for action in history])
    items = np.array([shelves.number_of(action.item_id or "") for action in history])
    looked = np.array([action.action == "view" for action in history])
    assert (items >= 0).all()
    assert (shelves.released_us[items] <= at_us)[looked].all()
    assert (at_us < shelves.withdrawn_us[items])[looked].all()


def test_a_visit_is_mostly_about_one_category_and_then_about_what_goes_with_it(
    world: ShopWorld, history: list[Action]
) -> None:
    visits = defaultdict(list)
    for action in history:
        if action.action == "view":
            visits[action.session_id].append(world.shelves.line[world.shelves.number_of(action.item_id or "")])
    pairs = [pair for lines in visits.values() for pair in pairwise(lines)]
    first, second = (np.array(column) for column in zip(*pairs, strict=True))
    of_others = np.roll(second, 1_001)
    complement = world.shelves.complement
    assert (first // LINES_EACH == second // LINES_EACH).mean() > 0.5
    assert (first // LINES_EACH == of_others // LINES_EACH).mean() < 0.1
    # What goes with an item comes after it, not before it.
    assert (complement[first] == second).mean() > 2 * (complement[second] == first).mean() > 0


def test_a_purchase_follows_a_cart_that_follows_a_look_in_the_same_visit(history: list[Action]) -> None:
    done: defaultdict[tuple[str | None, str | None], list[str]] = defaultdict(list)
    for action in history:
        done[action.session_id, action.item_id].append(action.action)
    kinds = Counter(tuple(each) for each in done.values())
    full = ("view", "add_to_cart", "purchase")
    # At the edges of history the beginning or the end of a visit is missing.
    assert sum(count for kind, count in kinds.items() if kind == full[: len(kind)]) > 0.999 * kinds.total()
    assert kinds[full] > 100
    assert all((action.value is not None) == (action.action == "purchase") for action in history)


def test_one_visit_in_ten_is_anonymous_and_has_a_session_all_the_same(history: list[Action]) -> None:
    visits = {action.session_id: action.user_id for action in history}
    anonymous = [user for session, user in visits.items() if user == f"session:{session}"]
    assert 0.07 < len(anonymous) / len(visits) < 0.13


def test_what_is_popular_moves(world: ShopWorld) -> None:
    now, before = (world.shelves.appeal(micros(OPENS - timedelta(days=days))) for days in (0, 14))
    assert np.corrcoef(now, world.shelves.appeal(micros(OPENS - timedelta(hours=3))))[0, 1] > 0.99
    assert 0.4 < np.corrcoef(now, before)[0, 1] < 0.97


def test_after_the_opening_an_item_appears_and_another_goes_every_two_seconds(world: ShopWorld) -> None:
    there = {item.item_id for item in world.catalogue()}
    changes = world.changes(OPENS, OPENS + 10 * SECOND)
    new = [item.item_id for item in changes if not item.deleted]
    gone = [item.item_id for item in changes if item.deleted]
    assert (len(new), len(gone)) == (5, 4)
    assert not there & set(new)
    assert set(gone) <= there
    assert changes == [
        *world.changes(OPENS, OPENS + 3 * SECOND),
        *world.changes(OPENS + 3 * SECOND, OPENS + 10 * SECOND),
    ]


def test_clicks_are_as_frequent_as_their_known_probability(world: ShopWorld) -> None:
    slate = [item.item_id for item in islice(world.catalogue(), 0, 500, 50)]
    expected = clicked = variance = 0.0
    for number in range(1_500):
        at = OPENS + number * SECOND
        visit = world.visit(number % 800, at)
        known = [visit.click_probability(item_id, place, at) for place, item_id in enumerate(slate, 1)]
        expected += sum(known)
        variance += sum(each * (1 - each) for each in known)
        clicked += len({action.item_id for action in visit.react(slate, at, "slate-1")})
    assert clicked > 100
    assert abs(clicked - expected) < 4 * variance**0.5


def test_a_click_is_likelier_at_the_first_place_and_for_what_the_visit_is_about(world: ShopWorld) -> None:
    at = OPENS + SECOND
    first, tenth = (np.mean([world.click_probability(n, "item-5", place, at) for n in range(300)]) for place in (1, 10))
    assert first / tenth == pytest.approx(1 + 0.15 * 9)
    best = max(world.catalogue(), key=lambda item: world.click_probability(4, item.item_id, 1, at))
    assert world.click_probability(4, best.item_id, 1, at) > 0.2
    assert world.click_probability(4, "nothing", 1, at) == world.click_probability(4, "item-600", 1, at) == 0.0


def test_what_was_clicked_is_not_clicked_again_in_the_visit(world: ShopWorld) -> None:
    at = OPENS + SECOND
    slate = [item.item_id for item in islice(world.catalogue(), 200)]
    visit = world.visit(9, at)
    clicked = {action.item_id for action in visit.react(slate, at)}
    assert clicked
    assert all(visit.click_probability(str(item_id), 1, at) == 0.0 for item_id in clicked)


def test_a_visit_ends_after_some_slates_and_names_the_slate_that_it_answers(world: ShopWorld) -> None:
    slates = []
    for number in range(200):
        visit, count = world.visit(number, OPENS), 0
        while not visit.over:
            count += 1
            actions = visit.react(["item-3", "item-4"], OPENS, f"slate-{count}")
            assert all(action.slate_id == f"slate-{count}" for action in actions)
        slates.append(count)
    assert 1 <= min(slates) < 2 < np.mean(slates) < 6 < max(slates) <= 20


def test_two_hundred_thousand_actions_are_made_in_seconds() -> None:
    # A tenth of it, since machines are noisy: some half a second, and the bound is five times that of the whole.
    def seconds() -> float:
        began = time.process_time()  # not by the clock: others may run, too
        assert len(list(islice(ShopWorld(1).history(10), 20_000))) == 20_000
        return time.process_time() - began

    # What takes long takes long each time; a whole machine that is stopped now and then counts for this process too.
    assert any(seconds() < 5 for _ in range(3))


@pytest.mark.parametrize(
    "wrong", [{"seed": -1}, {"items": 10}, {"shoppers": 0}, {"opens": datetime(2026, 1, 1)}], ids=str
)
def test_a_world_that_cannot_be_is_refused_in_words(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="give a seed from 0, at least 64 items"):
        ShopWorld(**{"seed": 1, **wrong})  # type: ignore[arg-type]
