"""What the routes of recommending give and refuse."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from scoring.api import Answer
from scoring.arrival import Turns
from scoring.batch_door import Bounds
from scoring.recommend_door import RecommendDoor
from stream.connection import RedisConnection
from stream.records import Action, Item, decode
from tests.scoring.shop import DEADLINE_MS, ITEM_SOURCE, Shop, body_of, item, sequenced


@pytest.fixture
def shop(redis_db: str, tmp_path: Path) -> Iterator[Shop]:
    """One of three films."""
    sequenced(redis_db, ITEM_SOURCE, [item(f"film-{n}", "sf") for n in range(3)])
    with Shop(redis_db, tmp_path) as opened:
        yield opened


def post(shop: Shop, **body: Any) -> Answer:
    return shop.api.recommend(msgspec.json.encode(body), DEADLINE_MS)


@pytest.mark.parametrize(
    ("body", "field", "value"),
    [
        ({"user_id": "ann", "k": 0}, "k", "0"),
        ({"user_id": "ann", "k": 101}, "k", "101"),
        ({"user_id": "ann", "k": "3"}, "k", "'3'"),
        ({}, "user_id", "(missing)"),
        ({"user_id": ""}, "user_id", "''"),
        ({"user_id": "session:x"}, "user_id", "'session:x'"),
        ({"user_id": "ann", "whom": 1}, "whom", "1"),
        ({"user_id": "ann", "exclude": [""]}, "exclude[0]", "['']"),
        ({"user_id": "ann", "context": {"page": 1}}, "context", "{'page': 1}"),
    ],
)
def test_a_request_that_cannot_be_used_is_refused_by_field(
    shop: Shop, body: dict[str, Any], field: str, value: str
) -> None:
    said = body_of(post(shop, **body), 400)
    assert (said["field"], said["value"]) == (field, value)
    assert said["remedy"]


def test_a_card_number_is_no_id_of_anybody(shop: Shop) -> None:
    assert post(shop, user_id="4111111111111111").status == 400
    assert shop.api.similar("4111111111111111", b"", DEADLINE_MS).status == 400
    assert shop.api.put_item("film-9", b'{"title": "4111111111111111"}', DEADLINE_MS).status == 400


def test_an_item_is_said_once_and_kept(shop: Shop) -> None:
    body = b'{"title": "Alien", "category": "sf", "tags": ["space"], "price": 9.5}'
    assert body_of(shop.api.put_item("alien", body, DEADLINE_MS), 202)["status"] == "accepted"
    assert body_of(shop.api.put_item("alien", body, DEADLINE_MS), 202)["status"] == "repeated"
    other = b'{"title": "Aliens"}'
    assert body_of(shop.api.put_item("alien", other, DEADLINE_MS), 202)["status"] == "accepted"
    assert body_of(shop.api.put_item("alien", body, DEADLINE_MS), 202)["status"] == "accepted"
    found: Item = decode(shop.api.item("alien", DEADLINE_MS).body, Item)
    assert (found.title, found.tags, found.price) == ("Alien", ["space"], 9.5)
    assert len(logged(shop, "items")) == 3
    assert body_of(shop.api.delete_item("alien", DEADLINE_MS), 202)["status"] == "accepted"
    assert body_of(shop.api.delete_item("alien", DEADLINE_MS), 202)["status"] == "repeated"
    assert shop.api.item("alien", DEADLINE_MS).status == 404
    assert [decode(one, Item).deleted for one in logged(shop, "items")] == [False, False, False, True]


def test_an_event_id_is_for_one_thing_said(shop: Shop) -> None:
    said = b'{"title": "Alien", "event_id": "e-1"}'
    assert body_of(shop.api.put_item("alien", said, DEADLINE_MS), 202)["status"] == "accepted"
    assert body_of(shop.api.put_item("alien", said, DEADLINE_MS), 202)["status"] == "repeated"
    conflict = body_of(shop.api.put_item("alien", b'{"title": "Aliens", "event_id": "e-1"}', DEADLINE_MS), 409)
    assert conflict["field"] == "event_id"


def test_an_item_of_tomorrow_or_without_a_name_is_refused(shop: Shop) -> None:
    late = b'{"event_timestamp": "2999-01-01T00:00:00Z"}'
    assert body_of(shop.api.put_item("alien", late, DEADLINE_MS), 400)["field"] == "event_timestamp"
    assert body_of(shop.api.put_item("", b"{}", DEADLINE_MS), 400)["field"] == "item_id"
    assert body_of(shop.api.put_item("x" * 129, b"{}", DEADLINE_MS), 400)["field"] == "item_id"
    assert body_of(shop.api.put_item("alien", b'{"price": -1}', DEADLINE_MS), 400)["field"] == "price"


def test_many_items_are_taken_or_refused_each_for_itself(shop: Shop) -> None:
    lines = b'{"item_id": "a"}\n\n{"item_id": "b", "price": -1}\nno item\n{"item_id": "a"}\n{"item_id": "c"}\n'
    said = many(shop, lines, b"application/x-ndjson")
    assert (said["accepted"], said["repeated"]) == (2, 1)
    assert [(one["place"], one["status"], one["refusal"]["field"]) for one in said["refused"]] == [
        (1, 400, "price"),
        (2, 400, "(body)"),
    ]
    assert many(shop, b'{"item_id": "d"}')["accepted"] == 1
    assert many(shop, b'[{"item_id": "e"}, {"item_id": "f"}]')["accepted"] == 2
    assert "at most 5" in many(shop, b"[1, 2, 3, 4, 5, 6]", status=413)["message"]
    assert many(shop, b"[", status=400)["field"] == "(body)"


def test_a_full_outbox_refuses_items_and_keeps_nothing_of_them(redis_db: str, tmp_path: Path) -> None:
    with Shop(redis_db, tmp_path, outbox=1) as shop:
        said = many(shop, b'[{"item_id": "a"}, {"item_id": "b"}, {"item_id": "c"}, {"item_id": "d"}]')
        refused = [one["status"] for one in said["refused"]]
        assert (said["accepted"], set(refused)) == (4 - len(refused), {503})
        assert len(logged(shop, "items")) == said["accepted"]


def test_feedback_is_an_action_of_the_visitor_and_counts_once(shop: Shop) -> None:
    slate = body_of(post(shop, session_id="s-1", k=2))
    told = {"slate_id": slate["slate_id"], "item_id": slate["items"][0]["item_id"], "action": "like"}
    first = body_of(shop.api.feedback(msgspec.json.encode(told), DEADLINE_MS), 202)
    again = body_of(shop.api.feedback(msgspec.json.encode(told), DEADLINE_MS), 202)
    assert (first["status"], again) == ("accepted", first | {"status": "repeated"})
    rated = body_of(shop.api.feedback(msgspec.json.encode(told | {"action": "rating", "value": 4.0}), DEADLINE_MS), 202)
    assert rated["status"] == "accepted"
    actions: list[Action] = [decode(one, Action) for one in logged(shop, "actions")]
    assert [(one.user_id, one.action, one.slate_id) for one in actions] == [
        ("session:s-1", "like", slate["slate_id"]),
        ("session:s-1", "rating", slate["slate_id"]),
    ]
    assert (
        body_of(shop.api.feedback(msgspec.json.encode(told | {"slate_id": "x"}), DEADLINE_MS), 404)["error"]
        == "unknown slate"
    )
    refused = body_of(shop.api.feedback(msgspec.json.encode(told | {"item_id": "x"}), DEADLINE_MS), 400)
    assert refused["field"] == "item_id"
    assert told["item_id"] not in [one["item_id"] for one in body_of(post(shop, session_id="s-1"))["items"]]


@pytest.mark.parametrize(
    "query", [b"k=0", b"k=x", b"k=101", b"k=-1", b"k=99999999999999999999999", b"n=3", b"k=", b"category="]
)
def test_a_list_that_cannot_be_asked_for_is_refused(shop: Shop, query: bytes) -> None:
    assert shop.api.trending(query, DEADLINE_MS).status == 400


def test_similar_items_of_a_new_item_are_few_and_of_an_unknown_one_none(shop: Shop) -> None:
    assert shop.api.similar("nobody", b"", DEADLINE_MS).status == 404
    assert shop.api.put_item("brand new", b'{"category": "sf"}', DEADLINE_MS).status == 202
    assert body_of(shop.api.similar("brand new", b"", DEADLINE_MS)) == {"items": [], "degraded": ["items"]}


@pytest.mark.parametrize(
    "path", ["/recommend", "/feedback", "/items", "/items/i1", "/similar/i1", "/trending", "/fraud"]
)
def test_a_path_has_the_methods_that_it_is_answered_for(path: str) -> None:
    methods = ("GET", "POST", "PUT", "DELETE", "PATCH")
    answered = [method for method in methods if RecommendDoor.route_of(method, path) is not None]
    assert sorted(RecommendDoor.methods_of(path)) == sorted(answered)


def many(shop: Shop, body: bytes, content_type: bytes = b"application/json", status: int = 200) -> Any:
    """The answer to POST /items, through its door."""
    door = RecommendDoor(Turns(), 65536, Bounds(records=5))

    async def read(limit: int) -> bytes:
        return body

    async def ask() -> Answer | None:
        scope = {"method": "POST", "path": "/items", "headers": [(b"content-type", content_type)]}
        return await door.answer(shop.api, "/items", scope, read, None)

    answer = asyncio.run(ask())
    assert answer is not None
    return body_of(answer, status)


def logged(shop: Shop, topic: str) -> list[bytes]:
    """The payloads of a topic in the outbox, in their order."""
    with RedisConnection(shop.url) as connection:
        entries = [entry for n in range(2) for entry in connection.one("XRANGE", f"log:{topic}:{n}", "-", "+")]
    return [fields[3] for _, fields in sorted(entries, key=lambda entry: tuple(map(int, entry[0].split(b"-"))))]
