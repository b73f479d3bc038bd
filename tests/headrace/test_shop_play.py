"""Shoppers play against a service in miniature: the comparison is fair, and what must not be shown is noticed."""

from __future__ import annotations

import io
import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import mean
from threading import Thread

import msgspec
import pytest
from rich.console import Console

from headrace.shop_arms import ARMS, Arm, arm_of, share_of
from headrace.shop_movies import MovieShop
from headrace.shop_play import ShopPlayer, ShopView
from headrace.shop_source import MadeUpShop, Shop
from headrace.shop_summary import ShopSummary, shop_line, shop_table, summarize_shop
from stream.records import Action
from tests.headrace.shop_twin import Twin, serving
from tests.until import LIMIT_S, until


@pytest.fixture(scope="module")
def shop() -> MadeUpShop:
    return MadeUpShop(3, items=400, shoppers=300, days=4, change_every=timedelta(milliseconds=200))


def played(shop: Shop, twin: Twin, slates: int, enough: Callable[[ShopView], object] = lambda seen: True) -> ShopPlayer:
    """Play so many slates at least, and go on until there is enough of what comes by the clock."""
    seen: dict[str, set[str]] = {}
    for action in shop.history():
        twin.learn(action)
        seen.setdefault(action.user_id, set()).add(action.item_id or "")
    before = len(twin.actions)
    with serving(twin):
        player = ShopPlayer(twin.url, shop, seen, seed=1)
        playing = Thread(target=player.play, args=(1000.0, LIMIT_S))
        playing.start()

        def is_enough() -> bool:
            slates_so_far = sum(arm.slates for arm in player.seen.arms.values())
            return not playing.is_alive() or bool(slates_so_far >= slates and enough(player.seen))

        try:
            until(is_enough, "all that is to be seen", every_s=0.01)
        finally:
            player.stop()
            playing.join()
    del twin.actions[:before]
    return player


@pytest.fixture(scope="module")
def play(shop: MadeUpShop) -> tuple[ShopPlayer, Twin, ShopSummary]:
    twin = Twin(list(shop.catalogue()))
    player = played(shop, twin, slates=600, enough=lambda seen: seen.appeared_shown and seen.gone)
    return player, twin, summarize_shop(shop.name, player.seen)


def test_a_service_that_knows_the_last_look_beats_what_is_popular_and_that_beats_chance(
    play: tuple[ShopPlayer, Twin, ShopSummary],
) -> None:
    _, _, summary = play
    model, trending, random_ = (summary.arms[name] for name in ARMS)
    assert model.known and trending.known and random_.known
    assert model.known > 1.3 * trending.known > 1.3 * 1.3 * random_.known
    assert model.click_through and model.click_through.low and random_.click_through
    assert model.click_through.low > random_.click_through.share


def test_each_arm_clicks_as_often_as_the_world_knows(play: tuple[ShopPlayer, Twin, ShopSummary]) -> None:
    _, _, summary = play
    for arm in summary.arms.values():
        assert arm.slates > 50
        assert arm.known is not None and arm.click_through is not None
        assert abs(arm.clicks - arm.known * arm.shown) < 4 * (arm.known * arm.shown) ** 0.5


def test_what_visitors_do_is_sent_once_with_the_slate_that_it_answers_and_at_this_time(
    play: tuple[ShopPlayer, Twin, ShopSummary],
) -> None:
    player, twin, summary = play
    assert summary.is_good
    assert len(twin.actions) == summary.actions_sent == len({action.event_id for action in twin.actions})
    answering = [action for action in twin.actions if action.slate_id is not None]
    clicks = [action for action in answering if action.action == "click"]
    assert len(clicks) == summary.arms["model"].clicks > 0
    for action in answering:
        assert action.item_id in twin.slates[action.slate_id or ""]
        assert arm_of(action.user_id) == "model"
    now = datetime.now(UTC)
    assert all(now - timedelta(seconds=2 * LIMIT_S) < action.event_timestamp <= now for action in twin.actions)
    assert len(player.seen.latency_ms) == len(twin.slates)
    assert {asked["k"] for asked in twin.asked} == {10}
    assert any("user_id" not in asked for asked in twin.asked)


def test_nobody_is_shown_what_they_have_acted_on_whichever_the_arm(shop: MadeUpShop) -> None:
    class Watching(MadeUpShop):
        """Notes each slate that a visitor reacts to."""

        def __init__(self) -> None:
            super().__init__(3, items=400, shoppers=300, days=4)
            inner = self.visit

            def visit(shopper: int, at: datetime) -> object:
                found = inner(shopper, at)
                react = found.react

                def noted(item_ids: list[str], at: datetime, slate_id: str | None = None) -> list[Action]:
                    shown.append((found.user_id or f"session:{found.session_id}", list(item_ids)))
                    return react(item_ids, at, slate_id)

                found.react = noted  # type: ignore[method-assign, assignment]
                return found

            self.visit = visit  # type: ignore[assignment]

    shown: list[tuple[str, list[str]]] = []
    watched = Watching()
    played(watched, Twin(list(watched.catalogue())), slates=100)
    known: dict[str, set[str | None]] = {}
    for action in watched.history():
        known.setdefault(action.user_id, set()).add(action.item_id)
    assert len(shown) > 50
    assert any(known.get(who) for who, _ in shown)
    assert not [who for who, items in shown if known.get(who, set()) & set(items)]
    assert all(len(set(items)) == len(items) == 10 for _, items in shown)


def test_new_items_are_put_and_shown_and_deleted_ones_are_not(play: tuple[ShopPlayer, Twin, ShopSummary]) -> None:
    player, twin, summary = play
    assert summary.items_appeared_shown > 0 < summary.items_deleted
    assert summary.deleted_shown == {}
    assert not set(player.seen.gone) & set(twin.category)
    assert set(player.seen.appeared) <= set(twin.category)


def test_a_service_that_goes_on_showing_deleted_items_is_found_out() -> None:
    quick = MadeUpShop(3, items=400, shoppers=300, days=2, change_every=timedelta(milliseconds=50))
    twin = Twin(list(quick.catalogue()), forgets_deletes=True)
    twin.looks.update({item.item_id: 1000 for item in quick.changes(quick.opens, quick.opens + timedelta(hours=1))})
    player = played(quick, twin, slates=200, enough=lambda seen: seen.deleted_shown)
    summary = summarize_shop(quick.name, player.seen)
    assert summary.deleted_shown
    assert not summary.is_good
    assert "shown after that 0 times" not in text_of(summary)


def test_a_request_that_is_refused_is_an_error_of_the_summary(shop: MadeUpShop) -> None:
    summary = summarize_shop("shop", played(shop, Twin(list(shop.catalogue()), refuses=1), slates=60).seen)
    assert sum(summary.errors.values()) == 1
    assert not summary.is_good


def test_the_summary_says_who_was_better_in_words_and_as_json(play: tuple[ShopPlayer, Twin, ShopSummary]) -> None:
    player, _, summary = play
    text = text_of(summary)
    for words in ("click-through, model", "click-through, trending", "click-through, random", "p99", "ranker twin-1"):
        assert words in text
    assert msgspec.json.decode(msgspec.json.encode(summary), type=ShopSummary) == summary
    assert "random" in shop_line(player.seen)


def test_a_play_ends_when_it_is_stopped(shop: MadeUpShop) -> None:
    began = datetime.now()
    with serving(Twin(list(shop.catalogue()))) as twin:
        player = ShopPlayer(twin.url, shop, {})
        player.stop()
        player.play(10.0, 60.0)
    assert datetime.now() - began < timedelta(seconds=50)


def test_a_third_of_the_visitors_is_in_each_arm_for_good() -> None:
    arms = Counter(arm_of(f"shopper-{number}") for number in range(3_000))
    assert set(arms) == set(ARMS)
    assert min(arms.values()) > 900


def test_intervals_hold_the_true_share_as_often_as_they_say_though_visitors_differ() -> None:
    draw = random.Random(5)
    covered = []
    for _ in range(400):
        chances = [draw.choice((0.0, 0.1)) for _ in range(120)]
        tries = [draw.choice((10, 40)) for _ in chances]
        hits = [sum(draw.random() < chance for _ in range(tried)) for chance, tried in zip(chances, tries, strict=True)]
        found = share_of(hits, tries)
        assert found is not None and found.low is not None and found.high is not None
        covered.append(found.low <= 0.05 <= found.high)
    assert 0.91 < mean(covered) < 0.98


def test_an_arm_without_slates_has_no_shares_and_one_visitor_has_no_interval() -> None:
    arm = Arm()
    assert arm.figures().click_through is None
    arm.add("ana", [0.5, 0.1], [])
    figures = arm.figures()
    assert figures.click_through is not None
    assert (figures.click_through.share, figures.click_through.low, figures.known) == (0.0, None, 0.3)


RATINGS = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
ITEMS = "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"


@pytest.fixture
def movies(tmp_path: Path) -> Path:
    """Ten ratings: eight of history, then user 1 likes movie 3, and dislikes movie 4, which nobody knew."""
    rows = [(user, item, 5, 100 * user + item) for user in range(1, 5) for item in (1, 2)]
    rows += [(1, 3, 4, 10_000), (1, 4, 2, 10_001)]
    (tmp_path / "ml-100k.inter").write_text(RATINGS + "".join(f"{u}\t{i}\t{r}\t{t}\n" for u, i, r, t in rows[::-1]))
    films = "".join(f"{n}\tFilm {n}\t1995\tComedy Drama\n" for n in range(1, 6))
    (tmp_path / "ml-100k.item").write_text(ITEMS + films)
    return tmp_path


def test_movielens_is_a_shop_whose_future_says_what_is_liked(movies: Path) -> None:
    shop = MovieShop(movies)
    history = list(shop.history())
    assert len(history) == 8
    assert max(action.event_timestamp for action in history) < shop.opens
    assert {(action.user_id, action.item_id) for action in history} == {
        (str(user), f"movie-{item}") for user in range(1, 5) for item in (1, 2)
    }
    assert [item.item_id for item in shop.catalogue()] == ["movie-1", "movie-2", "movie-5"]
    new = shop.changes(shop.opens, shop.opens + timedelta(minutes=1))
    assert [(item.item_id, item.deleted) for item in new] == [
        ("movie-3", False), ("movie-1", True), ("movie-4", False), ("movie-2", True)
    ]  # fmt: skip
    assert (new[0].title, new[0].category, new[0].tags) == ("Film 3 (1995)", "comedy", ["comedy", "drama", "1990s"])
    at = shop.opens
    assert next(shop.arrivals()) == 1
    visit = shop.visit(1, at)
    assert [visit.click_probability(f"movie-{number}", 9, at) for number in (2, 3, 4)] == [0.0, 1.0, 0.0]
    clicked = visit.react(["movie-2", "movie-3", "movie-4"], at, "slate-1")
    assert [(one.item_id, one.action, one.value, one.slate_id) for one in clicked] == [
        ("movie-3", "rating", 4.0, "slate-1")
    ]
    assert [(one.item_id, one.slate_id) for one in visit.browse(at)] == [("movie-4", None)]
    assert visit.over
    assert list(shop.arrivals()) == []


def text_of(summary: ShopSummary) -> str:
    console = Console(width=200, file=io.StringIO())
    console.print(shop_table(summary))
    found = console.file
    assert isinstance(found, io.StringIO)
    return found.getvalue()
