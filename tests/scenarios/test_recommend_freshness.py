"""The next request knows the last click, in every process, with no worker, learner or sequencer running."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from headrace.client import HeadraceClient
from headrace.stack import Stack
from scoring.examples import EXAMPLE
from stream.records import Action, encode
from tests.scenarios.test_service import ask
from tests.scoring.shop import ACTION_SOURCE, ITEM_SOURCE, action, ago, item, sequenced
from tests.until import until

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("stack")]

FILMS = [f"sf-{n}" for n in range(12)] + [f"art-{n}" for n in range(12)]


def history() -> list[Action]:
    """Who sees a film sees the next two of its kind, in their order."""
    return [
        action(f"viewer-{genre}-{u}", f"{genre}-{(u + step) % 12}", at=ago(hours=100 - u, minutes=-step))
        for u in range(60)
        for genre in ("sf", "art")
        for step in range(3)
    ]


@contextmanager
def two_processes(stack: Stack) -> Iterator[tuple[str, str]]:
    """Two services of one Redis, that answer recommendations alone."""
    stack.settings = stack.settings.but(use_cases="recommendation")
    first = stack.start_service()
    stack.children["first service"] = stack.children.pop("service")
    yield first, stack.start_service()


def send(url: str, method: str, path: str, body: Any = None, status: int = 200) -> Any:
    said, answer = ask(url, method, path, None if body is None else json.dumps(body).encode())
    assert said == status, answer
    return json.loads(answer)


def recommended(url: str, **who: Any) -> list[str]:
    slate = send(url, "POST", "/recommend", who)
    assert slate["degraded"] == [], slate
    return [one["item_id"] for one in slate["items"]]


def test_a_click_and_a_deletion_count_at_once_in_all_processes(stack: Stack) -> None:
    url = stack.settings.redis
    sequenced(url, ITEM_SOURCE, [item(film, film.partition("-")[0]) for film in FILMS])
    sequenced(url, ACTION_SOURCE, sorted(history(), key=lambda one: one.event_timestamp))
    with two_processes(stack) as processes:
        a_click_shows_in_the_next_answer(*processes)
        a_visitor_without_a_user_is_known_by_the_session(*processes)
        a_deleted_item_is_gone(*processes)
        what_is_odd_is_answered_as_stated(processes[0])
        the_client_can_do_all_of_it(processes[1])


def a_click_shows_in_the_next_answer(here: str, there: str) -> None:
    for url in (here, there):
        assert "sf-3" in recommended(url, user_id="ann", k=24)
    click = action("ann", "sf-3")
    assert ask(here, "POST", "/events", encode(click))[0] == 202
    for url in (here, there):
        slate = send(url, "POST", "/recommend", {"user_id": "ann", "k": 24})
        items = slate["items"]
        assert "sf-3" not in [one["item_id"] for one in items]
        assert items[0]["item_id"] in {"sf-1", "sf-2", "sf-4", "sf-5"}
        assert items[0]["reason"] == "because you viewed The sf-3"


def a_visitor_without_a_user_is_known_by_the_session(here: str, there: str) -> None:
    click = Action(
        event_id="anonymous", event_timestamp=ago(seconds=1), action="click", session_id="s-1", item_id="art-6"
    )
    assert ask(there, "POST", "/events", encode(click))[0] == 202
    for url in (here, there):
        found = recommended(url, session_id="s-1", k=24)
        assert "art-6" not in found
        assert found[0] in {"art-4", "art-5", "art-7", "art-8"}
    # Who signs in takes along what the session has seen.
    assert "art-6" not in recommended(here, user_id="bob", session_id="s-1", k=24)


def a_deleted_item_is_gone(here: str, there: str) -> None:
    for url in (here, there):
        assert "art-2" in recommended(url, user_id="cid", k=24)
    assert send(here, "DELETE", "/items/art-2", status=202) == {"item_id": "art-2", "status": "accepted"}
    assert send(here, "DELETE", "/items/art-2", status=202)["status"] == "repeated"
    for url in (there, here):
        for who in ("cid", "ann", "dora"):
            assert "art-2" not in recommended(url, user_id=who, k=24)
        assert "art-2" not in [one["item_id"] for one in send(url, "GET", "/trending?k=24")["items"]]
        assert "art-2" not in [one["item_id"] for one in send(url, "GET", "/similar/art-1?k=24")["items"]]
        assert send(url, "GET", "/similar/art-2", status=404)["error"] == "unknown item"
    put = {"title": "Back again", "category": "art"}
    assert send(there, "PUT", "/items/art-2", put, status=202)["status"] == "accepted"
    assert "art-2" in recommended(here, user_id="cid", k=24)
    assert send(here, "GET", "/items/art-2")["title"] == "Back again"


def what_is_odd_is_answered_as_stated(url: str) -> None:
    assert send(url, "POST", "/recommend", {"user_id": "ann", "k": 0}, status=400)["field"] == "k"
    assert send(url, "POST", "/recommend", {"user_id": "ann", "k": 101}, status=400)["field"] == "k"
    assert send(url, "POST", "/recommend", {}, status=400)["field"] == "user_id"
    assert "sf-1" not in recommended(url, user_id="eve", exclude=["sf-1", "no such item"], k=24)
    slate = send(url, "POST", "/recommend", {"user_id": "eve", "k": 3})
    told = {"slate_id": slate["slate_id"], "item_id": slate["items"][0]["item_id"], "action": "click"}
    assert send(url, "POST", "/feedback", told, status=202)["status"] == "accepted"
    assert send(url, "POST", "/feedback", told, status=202)["status"] == "repeated"
    assert told["item_id"] not in recommended(url, user_id="eve", k=24)
    assert send(url, "POST", "/feedback", told | {"slate_id": "none"}, status=404)["error"] == "unknown slate"
    assert send(url, "POST", "/feedback", told | {"item_id": "art-11x"}, status=400)["field"] == "item_id"
    assert ask(url, "POST", "/fraud/score", json.dumps(EXAMPLE).encode())[0] == 404
    until(lambda: b"headrace_slates_total" in ask(url, "GET", "/metrics")[1], "what it has counted")


def the_client_can_do_all_of_it(url: str) -> None:
    with HeadraceClient(url, deadline_ms=20_000) as client:
        assert client.put_item("a/b", title="Odd name", category="sf", tags=["x"])
        assert not client.put_item("a/b", title="Odd name", category="sf", tags=["x"])
        found = client.item("a/b")
        assert (found and found.title, client.item("nobody")) == ("Odd name", None)
        assert client.delete_item("a/b")
        slate = client.recommend("fay", k=3, exclude=["sf-1"], context={"category": "sf"})
        assert len(slate.items) == 3
        assert {one.item_id.partition("-")[0] for one in slate.items} == {"sf"}
        assert client.feedback(slate.slate_id, slate.items[0].item_id, "click")
        assert len(client.similar("sf-1", k=2)) == len(client.trending(k=2, category="art")) == 2
