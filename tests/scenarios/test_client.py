"""The clients against the real service: what they are given, and what they get through when it goes and comes back."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from datetime import timedelta

import msgspec
import pytest

from headrace.client import (
    AsyncHeadraceClient,
    Decision,
    EventConflict,
    HeadraceClient,
    InvalidRequest,
    Label,
    Transaction,
    Unavailable,
)
from headrace.stack import Stack
from stream.played import Played
from tests.ports import reserved_port

pytestmark = pytest.mark.slow


def under(prefix: str, payments: list[Played], count: int) -> list[Transaction]:
    """Payments with ids of one's own: the service is shared."""
    taken = [one.transaction for one in payments[:count]]
    return [msgspec.structs.replace(one, event_id=f"{prefix}-{one.event_id}") for one in taken]


@pytest.fixture(scope="module")
def running(shared_stack: Stack) -> Iterator[tuple[Stack, str]]:
    """One service for all tests, with its URL, at a port to which it can come back."""
    with reserved_port() as port:
        shared_stack.settings = shared_stack.settings.but(port=str(port))
        yield shared_stack, shared_stack.start_service()


def test_every_call(running: tuple[Stack, str], payments: list[Played]) -> None:
    first, second, third = under("sync", payments, 3)
    with HeadraceClient(running[1], deadline_ms=30_000) as client:
        decision = client.score(first)
        assert (decision.event_id, decision.degraded) == (first.event_id, [])
        assert client.score(first) == decision == client.decision(first.event_id)
        assert client.decision("nobody") is None
        with pytest.raises(EventConflict):
            client.score(msgspec.structs.replace(first, amount=first.amount + 1))
        with pytest.raises(InvalidRequest) as caught:
            client.score(msgspec.structs.replace(second, currency="eur"))
        assert (caught.value.field, caught.value.value) == ("currency", "'eur'")
        assert "[A-Z]" in caught.value.remedy
        assert [client.event(second) for _ in range(2)] == [True, False]
        with pytest.raises(EventConflict):
            client.event(msgspec.structs.replace(second, amount=second.amount + 1))
        label = Label(event_id=first.event_id, label="fraud", labelled_at=first.event_timestamp + timedelta(days=1))
        assert [client.label(label) for _ in range(2)] == [True, False]
        answers = client.score_batch([first, msgspec.structs.replace(third, currency="eur"), second, third])
        assert [type(answer) for answer in answers] == [Decision, InvalidRequest, EventConflict, Decision]
        assert answers[0] == decision


def test_every_call_awaited(running: tuple[Stack, str], payments: list[Played]) -> None:
    records = under("async", payments, 100)

    async def main() -> None:
        async with AsyncHeadraceClient(running[1], deadline_ms=30_000) as client:
            decisions = await asyncio.gather(*(client.score(one) for one in records[:50]))
            assert [one.event_id for one in decisions] == [one.event_id for one in records[:50]]
            assert await client.decision(records[0].event_id) == decisions[0]
            answers = await client.score_batch(records)
            assert answers[:50] == decisions
            assert all(isinstance(one, Decision) and one.degraded == [] for one in answers)
            assert await client.event(records[0]) is False
            at = records[0].event_timestamp + timedelta(days=1)
            assert await client.label(Label(event_id=records[0].event_id, label="legit", labelled_at=at)) is True
            with pytest.raises(EventConflict):
                await client.score(msgspec.structs.replace(records[0], amount=0.5))

    asyncio.run(main())


def test_a_service_that_goes_and_comes_back_is_waited_for_as_long_as_the_time_lasts(
    running: tuple[Stack, str], payments: list[Played]
) -> None:
    stack, url = running
    records = under("gone", payments, 40)
    with HeadraceClient(url, deadline_ms=30_000) as client:
        before = client.score(records[0])
        stack.children.pop("service").kill()
        started = time.monotonic()
        with pytest.raises(Unavailable):
            client.score(records[1], deadline_ms=300)
        assert time.monotonic() - started < 60
        starter = threading.Thread(target=stack.start_service)
        starter.start()
        decision: Decision | None = None
        while decision is None:
            assert time.monotonic() - started < 300
            try:
                decision = client.score(records[1])
            except Unavailable:
                time.sleep(0.2)
        starter.join()
        assert client.score(records[0]) == before
        assert client.score(records[1]).event_id == decision.event_id
