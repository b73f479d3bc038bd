"""Pages beside the API: each path has one owner, and the API's come first."""

from __future__ import annotations

import asyncio

import pytest

from headrace.settings import InvalidSetting, Settings
from review.web.app import SEGMENTS
from scoring.asgi import AsgiApp, Receive, Scope, Send
from scoring.front_door import Doors
from scoring.pages_door import OF_API, PagesDoor, pages_at


def says(name: str, answered: list[str]) -> AsgiApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        answered.append(name)

    return app


def test_a_path_is_answered_by_whom_its_first_part_belongs_to() -> None:
    answered: list[str] = []
    pages = pages_at(says("pages", answered), SEGMENTS)
    door = PagesDoor(says("api", answered), lambda: pages)
    paths = {"/": "pages", "/review/cases/7": "pages", "/sign-in": "pages", "/static/style.css": "pages"}
    paths |= {"/fraud/score": "api", "/events": "api", "/metrics": "api", "/reviews": "api", "/decisions/review": "api"}
    paths |= {"*": "api", "": "api", "review": "api", "/REVIEW": "api", "//review": "pages"}
    for path, owner in paths.items():
        answered.clear()
        asyncio.run(door({"type": "http", "path": path}, _nothing, _nowhere))
        assert answered == [owner], path
    asyncio.run(door({"type": "websocket", "path": "/review"}, _nothing, _nowhere))
    assert answered[-1] == "api"


def test_no_page_takes_a_path_of_the_api() -> None:
    assert {"fraud", "events", "labels", "metrics", "docs.json", "recommend", "decisions"} <= OF_API
    assert not OF_API & SEGMENTS
    with pytest.raises(ValueError, match="/events would hide"):
        pages_at(says("pages", []), {"review", "events"})


def test_without_pages_nothing_stands_before_the_api() -> None:
    assert not isinstance(Doors.behind_front_door(says("api", [])), PagesDoor)


def test_pages_beside_several_workers_are_refused_with_the_way_out() -> None:
    with pytest.raises(InvalidSetting, match="headrace review serve"):
        Settings({"review_pages": "on", "workers": 2}, {})
    assert Settings({"review_pages": "on"}, {}).review_pages


async def _nothing() -> dict[str, object]:
    return {}


async def _nowhere(message: object) -> None:
    pass
