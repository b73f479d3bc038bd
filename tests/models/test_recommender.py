from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models.batch_items import BatchItems, Neighbours
from models.candidates import (
    BATCH,
    CONTENT,
    COVISITATION,
    NEWCOMER_IMPRESSIONS,
    NEWCOMERS_AMONG,
    NEWCOMERS_MOST,
    NOTHING,
    SOURCES,
    blend,
)
from models.exposure import SHOWN
from models.gather_kernel import _newcomers
from models.interaction import Interaction, weight_of
from models.item_index import NO_CATEGORY, ItemFacts
from models.packed import InvalidState
from models.recommender import Recommender
from models.visit import RECENT_LIMIT, empty_visit
from tests.models.shop import MINUTE_US, START_US, hash_of, shopping, told

ROOT = Path(__file__).parents[2]
EVENTS = shopping(3_000)
END_US = EVENTS[-1].at_us + MINUTE_US


def named(recommender: Recommender, user: str, limit: int = 10) -> list[str]:
    found = recommender.candidates(recommender.visit(user, END_US), limit)
    return [recommender.index.ids[number] for number in found.items.tolist()]


def shelf(item: str) -> int:
    return int(item.removeprefix("item-")) % 10


def test_the_same_sequence_gives_the_same_digest_and_another_one_another() -> None:
    assert told(EVENTS).digest() == told(EVENTS).digest()
    assert told(EVENTS[:-1]).digest() != told(EVENTS).digest()


@pytest.mark.parametrize("cut", [0, 1, 777, 2_500])
def test_a_state_that_was_written_down_and_read_goes_on_bit_for_bit(cut: int) -> None:
    first = told(EVENTS[:cut])
    read = Recommender.decode(first.encode(), hash_of)
    assert read.digest() == first.digest()
    assert told(EVENTS[cut:], read).digest() == told(EVENTS[cut:], first).digest()


OTHER = """
import sys
from tests.models.shop import hash_of, shopping, told
from models.recommender import Recommender
events = shopping(3_000)
half = Recommender.decode(told(events[:1_500]).encode(), hash_of)
print(told(events[1_500:], half).digest(), told(events).digest())
"""


def test_another_process_comes_to_the_same_state() -> None:
    said = subprocess.run(
        [sys.executable, "-c", OTHER],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT)},
        check=True,
        timeout=240,
        capture_output=True,
        text=True,
    )
    whole = told(EVENTS).digest()
    half = told(EVENTS[1_500:], Recommender.decode(told(EVENTS[:1_500]).encode(), hash_of)).digest()
    assert said.stdout.split() == [half, whole]


def test_asking_changes_nothing() -> None:
    recommender = told(EVENTS)
    before = recommender.digest()
    named(recommender, "user-1")
    recommender.similar("item-1", 5, END_US)
    recommender.trending(5, END_US, "shelf 1")
    assert recommender.digest() == before


def test_a_state_that_was_cut_or_changed_is_refused() -> None:
    content = told(EVENTS[:100]).encode()
    for broken in (content[:-1], content[:200] + b"x" + content[201:], b"", b"headrace"):
        with pytest.raises(InvalidState, match="snapshot"):
            Recommender.decode(broken, hash_of)


def test_what_a_visitor_gets_is_of_his_taste() -> None:
    recommender = told(shopping(3_000, items=1_000))
    right = [shelf(item) == user % 10 for user in range(20) for item in named(recommender, f"user-{user}", 3)]
    assert np.mean(right) > 0.6


def test_the_last_click_counts_at_once_also_of_a_stranger() -> None:
    recommender = told(EVENTS)
    recommender.learn_one(Interaction("stranger", "item-3", "view", None, END_US))
    found = named(recommender, "stranger", 5)
    assert "item-3" not in found
    assert sum(shelf(item) == 3 for item in found) >= 3


def test_a_stranger_is_proposed_what_is_new_until_it_was_shown_often_enough() -> None:
    recommender = told(shopping(3_000))
    newest = [f"new-{number}" for number in range(3)]
    for item in newest:
        recommender.put_item(ItemFacts(item, at_us=END_US))

    def proposed() -> list[str]:
        barred = recommender.index.barred(NOTHING, NOTHING, NO_CATEGORY)
        shown = recommender.exposure.by_item
        found = _newcomers(shown, SHOWN, barred, NEWCOMERS_MOST, NEWCOMERS_AMONG, NEWCOMER_IMPRESSIONS)
        return [recommender.index.ids[number] for number in found.tolist()]

    assert proposed()[:3] == newest[::-1] and len(proposed()) == NEWCOMERS_MOST
    assert set(newest) <= set(named(recommender, "nobody", 100))
    for slate in range(100):
        recommender.shown(f"shown-{slate}", "nobody", [(newest[1], True)], END_US)
    assert proposed()[:2] == [newest[2], newest[0]] and newest[1] not in proposed()
    recommender.remove_item(newest[2], END_US)
    assert proposed()[0] == newest[0]


def test_seen_items_are_never_candidates() -> None:
    recommender = told(EVENTS)
    for user in {event.user for event in EVENTS}:
        seen = {event.item for event in EVENTS if event.user == user}
        assert not seen & set(named(recommender, user, 200))


def test_a_deleted_item_is_nowhere_until_it_returns() -> None:
    recommender = told(EVENTS)
    leader = recommender.trending(1, END_US)[0][0]
    code = f"shelf {shelf(leader)}"
    asked = next(item for item, _ in recommender.similar(leader, 5, END_US))

    def answers() -> set[str]:
        users = {event.user for event in EVENTS}
        found = {item for user in [*users, "nobody"] for item in named(recommender, user, 200)}
        found |= {item for item, _ in recommender.similar(asked, 50, END_US)}
        found |= {item for item, _ in recommender.trending(200, END_US)}
        return found | {item for item, _ in recommender.trending(200, END_US, code)}

    assert leader in answers()
    recommender.remove_item(leader, END_US)
    assert leader not in answers()
    recommender.learn_one(Interaction("user-9", leader, "purchase", None, END_US))
    assert leader not in answers()
    assert leader not in {item for item, _ in Recommender.decode(recommender.encode(), hash_of).trending(200, END_US)}
    recommender.put_item(ItemFacts(leader))
    assert leader in answers()


def test_a_new_item_without_a_click_is_found_by_what_the_catalogue_says() -> None:
    recommender = Recommender(hash_of)
    for number in range(20):
        recommender.put_item(ItemFacts(f"old-{number}", f"red chair {number}", "chairs"))
        recommender.put_item(ItemFacts(f"far-{number}", f"green lamp {number}", "lamps"))
    recommender.learn_one(Interaction("ann", "old-1", "view", None, START_US))
    recommender.put_item(ItemFacts("new", "red chair", "chairs"))
    found = recommender.candidates(recommender.visit("ann", START_US), 50)
    place = found.items.tolist().index(recommender.index.number_of("new"))
    assert found.scores[place, CONTENT] > 0.0
    assert not {item for item in named(recommender, "ann") if item.startswith("far")}


def test_an_empty_state_and_strangers_get_stated_answers() -> None:
    recommender = Recommender(hash_of)
    assert len(recommender.candidates(recommender.visit("nobody", START_US)).items) == 0
    assert recommender.similar("nothing", 5, START_US) == []
    assert recommender.trending(5, START_US) == recommender.trending(5, START_US, "none") == []
    assert not recommender.clicked("no-slate", "nothing")
    recommender = told(EVENTS)
    leaders = [item for item, _ in recommender.trending(10, END_US)]
    assert set(leaders) & set(named(recommender, "nobody")) != set()
    assert named(recommender, "user-1", 0) == []
    assert recommender.similar("item-1", 0, END_US) == recommender.trending(0, END_US) == []
    assert recommender.trending(5, END_US, "no such category") == []


@pytest.mark.parametrize("name", ["", "x" * 128, "ключ-🛒" * 18, "\x00", 'a"b\\', " "])
def test_any_text_is_an_id(name: str) -> None:
    recommender = told(EVENTS[:50])
    recommender.put_item(ItemFacts(name, name, name, (name,), float("nan")))
    recommender.learn_one(Interaction(name, name, name, float("inf"), END_US))
    recommender.shown(name, name, [(name, True)], END_US)
    assert recommender.clicked(name, name)
    read = Recommender.decode(recommender.encode(), hash_of)
    assert read.digest() == recommender.digest()
    assert read.index.number_of(name) == recommender.index.number_of(name) >= 0


def test_no_blend_is_ever_nan_and_every_score_is_finite_or_unknown() -> None:
    recommender = told(EVENTS)
    for user in [f"user-{n}" for n in range(60)] + ["nobody"]:
        found = recommender.candidates(recommender.visit(user, END_US))
        assert np.isfinite(found.blend).all()
        assert not np.isinf(found.scores).any()
        assert (np.diff(found.blend) <= 0.0).all()
        assert found.scores.shape == (len(found.items), len(SOURCES))
    assert np.isfinite(blend(np.full((3, len(SOURCES)), np.nan, dtype=np.float32))).all()


def test_times_that_go_back_and_far_ahead_leave_finite_answers() -> None:
    recommender = Recommender(hash_of)
    for n, at_us in enumerate([START_US, 0, START_US * 40, START_US, 5]):
        for item in ("a", "b", "c"):
            recommender.learn_one(Interaction(f"user-{n % 2}", item + str(n), "purchase", None, at_us))
    for at_us in (0, START_US, START_US * 40):
        found = recommender.candidates(recommender.visit("user-0", at_us))
        assert np.isfinite(found.blend).all()
        assert all(np.isfinite(score) for _, score in recommender.trending(10, at_us))


def test_a_hidden_wish_is_seen_and_teaches_nothing_else() -> None:
    recommender = told(EVENTS)
    before = dict(recommender.trending(256, END_US))
    recommender.learn_one(Interaction("ann", "item-5", "hide", None, END_US))
    assert dict(recommender.trending(256, END_US)) == before
    assert "item-5" not in named(recommender, "ann", 200)


def test_an_adopted_fit_is_a_source_and_part_of_the_state() -> None:
    recommender = told(EVENTS)
    before = recommender.digest()
    weights = Neighbours(np.array([0, 1, 1]), np.array([1], dtype=np.int32), np.array([0.7], dtype=np.float32))
    recommender.adopt(BatchItems("fit-1", END_US, ("item-0", "later"), weights))
    assert recommender.digest() != before
    read = Recommender.decode(recommender.encode(), hash_of)
    assert read.digest() == recommender.digest()
    for one in (recommender, read):
        one.learn_one(Interaction("ann", "item-0", "view", None, END_US))
        assert "later" not in named(one, "ann", 200)
        # The fit knows an item that the state meets only now.
        one.put_item(ItemFacts("later"))
        found = one.candidates(one.visit("ann", END_US), 200)
        place = found.items.tolist().index(one.index.number_of("later"))
        assert found.scores[place, BATCH] == pytest.approx(0.7)
    assert read.digest() == recommender.digest()


def test_a_visit_may_be_made_elsewhere_and_name_items_that_are_not_known() -> None:
    recommender = told(EVENTS)
    own = recommender.visit("user-1", END_US)
    strange = own._replace(seen=np.array([-1, 10**6], dtype=np.int32))
    assert len(recommender.candidates(strange).items) > 0
    within = recommender.candidates(own._replace(category=recommender.index.code_of("shelf 1")), 50)
    assert len(within.items) > 0
    assert set(recommender.index.category[within.items].tolist()) == {recommender.index.code_of("shelf 1")}
    assert len(recommender.candidates(empty_visit("x", END_US)).items) > 0


def test_a_visit_has_the_distinct_recent_items_newest_first() -> None:
    recommender = told(EVENTS)
    mine = [event for event in EVENTS if event.user == "user-4"]
    newest = list(dict.fromkeys(event.item for event in reversed(mine)))
    visit = recommender.visit("user-4", END_US)
    assert [recommender.index.ids[number] for number in visit.items.tolist()] == newest[:RECENT_LIMIT]
    assert visit.weights[0] == weight_of(mine[-1].kind, None)
    assert {recommender.index.ids[number] for number in visit.seen.tolist()} == {event.item for event in mine}


def test_because_names_the_item_that_led_there() -> None:
    recommender = Recommender(hash_of)
    for n in range(30):
        for item in ("alien", "aliens") if n % 2 else ("bambi", "dumbo"):
            recommender.learn_one(Interaction(f"user-{n}", item, "view", None, START_US + n * MINUTE_US))
    for item in ("alien", "bambi"):
        recommender.learn_one(Interaction("ann", item, "view", None, END_US))
    visit = recommender.visit("ann", END_US)
    asked = np.array([recommender.index.number_of(item) for item in ("aliens", "dumbo")], dtype=np.int32)
    all_, none = np.ones(2, dtype=np.bool_), np.zeros(2, dtype=np.bool_)
    led = recommender.behind(visit, asked, all_, none)
    assert [recommender.index.ids[number] for number in led] == ["alien", "bambi"]
    assert recommender.behind(visit, asked, none, none).tolist() == [-1, -1]
    found = recommender.candidates(visit)
    column = found.scores[found.items == recommender.index.number_of("aliens"), COVISITATION]
    assert column[0] > 0.0


def test_who_is_forgotten_left_nothing() -> None:
    recommender = told(EVENTS)
    assert recommender.forget("user-1")
    assert not recommender.forget("user-1")
    assert len(recommender.visit("user-1", END_US).items) == 0
    assert Recommender.decode(recommender.encode(), hash_of).digest() == recommender.digest()


def test_who_is_alike_is_the_newest_liked_item_of_the_category() -> None:
    recommender = Recommender(hash_of)
    for item, category in (("alien", "sf"), ("solaris", "sf"), ("dune", "sf"), ("bambi", "film"), ("new", None)):
        recommender.put_item(ItemFacts(item, category=category))
    for minute, (kind, item) in enumerate([("view", "alien"), ("view", "solaris"), ("hide", "dune")]):
        recommender.learn_one(Interaction("ann", item, kind, None, START_US + minute * MINUTE_US))
    asked = np.array([recommender.index.number_of(item) for item in ("dune", "bambi", "new")], dtype=np.int32)
    all_, none = np.ones(3, dtype=np.bool_), np.zeros(3, dtype=np.bool_)
    found = recommender.behind(recommender.visit("ann", END_US), asked, none, all_).tolist()
    assert found == [recommender.index.number_of("solaris"), -1, -1]
