"""Records that come together share the round trips to Redis, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from models.onnx import OnnxModel
from scoring.api import Answer, Api, Post
from scoring.rounds import Rounds
from scoring.scorer import EventConflict, Scored, Scorer
from stream.connection import RedisConnection
from stream.log import LogFull
from stream.records import Decision, Transaction, decode
from tests.scoring.conftest import PATIENT_MS, OpenScorer, Says, live, payment
from tests.scoring.test_api import good

WHEN = datetime(2026, 1, 31, 13, 0, tzinfo=UTC)


def apart(number: int, **fields: Any) -> Transaction:
    """A payment that shares no entity with those of other numbers."""
    ids = {"card_id": f"c{number}", "merchant_id": f"m{number}", "device_id": f"d{number}"}
    return payment(f"e{number}", **{**ids, **fields})


def together(scorer: Scorer, records: Sequence[Any]) -> list[Scored | Exception]:
    return scorer.score_all([(record, PATIENT_MS) for record in records])


def decisions(answers: Sequence[Scored | Exception]) -> list[Decision]:
    return [answer.decision for answer in answers if isinstance(answer, Scored)]


def round_trips(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by the number of commands of each call to Redis."""
    calls: list[int] = []
    ask: Callable[..., Any] = RedisConnection.call

    def counted(connection: RedisConnection, commands: Sequence[Any], timeout_ms: float | None = None) -> Any:
        if connection is scorer.ledger.connection:
            calls.append(len(commands))
        return ask(connection, commands, timeout_ms)

    monkeypatch.setattr(RedisConnection, "call", counted)
    return calls


def test_records_scored_together_get_what_each_would_get_alone(
    open_scorer: OpenScorer, redis_db: str, other_redis_db: str, amount_model: OnnxModel
) -> None:
    records = [apart(number, amount=300.0 * number) for number in range(1, 7)]
    scorers = [open_scorer(url, amount_model) for url in (redis_db, other_redis_db)]
    for scorer in scorers:
        scorer.clock = lambda: WHEN
        scorer.score(apart(9, card_id="c1"), PATIENT_MS)
    ours = decisions(together(scorers[0], records))
    alone = [scorers[1].score(record, PATIENT_MS) for record in records]
    assert {one.outcome for one in alone} == {"review", "decline"}
    assert [msgspec.structs.replace(one, latency_us={}) for one in ours] == [
        msgspec.structs.replace(one, latency_us={}) for one in alone
    ]
    assert [scorers[0].decision(one.event_id) for one in records] == ours


def test_they_share_one_reading_and_one_commit(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer.score(apart(0), PATIENT_MS)
    calls = round_trips(scorer, monkeypatch)
    assert len(decisions(together(scorer, [apart(number) for number in range(1, 6)]))) == 5
    assert calls == [5 * 4, 5]


def test_the_bytes_of_an_answer_are_those_that_are_kept(scorer: Scorer) -> None:
    fresh, repeated = together(scorer, [apart(1)]), together(scorer, [apart(1)])
    kept = scorer.ledger.answer("e1")
    assert [one.content for one in (*fresh, *repeated) if isinstance(one, Scored)] == [kept, kept]


def test_one_event_twice_in_a_round_has_one_decision_and_another_record_under_its_id_none(scorer: Scorer) -> None:
    first, second, other = together(scorer, [apart(1), apart(1), apart(1, amount=7.0)])
    assert isinstance(first, Scored)
    assert isinstance(second, Scored)
    assert first.decision.event_id == second.decision.event_id
    assert second.content == scorer.ledger.answer("e1") == first.content
    assert (first.is_new, second.is_new) == (True, False)
    assert isinstance(other, EventConflict)


def test_what_one_record_breaks_the_others_do_not_feel(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = scorer.decide

    def fragile(record: Any, *rest: Any) -> Any:
        if record.event_id == "e2":
            raise ZeroDivisionError("of this one")
        return whole(record, *rest)

    monkeypatch.setattr(scorer, "decide", fragile)
    first, second, third = together(scorer, [apart(1), apart(2), apart(3)])
    assert isinstance(second, ZeroDivisionError)
    assert [one.event_id for one in decisions([first, third])] == ["e1", "e3"]
    assert [scorer.decision(f"e{number}") is None for number in (1, 2, 3)] == [False, True, False]


def test_an_outbox_that_fills_in_the_middle_refuses_the_rest(open_scorer: OpenScorer, redis_db: str) -> None:
    scorer = open_scorer(redis_db, outbox_limit=2)
    answers = together(scorer, [apart(number, card_id="one") for number in range(4)])
    assert [type(answer) for answer in answers] == [Scored, Scored, LogFull, LogFull]


def serve(rounds: Rounds, api: Api, bodies: Sequence[bytes]) -> list[Answer]:
    async def all_at_once() -> list[Answer]:
        return await asyncio.gather(*(rounds.score(api, Post(body, PATIENT_MS)) for body in bodies))

    return asyncio.run(all_at_once())


def test_requests_of_one_turn_form_rounds_and_a_client_alone_waits_for_nobody(
    scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    api, rounds = Api(scorer, 60_000, PATIENT_MS), Rounds(limit=4)
    calls = round_trips(scorer, monkeypatch)
    bodies = [good(event_id=f"r{number}", card_id=f"c{number}") for number in range(9)]
    answers = serve(rounds, api, bodies)
    # The first went alone; the others did not know of it, and then of each other.
    assert calls == [3, 1, 4 * 3, 4, 4 * 3, 4]
    assert [decode(answer.body, Decision).event_id for answer in answers] == [f"r{number}" for number in range(9)]
    calls.clear()
    again = serve(rounds, api, bodies[:3])
    assert calls == [3 * 3]
    assert [answer.body for answer in again] == [answer.body for answer in answers[:3]]


def test_a_bad_request_in_a_round_is_refused_and_the_others_are_answered(scorer: Scorer) -> None:
    api = Api(scorer, 60_000, PATIENT_MS)
    bodies = [good(event_id="a"), good(event_id="b", amount=-1), b"{", good(event_id="c")]
    answers = serve(Rounds(), api, bodies)
    assert [answer.status for answer in answers] == [200, 400, 400, 200]
    assert msgspec.json.decode(answers[1].body)["field"] == "amount"


def test_what_waited_too_long_in_a_round_is_refused(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    api, rounds = Api(scorer, 60_000, PATIENT_MS), Rounds(limit=1)
    scorer.models = live(Says(0.001))
    clock = {"s": 0.0}
    monkeypatch.setattr("scoring.rounds.time.perf_counter", lambda: clock["s"])

    def slow(posts: Sequence[Post], whole: Callable[..., Any] = api.score_all) -> Any:
        clock["s"] += 0.6 * PATIENT_MS / 1000
        return whole(posts)

    monkeypatch.setattr(api, "score_all", slow)
    statuses = [answer.status for answer in serve(rounds, api, [good(event_id=f"w{n}") for n in range(4)])]
    # Each takes six tenths of what each may take: the first is alone, the second has its round, then two are late.
    assert statuses == [200, 200, 200, 503]
