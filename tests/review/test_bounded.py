"""What one reader, or one part that hangs, takes from all: never a place for ever, or so many that others have none."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from threading import Event
from types import ModuleType
from typing import cast

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message

from review.engine import CasesUnavailable
from review.rule_desk import RuleDesk, RulesUnavailable
from review.web import bounded_stream, dashboard_page, events_page, sql_page, watched_stream
from review.web.app import make_app
from review.web.bounded_stream import BoundedStream
from review.web.gate import Gate
from review.web.rule_room import THREADS
from tests.review.account_desks import PASSWORD, Pages, accounts_in
from tests.review.office import Office
from tests.until import LIMIT_S, until


class Open:
    """Event streams of the pages as a server asks for them: each lasts until it is told to end."""

    def __init__(self, folder: Path) -> None:
        self.accounts = accounts_in(folder / "review.sqlite", ("ann", "analyst"), ("bob", "analyst"))
        self.pages = Pages(self.accounts)
        self.end = asyncio.Event()
        app = Starlette(routes=[Route("/review/events", self._stream)])
        self._gate = Gate(app, self.accounts, self.pages.site, self.pages.clock)
        self._tasks: list[asyncio.Task[None]] = []

    def session(self, name: str) -> str:
        browser = self.pages.browser()
        assert browser.sign_in(name, PASSWORD).status_code == 303
        return browser.session

    async def ask(self, session: str) -> list[Message]:
        """What is sent for one request, as soon as its first part is there."""
        sent: list[Message] = []
        begun = asyncio.Event()

        async def send(message: Message) -> None:
            sent.append(message)
            if message["type"] == "http.response.body":
                begun.set()

        async def receive() -> Message:
            await asyncio.Event().wait()
            raise AssertionError

        cookie = f"{self.pages.site.cookie('session')}={session}"
        headers = [(b"host", b"localhost"), (b"cookie", cookie.encode())]
        scope = {"type": "http", "method": "GET", "path": "/review/events", "query_string": b"", "headers": headers}
        server = {"asgi": {"spec_version": "2.4"}, "client": ("192.0.2.1", 5000), "scheme": "http"}
        self._tasks.append(asyncio.create_task(self._gate({**scope, **server}, receive, send)))
        await asyncio.wait_for(begun.wait(), LIMIT_S)
        return sent

    async def finish(self) -> None:
        self.end.set()
        await asyncio.wait_for(asyncio.gather(*self._tasks), LIMIT_S)

    async def _stream(self, request: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            yield b": here\n\n"
            await self.end.wait()
            yield b": over\n\n"

        return BoundedStream(parts())


def status(sent: list[Message]) -> int:
    found: int = sent[0]["status"]
    return found


def test_a_person_has_so_many_streams_and_the_next_is_refused_while_others_have_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_stream, "STREAMS_EACH", 2)

    async def listen() -> None:
        open = Open(tmp_path)
        ann, bob = [await asyncio.to_thread(open.session, name) for name in ("ann", "bob")]
        assert [status(await open.ask(ann)) for _ in range(3)] == [200, 200, 503]
        assert status(await open.ask(bob)) == 200
        other_browser = await asyncio.to_thread(open.session, "ann")
        assert status(await open.ask(other_browser)) == 503, "the person counts, not the session"
        await open.finish()
        assert status(await open.ask(ann)) == 200, "those that ended are given back"

    asyncio.run(listen())


def test_a_stream_ends_when_nobody_can_say_whose_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def listen() -> None:
        open = Open(tmp_path)
        ann = await asyncio.to_thread(open.session, "ann")
        sent = await open.ask(ann)
        monkeypatch.setattr(watched_stream, "monotonic", lambda: float("inf"))
        monkeypatch.setattr(open.accounts.sessions, "person", gone)
        await open.finish()
        assert [message["body"] for message in sent[1:]] == [b": here\n\n", b""]

    def gone(*asked: object, **how: object) -> None:
        raise CasesUnavailable("it is away")

    asyncio.run(listen())


@pytest.mark.parametrize("module", [dashboard_page, events_page, sql_page])
def test_whatever_lasts_is_sent_with_a_bound(module: ModuleType) -> None:
    source = inspect.getsource(module)
    assert "BoundedStream(" in source and "StreamingResponse(" not in source


class Hangs:
    """A rule book that says nothing until it is told to go on."""

    def __init__(self) -> None:
        self.goes_on = Event()
        self.asked = 0
        self.gave_up = False

    def book(self, now: datetime) -> None:
        self.asked += 1
        self.gave_up |= not self.goes_on.wait(LIMIT_S)
        raise RulesUnavailable("it hung")


def test_a_rule_book_that_hangs_holds_up_no_case(tmp_path: Path) -> None:
    hangs = Hangs()
    with closing(Office(tmp_path / "review.sqlite")) as office:
        office.app = make_app(replace(office.parts, rules=cast(RuleDesk, hangs)))
        client = office.desk("ann").client
        with ThreadPoolExecutor(3 * THREADS) as people:
            asked = [people.submit(client.get, "/rules") for _ in range(3 * THREADS)]
            try:
                until(lambda: hangs.asked >= THREADS)
                assert client.get("/review").status_code == 200 and not hangs.gave_up
            finally:
                hangs.goes_on.set()
            assert {answer.result().status_code for answer in asked} == {503}
