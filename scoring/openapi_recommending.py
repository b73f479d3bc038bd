"""What `/docs.json` says of the routes of recommending, from the structs that are decoded and encoded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from scoring.recommend_bodies import (
    FeedbackRequest,
    ItemBody,
    ItemSaid,
    ItemsSaid,
    NamedItemBody,
    RankedItems,
    Recommendations,
    RecommendRequest,
)
from stream.records import Item

JSON = "application/json"
LINES = "application/x-ndjson"
TAG = {"name": "Recommending", "description": "Visitors in, slates of items out; and the catalogue."}
KINDS: tuple[type[msgspec.Struct], ...] = (
    RecommendRequest,
    Recommendations,
    RankedItems,
    FeedbackRequest,
    ItemBody,
    NamedItemBody,
    ItemSaid,
    ItemsSaid,
    Item,
)
ITEM_ID = {
    "name": "item_id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "minLength": 1, "maxLength": 128},
    "example": "film-1",
}
K = {"name": "k", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 100, "default": 10}}
CATEGORY = {"name": "category", "in": "query", "schema": {"type": "string", "minLength": 1, "maxLength": 64}}
EXAMPLE = {"user_id": "ann", "k": 3}

Ref = Callable[[type[msgspec.Struct]], dict[str, str]]
Refusals = Callable[..., dict[str, Any]]


def recommending_paths(ref: Ref, refusals: Refusals, accepted: tuple[str, Any], deadline: Any) -> dict[str, Any]:
    """The paths; `ref` refers to a struct's schema, `refusals` gives the answers of these statuses."""

    def operation(
        name: str,
        text: str,
        good: dict[str, Any],
        refused: tuple[int, ...],
        parameters: tuple[Any, ...] = (),
        body: Any = None,
    ) -> dict[str, Any]:
        found = {
            "operationId": name,
            "tags": [TAG["name"]],
            "description": text,
            "parameters": [*parameters, deadline],
            "responses": good | refusals(*refused),
        }
        return found if body is None else found | {"requestBody": {"required": True, "content": body}}

    def answered(kind: type[msgspec.Struct], words: str, status: int = 200) -> dict[str, Any]:
        return {str(status): {"description": words, "content": {JSON: {"schema": ref(kind)}}}}

    def taken(kind: type[msgspec.Struct], example: Any) -> dict[str, Any]:
        return {JSON: {"schema": ref(kind), "examples": {"body": {"value": example}}}}

    said = answered(ItemSaid, "Durable, and true from now on, now or before.", 202)
    words, content = accepted
    item = {"title": "A film", "category": "sf", "tags": ["space"], "price": 9.5}
    named = {"item_id": "film-1", **item}
    many = {"oneOf": [ref(NamedItemBody), {"type": "array", "items": ref(NamedItemBody)}]}
    return {
        "/recommend": {
            "post": operation(
                "recommend",
                "A slate for a user, or for the session of who is not signed in. It knows all that came before.",
                answered(Recommendations, "The slate; `degraded` names what was missing."),
                (400, 413, 503),
                body=taken(RecommendRequest, EXAMPLE),
            )
        },
        "/similar/{item_id}": {
            "get": operation(
                "similar",
                "Items that visitors of an item went on to.",
                answered(RankedItems, "The items, best first."),
                (400, 404, 503),
                (ITEM_ID, K),
            )
        },
        "/trending": {
            "get": operation(
                "trending",
                "What is popular now, in one category or in all.",
                answered(RankedItems, "The items, best first."),
                (400, 503),
                (K, CATEGORY),
            )
        },
        "/feedback": {
            "post": operation(
                "feedback",
                "What the visitor of a slate did with one of its items. The same again is one action.",
                {"202": {"description": words, "content": content}},
                (400, 404, 413, 503),
                body=taken(FeedbackRequest, {"slate_id": "s-1", "item_id": "film-1", "action": "click"}),
            )
        },
        "/items": {
            "post": operation(
                "put_items",
                "Many items of the catalogue: one, an array, or one a line. Each is taken or refused for itself.",
                answered(ItemsSaid, "What became of them."),
                (400, 413, 503),
                body={
                    JSON: {"schema": many, "examples": {"body": {"value": [named]}}},
                    LINES: {
                        "schema": {"type": "string", "description": "One item a line."},
                        "example": msgspec.json.encode(named).decode() + "\n",
                    },
                },
            )
        },
        "/items/{item_id}": {
            "put": operation(
                "put_item",
                "What the catalogue says of an item from now on: all of it. A deleted item returns.",
                said,
                (400, 409, 413, 503),
                (ITEM_ID,),
                taken(ItemBody, item),
            ),
            "get": operation(
                "item", "What the catalogue says of an item.", answered(Item, "The item."), (400, 404, 503), (ITEM_ID,)
            ),
            "delete": operation(
                "delete_item",
                "Delete an item: when this is answered, no slate has it any more.",
                said,
                (400, 409, 503),
                (ITEM_ID,),
            ),
        },
    }
