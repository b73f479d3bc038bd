from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from prometheus_client import REGISTRY

from scoring.api import Answer, Api, Post
from scoring.batch_door import LINES, BatchDoor, Bounds
from scoring.rounds import ROUND_LIMIT
from scoring.scorer import Scorer
from stream.embedded_redis import EmbeddedRedis
from stream.records import Decision, Transaction, encode
from tests.scoring.conftest import PATIENT_MS, T0, OpenScorer, feature, payment
from tests.scoring.test_api import PATIENT, Door

BATCH = "/fraud/score/batch"


def answered(door: BatchDoor, api: Api, body: bytes, *options: Any, **named: Any) -> Answer:
    found = asyncio.run(door.answer(api, body, *options, **named))
    assert found is not None
    return found


def array(*records: Transaction | bytes) -> bytes:
    return b"[" + b",".join(one if isinstance(one, bytes) else encode(one) for one in records) + b"]"


@pytest.fixture
def api(scorer: Scorer) -> Api:
    return Api(scorer, clock_skew_ms=60_000, deadline_ms=PATIENT_MS)


@pytest.fixture
def door(api: Api) -> Door:
    return Door(api)


def decided(item: dict[str, Any]) -> Decision:
    return msgspec.convert(item["decision"], Decision)


def test_each_record_is_answered_in_its_place_and_a_bad_one_leaves_the_rest_alone(door: Door) -> None:
    body = array(payment("e1"), b'{"type":"transaction","event_id":""}', b"7", payment("e2"))
    status, headers, answer = door.send("POST", BATCH, body, headers=PATIENT)
    assert (status, headers["content-type"]) == (200, "application/json")
    assert [item["status"] for item in answer] == [200, 400, 400, 200]
    assert [answer[place]["decision"]["event_id"] for place in (0, 3)] == ["e1", "e2"]
    assert answer[1]["refusal"]["field"] == "event_id"
    assert answer[1]["refusal"]["remedy"] == "expected str of length >= 1"
    assert "object" in answer[2]["refusal"]["remedy"]


def test_a_later_record_of_a_card_sees_the_earlier_ones(door: Door) -> None:
    records = [payment(f"e{n}", event_timestamp=T0 + timedelta(seconds=n)) for n in range(5)]
    _, _, answer = door.send("POST", BATCH, array(*records), headers=PATIENT)
    assert [feature(decided(item).vector, "card_count_1h") for item in answer] == [1, 2, 3, 4, 5]


def test_one_event_twice_has_one_decision_and_another_record_under_its_id_is_a_conflict(door: Door) -> None:
    body = array(payment("e1"), payment("e1"), payment("e1", amount=21.0))
    _, _, answer = door.send("POST", BATCH, body, headers=PATIENT)
    assert [item["status"] for item in answer] == [200, 200, 409]
    assert answer[0] == answer[1]
    assert door.send("GET", "/decisions/e1")[2] == answer[0]["decision"]


def test_lines_are_answered_by_lines(api: Api) -> None:
    lines = b"\n".join([encode(payment("e1")), b"", b"{", encode(payment("e2")) + b"\r"]) + b"\n"
    content_type = b"Application/X-NDJSON; charset=utf-8"
    answer = answered(BatchDoor(), api, lines, content_type, PATIENT_MS)
    assert (answer.status, answer.content_type) == (200, LINES)
    items = [msgspec.json.decode(line) for line in answer.body.splitlines()]
    assert [item["status"] for item in items] == [200, 400, 200]
    assert items[1]["refusal"]["field"] == "(body)"


def test_an_empty_batch_has_an_empty_answer(door: Door) -> None:
    assert door.send("POST", BATCH, b"[]")[::2] == (200, [])


@pytest.mark.parametrize("body", [b"", b"{}", b"[1,", b"[" * 5000, b"[\xff]", b"null"])
def test_what_is_no_batch_is_refused_whole(door: Door, body: bytes) -> None:
    status, _, answer = door.send("POST", BATCH, body)
    assert (status, answer["field"]) == (400, "(body)")
    assert "application/x-ndjson" in answer["remedy"]


def test_too_many_records_are_refused_before_any_is_scored(api: Api, scorer: Scorer) -> None:
    door = BatchDoor(Bounds(records=2))
    answer = answered(door, api, array(payment("e1"), payment("e2"), payment("e3")))
    assert answer.status == 413
    assert b"at most 2 records, this one has 3" in answer.body
    assert scorer.ledger.connection.one("DBSIZE") == 0


def test_a_batch_may_be_longer_than_a_single_body_but_not_endless(door: Door) -> None:
    records = [payment(f"e{n}", merchant_id="m" * 100) for n in range(20)]
    body = array(*records)
    assert len(body) > door.door.body_limit
    assert door.send("POST", BATCH, body, headers=PATIENT)[0] == 200
    assert door.send("POST", BATCH, b" " * ((1 << 20) + 1))[0] == 413


def test_what_the_deadline_does_not_reach_is_refused_and_not_recorded(api: Api, scorer: Scorer) -> None:
    records = [payment(f"e{n}") for n in range(300)]
    answer = answered(BatchDoor(), api, array(*records), deadline_ms=20.0)
    items = msgspec.json.decode(answer.body)
    reached = [item["status"] for item in items].index(503)
    assert {item["status"] for item in items[reached:]} == {503}
    assert items[-1]["refusal"]["error"] == "deadline passed"
    assert scorer.ledger.answer("e299") is None
    again = answered(BatchDoor(), api, array(*records), deadline_ms=60_000.0)
    assert [item["status"] for item in msgspec.json.decode(again.body)] == [200] * 300


def test_a_batch_is_over_by_its_deadline_without_redis(
    open_scorer: OpenScorer, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock of its own: each record waits as for a Redis that hangs."""
    with EmbeddedRedis(tmp_path / "redis") as server:
        api = Api(open_scorer(server.url), 60_000, deadline_ms=50)
    now_s, score_all = 0.0, api.score_all

    def waits(posts: Sequence[Post]) -> list[Answer]:
        nonlocal now_s
        now_s += 0.03125 * len(posts)  # exact in binary: the sum does not drift
        return score_all(posts)

    monkeypatch.setattr(api, "score_all", waits)
    monkeypatch.setattr("scoring.batch_door.time", SimpleNamespace(perf_counter=lambda: now_s))
    records = [payment(f"e{n}", card_id=f"c{n}") for n in range(500)]
    answer = answered(BatchDoor(), api, array(*records), deadline_ms=1000.0)
    items = msgspec.json.decode(answer.body)
    assert [item["status"] for item in items] == [200] * 32 + [503] * 468
    assert now_s == 1.0  # not the 15.6 s of all of them
    assert items[0]["decision"]["degraded"] == ["online store", "not recorded yet"]


def test_a_bad_deadline_is_refused_and_every_refusal_is_counted(door: Door) -> None:
    def counted(route: str, status: int) -> float:
        found = REGISTRY.get_sample_value("headrace_requests_total", {"route": route, "status": str(status)})
        return found or 0.0

    cases = [
        ("POST", BATCH, b"[]", {"x-deadline-ms": "soon"}, BATCH, 400),
        ("POST", BATCH, b"[]", PATIENT, BATCH, 200),
        ("POST", "/fraud/score", b"{}", {"x-deadline-ms": "0"}, "/fraud/score", 400),
        ("POST", "/fraud/score", b" " * 5000, PATIENT, "/fraud/score", 413),
        ("GET", "/decisions/nobody", b"", PATIENT, "/decisions/", 404),
    ]
    for method, path, body, headers, route, status in cases:
        before = counted(route, status)
        assert door.send(method, path, body, headers=headers)[0] == status
        assert counted(route, status) == before + 1


def test_between_two_records_the_loop_is_free(api: Api) -> None:
    """Single scores that arrive during batches are answered within a few records' time, not after the batches."""

    async def main() -> tuple[list[int], int]:
        door = BatchDoor()
        scored = 0
        inner = api.score_all

        def score_all(posts: Sequence[Post]) -> list[Answer]:
            nonlocal scored
            scored += len(posts)
            return inner(posts)

        api.score_all = score_all  # type: ignore[method-assign]
        batches = [
            asyncio.create_task(door.answer(api, body, deadline_ms=60_000.0))
            for body in [array(*(payment(f"b{b}-{n}") for n in range(50))) for b in range(4)]
        ]
        waited = []
        loop = asyncio.get_running_loop()
        while not all(batch.done() for batch in batches):
            # From another thread, as a socket would wake the loop.
            woken = loop.create_future()
            before = scored
            threading.Thread(target=loop.call_soon_threadsafe, args=(woken.set_result, None)).start()
            await woken
            waited.append(scored - before)
        await asyncio.gather(*batches)
        return waited, scored

    waited, scored = asyncio.run(main())
    assert scored == 200
    assert len(waited) > 20
    assert sorted(waited)[len(waited) * 9 // 10] <= ROUND_LIMIT


def test_a_batch_whose_client_has_left_is_given_up(api: Api, scorer: Scorer) -> None:
    records = [payment(f"e{n}") for n in range(20)]
    asked = iter(range(100))
    body = array(*records)
    assert asyncio.run(BatchDoor().answer(api, body, is_wanted=lambda: next(asked) < 5)) is None
    assert [scorer.ledger.answer(f"e{n}") is None for n in range(20)] == [n >= 5 for n in range(20)]


def test_batches_at_once_share_the_round_trips_and_keep_their_order(api: Api, scorer: Scorer) -> None:
    async def main() -> list[Answer | None]:
        door = BatchDoor()
        bodies = [array(*(payment(f"b{b}-{n}", card_id=f"b{b}") for n in range(5))) for b in range(4)]
        return await asyncio.gather(*(door.answer(api, body, deadline_ms=60_000.0) for body in bodies))

    calls: list[int] = []
    inner = api.score_all

    def score_all(posts: Sequence[Post]) -> list[Answer]:
        calls.append(len(posts))
        return inner(posts)

    api.score_all = score_all  # type: ignore[method-assign]
    for answer in asyncio.run(main()):
        assert answer is not None
        counts = [feature(item["decision"]["vector"], "card_count_1h") for item in msgspec.json.decode(answer.body)]
        assert counts == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert sum(calls) == 20
    assert len(calls) <= 8
