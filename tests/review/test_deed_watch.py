"""What happens to cases, told to pages that listen."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import StreamingResponse

from review.case_store import CaseStore
from review.web import deed_watch
from review.web.deed_watch import DeedWatch, News
from review.web.events_page import EventsPage
from review.web.off_loop import OffLoop
from stream.records import Decision
from tests.review.cases import NOON

Make = Callable[..., Decision]
WAIT_S = 60.0


@pytest.fixture
def store(tmp_path: Path, decision: Make) -> Iterator[CaseStore]:
    with closing(CaseStore(tmp_path / "review.sqlite")) as opened:
        opened.take_in([decision(f"e{number}", f"card-{number}") for number in range(4)], {})
        yield opened


def watch_of(store: CaseStore) -> DeedWatch:
    return DeedWatch(store, OffLoop(), every_s=0.01)


async def first(queue: asyncio.Queue[list[News]]) -> list[News]:
    return await asyncio.wait_for(queue.get(), WAIT_S)


def run(test: Awaitable[None]) -> None:
    async def whole() -> None:
        await asyncio.wait_for(test, WAIT_S * 2)

    asyncio.run(whole())


def test_every_listener_is_told_what_was_done_since_it_listens(store: CaseStore) -> None:
    case_id = store.queue()[0].case_id

    async def listen() -> None:
        watch = watch_of(store)
        async with watch.listening() as one, watch.listening() as other:
            store.claim(case_id, "ann", NOON)
            news = await first(one)
            assert [(one.case_id, one.deed, one.by) for one in news] == [(case_id, "claimed", "ann")]
            assert await first(other) == news

    run(listen())


def test_nobody_looks_when_nobody_listens(store: CaseStore) -> None:
    async def listen() -> None:
        watch = watch_of(store)
        async with watch.listening():
            assert watch._task is not None
        assert watch._task is None

    run(listen())


def test_labels_that_have_left_are_news(store: CaseStore) -> None:
    case_id = store.queue()[0].case_id

    async def listen() -> None:
        watch = watch_of(store)
        async with watch.listening() as queue:
            store.decide(case_id, "fraud", "ann", NOON, undo_s=20.0)
            assert [news.deed for news in await first(queue)] == ["decided"]
            store.mark_sent(store.unsent(10, NOON + timedelta(minutes=1)))
            assert [(news.deed, news.case_id) for news in await first(queue)] == [("arrived", case_id)]

    run(listen())


def test_a_listener_that_does_not_keep_up_is_told_to_read_all_again(
    store: CaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deed_watch, "QUEUE_LIMIT", 1)
    case_id = store.queue()[0].case_id

    async def listen() -> None:
        watch = watch_of(store)
        async with watch.listening() as slow, watch.listening() as quick:
            for name in ("ann", "bob"):
                store.claim(case_id, name, NOON)
                await first(quick)
                store.release(case_id, name, NOON)
                await first(quick)
            assert await first(slow) == []

    run(listen())


def test_a_watch_goes_on_after_a_failure(store: CaseStore, monkeypatch: pytest.MonkeyPatch) -> None:
    case_id = store.queue()[0].case_id
    asked = 0
    real = store.deeds_after

    def failing(number: int, limit: int = 500) -> object:
        nonlocal asked
        asked += 1
        if asked == 2:
            raise OSError("the disk is on fire")
        return real(number, limit)

    async def listen() -> None:
        monkeypatch.setattr(store, "deeds_after", failing)
        watch = watch_of(store)
        async with watch.listening() as queue:
            while asked < 3:
                await asyncio.sleep(0.005)
            store.claim(case_id, "ann", NOON)
            assert [news.deed for news in await first(queue)] == ["claimed"]

    run(listen())


def request(**headers: str) -> Request:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": pairs})


async def stream_of(page: EventsPage, **headers: str) -> AsyncGenerator[bytes, None]:
    answer = await page.page(request(**headers))
    assert isinstance(answer, StreamingResponse)
    return answer.body_iterator  # type: ignore[return-value]


def test_a_page_that_comes_back_is_told_what_it_missed_once(store: CaseStore) -> None:
    case_id, other, *_ = [case.case_id for case in store.queue()]
    before = store.last_deed()
    store.claim(case_id, "ann", NOON)

    async def listen() -> None:
        page = EventsPage(watch_of(store), heartbeat_s=0.05)
        stream = await stream_of(page, last_event_id=str(before))
        assert "event: hello" in (await anext(stream)).decode()
        missed = (await anext(stream)).decode()
        assert f"id: {before + 1}\n" in missed
        assert json.loads(missed.partition("data: ")[2]) == {"case": case_id, "deed": "claimed", "by": "ann"}
        store.claim(other, "bob", NOON)
        told = [chunk async for chunk in until(stream, "bob")]
        assert "ann" not in "".join(told)
        await stream.aclose()

    run(listen())


async def until(stream: AsyncIterator[bytes], word: str) -> AsyncIterator[str]:
    async for chunk in stream:
        yield chunk.decode()
        if word.encode() in chunk:
            return


@pytest.mark.parametrize("last_event_id", ["999999", "-1", "x", "1" * 40])
def test_a_page_that_comes_from_nowhere_is_told_to_read_all_or_begins_now(store: CaseStore, last_event_id: str) -> None:
    async def listen() -> None:
        stream = await stream_of(EventsPage(watch_of(store)), last_event_id=last_event_id)
        begun = (await anext(stream)).decode()
        assert f"event: {'again' if last_event_id == '999999' else 'hello'}\nid: {store.last_deed()}\n" in begun
        await stream.aclose()

    run(listen())


def test_a_silent_stream_says_that_it_is_still_there_and_ends_with_its_page(store: CaseStore) -> None:
    async def listen() -> None:
        watch = watch_of(store)
        stream = await stream_of(EventsPage(watch, heartbeat_s=0.01))
        await anext(stream)
        assert await anext(stream) == b": still there\n\n"
        await stream.aclose()
        assert not watch._listeners

    run(listen())


def test_more_pages_than_may_listen_are_sent_away(store: CaseStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deed_watch, "LISTENERS_LIMIT", 0)

    async def listen() -> None:
        answer = await EventsPage(watch_of(store)).page(request())
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")

    run(listen())
