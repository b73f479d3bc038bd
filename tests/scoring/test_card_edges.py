"""No card number gets past an edge: not into Redis, not into an answer, not into the archive, whatever holds it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.worker import Folder
from scoring.api import Api
from scoring.batch_door import LINES, BatchDoor
from scoring.scorer import Scorer
from scoring.stream_door import group_of, score_once
from scoring.use_case import FRAUD
from stream.archive import Archive
from stream.archiver import Archiver
from stream.card_guard import CardGuard
from stream.card_key import CardKey
from stream.log import Message, Partition
from stream.records import Decision, Label, decode
from stream.redis_keys import stream_key
from stream.redis_log import RedisLog
from tests.cards import VISA, card_numbers, everything_in, everything_under, holds, written
from tests.scoring.conftest import PATIENT_MS
from tests.scoring.test_api import GOOD, LABEL, SCORE, Door
from tests.scoring.test_batch_door import answered

NOON = {"event_timestamp": "2026-01-31T12:00:00Z"}
ACTION: dict[str, Any] = NOON | {"type": "action", "event_id": "a1", "user_id": "u", "action": "buy"}
READING: dict[str, Any] = {**NOON, "type": "reading", "event_id": "r1", "device_id": "d", "metric": "heat", "value": 1}
FULL = GOOD | {"customer_id": "u", "device_id": "d", "currency": "EUR", "latitude": 1.0, "longitude": 2.0}
FULL_LABEL = LABEL | {"source": "bank", "card_id": "c", "merchant_id": "m", "device_id": "d", "amount": 2.0}
RECORDS: list[tuple[str, dict[str, Any]]] = [
    ("/fraud/score", FULL),
    ("/fraud/score/batch", FULL),
    ("/events", FULL),
    ("/events", ACTION | {"item_id": "i", "session_id": "s", "value": 1.0}),
    ("/events", READING),
    ("/labels", FULL_LABEL),
]
TOPIC = "unscored"


@pytest.fixture
def guard(tmp_path: Path) -> CardGuard:
    return CardGuard("tokenise", CardKey(tmp_path))


@pytest.fixture
def door(scorer: Scorer, guard: CardGuard) -> Door:
    return Door(Api(scorer, clock_skew_ms=60_000, deadline_ms=PATIENT_MS, cards=guard))


@pytest.fixture
def log(redis_db: str, guard: CardGuard) -> Iterator[RedisLog]:
    with closing(RedisLog(redis_db, 2, admit=guard.admit)) as opened:
        yield opened


@st.composite
def cases(draw: st.DrawFn) -> tuple[str, bytes, str]:
    """A route, a body with a card number in it, and its digits."""
    route, record = draw(st.sampled_from(RECORDS))
    digits = draw(card_numbers())
    text = draw(written(digits))
    name = draw(st.sampled_from([*record, "pan", text]))
    value = draw(st.sampled_from([text, text, text, int(digits), [text], {"number": text}]))
    body = msgspec.json.encode(record | {"event_id": f"e-{digits[-6:]}"} | {name: value})
    if route.endswith("batch"):
        body = b"[" + body + b"]"
    return route, draw(st.sampled_from([body, body, body, body[:-1], b"\xff" + body])), digits


@pytest.mark.parametrize("treatment", ["tokenise", "refuse"])
def test_whatever_holds_a_card_number_neither_redis_nor_an_answer_does(
    door: Door, guard: CardGuard, redis_db: str, caplog: pytest.LogCaptureFixture, treatment: Any
) -> None:
    guard.treatment = treatment
    statuses, sent = [], []

    @settings(max_examples=150, deadline=None)
    @given(cases())
    def send(case: tuple[str, bytes, str]) -> None:
        route, body, digits = case
        status, _, answer = door.send("POST", route, body)
        statuses.append(status)
        sent.append(digits)
        assert not holds(msgspec.json.encode(answer), digits)
        for path in (f"/decisions/{digits}", f"/explanations/{digits}"):
            assert not holds(msgspec.json.encode(door.send("GET", path)[2]), digits)

    send()
    found = everything_in(redis_db)
    assert [digits for digits in sent if holds(found + caplog.text.encode(), digits)] == []
    assert set(statuses) >= {200, 400} | ({202} if treatment == "tokenise" else set())


def test_a_payment_of_a_card_number_is_that_of_its_token(door: Door, guard: CardGuard, redis_db: str) -> None:
    token = guard.text(VISA, "card_id")
    body = msgspec.json.encode(GOOD | {"card_id": "4111 1111 1111 1111", "event_id": VISA})
    status, _, answer = door.send("POST", SCORE, body)
    assert (status, answer["record"]["card_id"], answer["event_id"]) == (200, token, token)
    # A retry, also one that writes the number otherwise, and a look at the decision find the same.
    again = msgspec.json.encode(GOOD | {"card_id": VISA, "event_id": "4111-1111-1111-1111"})
    assert door.send("POST", SCORE, again)[2] == door.send("GET", f"/decisions/{VISA}")[2] == answer
    status, _, conflict = door.send("POST", SCORE, msgspec.json.encode(GOOD | {"card_id": "c", "event_id": VISA}))
    assert status == 409 and token in conflict["message"]
    assert not holds(everything_in(redis_db), VISA)


def test_where_they_are_refused_the_answer_names_the_field(door: Door, guard: CardGuard) -> None:
    guard.treatment = "refuse"
    status, _, answer = door.send("POST", SCORE, msgspec.json.encode(GOOD | {"card_id": VISA}))
    assert (status, answer["error"], answer["field"]) == (400, "invalid", "card_id")
    assert answer["value"] == "'************1111'" and "takes none" in answer["remedy"]
    assert door.send("GET", f"/decisions/{VISA}")[0] == 400


@pytest.mark.parametrize("body", [b"[" * 20 + b'"4111111111111111"', b'{"card": "4111 1111 1111 1111"}', VISA.encode()])
def test_what_is_no_batch_is_not_quoted(door: Door, scorer: Scorer, guard: CardGuard, body: bytes) -> None:
    api = Api(scorer, 60_000, 10_000, cards=guard)
    assert not holds(answered(BatchDoor(), api, body).body, VISA)
    assert not holds(answered(BatchDoor(), api, body, LINES).body, VISA)


def test_a_deadline_that_is_a_card_number_is_not_quoted(door: Door) -> None:
    for text in (VISA, f"x{'y' * 20} 4111 1111 1111 1111"):
        status, _, answer = door.send("POST", SCORE, msgspec.json.encode(GOOD), headers={"x-deadline-ms": text})
        assert status == 400 and not holds(msgspec.json.encode(answer), VISA)
        assert "41111" not in answer["value"].replace(" ", "")


def test_what_others_write_to_a_topic_is_tokenised_before_any_reader_sees_it(
    log: RedisLog, scorer: Scorer, guard: CardGuard, tmp_path: Path
) -> None:
    token = guard.text(VISA, "card_id")
    body = msgspec.json.encode(GOOD | {"card_id": VISA})
    log.append([Message(topic, VISA, body) for topic in ("transactions", TOPIC)])
    log.append([Message(topic, "k", body[:-1]) for topic in ("transactions", TOPIC)])
    with closing(log.consumer(group_of(TOPIC), (TOPIC,))) as consumer:
        assert score_once(scorer, log, consumer, 60_000, 100, 1000).decided == 1
    with closing(log.consumer("worker", ("transactions",))) as consumer:
        batch = consumer.poll(100, 1000)
    counted = Folder(scorer.store, FRAUD.features.views, log.name).fold(batch)
    assert counted.folded == 1 and len(counted.dead) == 1
    with Archive(tmp_path / "archive") as archive, closing(log.consumer("archiver", ("transactions",))) as consumer:
        archiver = Archiver(archive, log, consumer)
        archiver.step(100, 1000)
        archiver.flush()
        assert token.encode() in everything_under(tmp_path / "archive")
    # The topics themselves still hold what others wrote; nothing else does.
    scorer.ledger.connection.one("DEL", *(stream_key(one, part) for one in ("transactions", TOPIC) for part in (0, 1)))
    kept = everything_in(log.url)
    assert b"dead-letters" in kept and token.encode() in kept
    assert not holds(kept + everything_under(tmp_path / "archive") + str(counted.dead).encode(), VISA)


def test_where_they_are_refused_a_topics_record_is_a_masked_dead_letter(
    log: RedisLog, scorer: Scorer, guard: CardGuard
) -> None:
    guard.treatment = "refuse"
    log.append([Message(TOPIC, "k", msgspec.json.encode(GOOD | {"card_id": VISA}))])
    with closing(log.consumer(group_of(TOPIC), (TOPIC,))) as consumer:
        (letter,) = score_once(scorer, log, consumer, 60_000, 100, 1000).dead
    assert "card_id" in letter.reason and b"************1111" in letter.payload
    assert not holds(letter.reason.encode() + letter.payload, VISA)


def test_a_label_by_number_reaches_the_event_of_its_token(door: Door, guard: CardGuard, scorer: Scorer) -> None:
    door.send("POST", SCORE, msgspec.json.encode(GOOD | {"card_id": VISA, "event_id": f"pay {VISA}"}))
    status, _, answer = door.send("POST", "/labels", msgspec.json.encode(LABEL | {"event_id": f"pay {VISA}"}))
    assert (status, answer["event_id"]) == (202, f"pay {guard.text(VISA, 'x')}")
    with closing(RedisLog(scorer.ledger.connection.url, 2)) as log:
        labels = [one for number in range(2) for one in log.read(Partition("labels", number), 0, 9)]
    assert [decode(one.value, Label).card_id for one in labels] == [guard.text(VISA, "x")]
    assert decode(scorer.ledger.answer(answer["event_id"]) or b"", Decision).outcome == "approve"
