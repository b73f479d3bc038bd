"""The deadline begins when a request arrives, and a flood is refused as far as it cannot be answered in time."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import msgspec
import pytest

from scoring.api import Api
from scoring.arrival import Turns, left_ms
from scoring.asgi import Message, Scope
from scoring.front_door import FrontDoor
from scoring.scorer import Scorer
from tests.scoring.conftest import Says, live
from tests.scoring.test_api import SCORE, good

WORK_MS = 10.0


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s

    def work(self, ms: float) -> None:
        self.now_s += ms / 1000


def test_requests_of_one_turn_have_waited_for_those_before_them() -> None:
    clock = Clock()
    turns = Turns(clock)
    waited: list[float] = []

    async def request() -> None:
        waited.append(turns.waited_ms())
        clock.work(WORK_MS)

    async def serve() -> None:
        await asyncio.gather(*(request() for _ in range(3)))
        # These arrived some time within the 30 ms of the turn before.
        await asyncio.gather(*(request() for _ in range(2)))
        clock.work(1000)  # nobody was there for a while
        await asyncio.gather(request())

    asyncio.run(serve())
    assert waited == pytest.approx([0, 10, 20, 15, 25, 0], abs=0.01)


def test_with_less_than_a_fifth_left_nothing_is_begun() -> None:
    assert left_ms(50.0, 0.0) == 50.0
    assert left_ms(50.0, 40.0) == pytest.approx(10.0)
    assert left_ms(50.0, 40.1) is None
    assert left_ms(1000.0, 40.1) == pytest.approx(959.9)


class SlowlySays(Says):
    def score_one(self, x: object) -> float:
        time.sleep(WORK_MS / 1000)
        return 0.001


def test_of_a_burst_those_are_answered_for_whom_there_is_time_and_the_others_hear_it_at_once(scorer: Scorer) -> None:
    scorer.models = live(SlowlySays(0.001))
    door = FrontDoor(_nobody, lambda: api, 4096)
    api = Api(scorer, 60_000, deadline_ms=20 * WORK_MS)
    statuses: Counter[int] = Counter()

    async def request(number: int) -> None:
        scope: Scope = {"type": "http", "method": "POST", "path": SCORE, "headers": []}
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": good(event_id=f"e{number}")}

        async def send(message: Message) -> None:
            sent.append(message)

        await door(scope, receive, send)
        statuses[sent[0]["status"]] += 1
        if sent[0]["status"] == 503:
            assert (b"retry-after", b"1") in sent[0]["headers"]
            assert msgspec.json.decode(sent[1]["body"])["error"] == "overloaded"

    async def burst(first: int) -> None:
        await asyncio.gather(*(request(first + number) for number in range(200)))

    # One that is held up when it begins has no time left for anybody: then comes another.
    for number in range(100):
        statuses.clear()
        asyncio.run(burst(200 * number))
        if statuses[200]:
            break
    assert set(statuses) == {200, 503}
    assert 1 <= statuses[200] <= 20  # work for the deadline at most: the others cost none
    assert asyncio.run(_one(door)) == 200


async def _one(door: FrontDoor) -> int:
    statuses: list[int] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": good(event_id="after")}

    async def send(message: Message) -> None:
        statuses.append(message.get("status", 0))

    headers = [(b"x-deadline-ms", b"9000")]  # the burst may have been held up for long, and it counts half of that
    await door({"type": "http", "method": "POST", "path": SCORE, "headers": headers}, receive, send)
    return statuses[0]


async def _nobody(*_: object) -> None:
    raise AssertionError("nothing is passed on")
