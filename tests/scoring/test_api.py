from __future__ import annotations

import asyncio
import os
import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pydantic import ValidationError

from scoring.api import Api
from scoring.asgi import Message, Receive, Scope, Send
from scoring.batch_door import Bounds
from scoring.front_door import FrontDoor
from scoring.live_models import LiveModels
from scoring.scorer import Scorer
from scoring.typed_bodies import body_of
from stream.embedded_redis import EmbeddedRedis
from stream.invalid_record import InvalidRecord
from stream.records import Label, Transaction, decode
from tests.scoring.conftest import PATIENT_MS, OpenScorer

SCORE, EVENTS, LABELS = "/fraud/score", "/events", "/labels"
BODY_LIMIT = 4096
PATIENT = {"accept": "*/*"}
"""Says nothing of a deadline: those of a `Door` are longer than a request may ask for."""
GOOD = {
    "type": "transaction",
    "event_id": "e1",
    "event_timestamp": "2026-01-31T12:00:00Z",
    "card_id": "c",
    "merchant_id": "m",
    "amount": 20.0,
}
LABEL = {"type": "label", "event_id": "e1", "label": "fraud", "labelled_at": "2026-02-07T09:30:00Z"}


def without(name: str) -> bytes:
    return msgspec.json.encode({key: value for key, value in GOOD.items() if key != name})


def good(**fields: Any) -> bytes:
    return msgspec.json.encode(GOOD | fields)


def raw(name: str, text: str) -> bytes:
    """The good body with one value written out, so that it need not be JSON."""
    return good(**{name: "@"}).replace(b'"@"', text.encode())


class Door:
    """Sends one request through the front door, as a server would."""

    def __init__(self, api: Api | None) -> None:
        self.passed: list[str] = []
        self.door = FrontDoor(self._inner, lambda: api, BODY_LIMIT, Bounds(deadline_ms=PATIENT_MS))

    async def _inner(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.passed.append(scope.get("path", scope["type"]))

    def send(
        self, method: str, path: str, *chunks: bytes, headers: dict[str, str] | None = None, leave: bool = False
    ) -> tuple[int, dict[str, str], Any]:
        """Status, headers and body; status 0 where nothing was answered. `leave` hangs up before the last chunk."""
        waiting: list[Message] = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
        waiting = waiting or [{"type": "http.request"}]
        waiting[-1] = {"type": "http.disconnect"} if leave else {**waiting[-1], "more_body": False}
        sent: list[Message] = []

        async def receive() -> Message:
            return waiting.pop(0)

        async def send(message: Message) -> None:
            sent.append(message)

        encoded = [(name.encode(), value.encode()) for name, value in (headers or PATIENT).items()]
        scope = {"type": "http", "method": method, "path": path, "headers": encoded}
        asyncio.run(self.door(scope, receive, send))
        if not sent:
            return 0, {}, None
        start, body = sent
        found = {name.decode(): value.decode() for name, value in start["headers"]}
        assert found["content-length"] == str(len(body["body"]))
        return start["status"], found, msgspec.json.decode(body["body"])


@pytest.fixture
def door(scorer: Scorer) -> Door:
    return Door(Api(scorer, clock_skew_ms=60_000, deadline_ms=PATIENT_MS))


NOW = datetime.now(UTC)
BAD: dict[str, tuple[str, bytes, str, str]] = {
    "malformed": (SCORE, b'{"type": ', "(body)", "one JSON object"),
    "empty": (SCORE, b"", "(body)", "one JSON object"),
    "not an object": (SCORE, b"[1]", "(body)", "object"),
    "no UTF-8": (SCORE, b'{"event_id": "\xff"}', "(body)", "UTF-8"),
    "half a surrogate": (SCORE, raw("event_id", '"\\ud800"'), "(body)", "one JSON object"),
    "too deep": (SCORE, b'{"type":"transaction","event_id":' + b"[" * 4000, "(body)", "flat"),
    "unknown type": (EVENTS, good(type="payment"), "type", "send one of transaction"),
    "another type": (SCORE, good(type="label"), "type", "send one of transaction"),
    "no label": (LABELS, msgspec.json.encode(LABEL | {"type": "decision"}), "type", "send one of label"),
    "no UTF-8 after a fault": (SCORE, b'{"type": "label", "event_id": "\xff"}', "(body)", "UTF-8"),
    "nothing": (SCORE, b"null", "(body)", "send one JSON object"),
    "missing amount": (SCORE, without("amount"), "amount", "send it"),
    "NaN": (SCORE, raw("amount", "NaN"), "(body)", "JSON"),
    "beyond float": (SCORE, raw("amount", "1e999"), "amount", "finite"),
    "negative": (SCORE, good(amount=-1), "amount", ">= 0.0"),
    "a text for a number": (SCORE, good(amount="20"), "amount", "got str"),
    "naive time": (SCORE, good(event_timestamp="2026-01-31T12:00:00"), "event_timestamp", "with a zone"),
    "no time": (SCORE, good(event_timestamp="yesterday"), "event_timestamp", "RFC 3339"),
    "far future": (SCORE, good(event_timestamp="9999-01-01T00:00:00Z"), "event_timestamp", "clock"),
    "unknown field": (SCORE, good(amont=3), "amont", "leave it out"),
    "empty id": (SCORE, good(card_id=""), "card_id", "length >= 1"),
    "long id": (SCORE, good(event_id="e" * 129), "event_id", "length <= 128"),
    "no place": (SCORE, good(latitude=91), "latitude", "<= 90"),
    "no currency": (SCORE, good(currency="eur"), "currency", "[A-Z]"),
    "unknown verdict": (
        LABELS,
        msgspec.json.encode(LABEL | {"label": "maybe"}),
        "label",
        "send one of fraud, legit, unknown",
    ),
    "label of tomorrow": (LABELS, msgspec.json.encode(LABEL | {"labelled_at": NOW + timedelta(1)}), "labelled_at", ""),
    "label before its event": (
        LABELS,
        msgspec.json.encode(LABEL | {"event_timestamp": "9999-01-01T00:00:00Z"}),
        "event_timestamp",
        "after 'labelled_at'",
    ),
}


def test_each_route_names_the_types_that_it_takes(door: Door) -> None:
    taken = {SCORE: "transaction", EVENTS: "transaction, action, reading", LABELS: "label"}
    said = {path: door.send("POST", path, b'{"type": "nothing"}')[2]["remedy"] for path in taken}
    assert said == {path: f"send one of {kinds}" for path, kinds in taken.items()}


@pytest.mark.parametrize("path", [SCORE, f"{SCORE}/batch", EVENTS, LABELS, "/decisions/e1", "/explanations/e1"])
def test_a_method_that_a_path_has_not_is_told_which_it_has(door: Door, path: str) -> None:
    method = "POST" if path.endswith("/e1") else "GET"
    status, headers, body = door.send(method, path)
    other = "GET" if method == "POST" else "POST"
    assert (status, headers["allow"]) == (405, other)
    assert body["message"] == f"{path} has no {method}; send {other}"
    assert door.passed == []


@pytest.mark.parametrize("case", BAD)
def test_a_bad_request_names_the_field_and_the_remedy_and_changes_nothing(
    door: Door, scorer: Scorer, case: str
) -> None:
    path, body, field, remedy = BAD[case]
    status, _, answer = door.send("POST", path, body)
    assert (status, answer["error"], answer["field"]) == (400, "invalid", field)
    assert remedy in answer["remedy"]
    assert scorer.ledger.connection.one("DBSIZE") == 0


@pytest.mark.parametrize("text", ["soon", "", "nan", "0", "-5", "10001", "inf", "5ms"])
def test_a_bad_deadline_is_refused(door: Door, text: str) -> None:
    status, _, answer = door.send("POST", SCORE, good(), headers={"x-deadline-ms": text})
    assert (status, answer["field"], answer["value"]) == (400, "X-Deadline-Ms", repr(text))
    assert answer["remedy"] == "send milliseconds, from 1 to 10000"


@pytest.mark.parametrize("chunks", [[b" " * (BODY_LIMIT + 1)], [b" " * BODY_LIMIT, b" "], [b" " * 100] * 10_000])
def test_a_huge_body_is_refused_before_all_of_it_is_read(door: Door, chunks: list[bytes]) -> None:
    status, _, answer = door.send("POST", SCORE, *chunks)
    assert (status, answer["error"]) == (413, "too large")
    assert str(BODY_LIMIT) in answer["message"]


def test_a_body_in_pieces_is_one_body(door: Door) -> None:
    whole = good()
    assert door.send("POST", SCORE, whole[:10], whole[10:], b"")[0] == 200


def test_a_client_that_leaves_in_the_middle_is_not_answered(door: Door, scorer: Scorer) -> None:
    assert door.send("POST", SCORE, good(), b"", leave=True)[0] == 0
    assert scorer.ledger.connection.one("DBSIZE") == 0


def test_a_score_its_retry_and_its_decision_are_the_same_bytes(door: Door) -> None:
    status, headers, answer = door.send("POST", SCORE, good())
    assert (status, headers["content-type"]) == (200, "application/json")
    assert (answer["outcome"], answer["degraded"]) == ("approve", [])
    assert door.send("POST", SCORE, good())[2] == answer
    assert door.send("GET", "/decisions/e1")[2] == answer


@pytest.mark.parametrize("event_id", ["a/b", "100%41", "ü ß?#", "x" * 128])
def test_a_decision_is_found_whatever_its_id(door: Door, event_id: str) -> None:
    door.send("POST", SCORE, good(event_id=event_id))
    status, _, answer = door.send("GET", f"/decisions/{event_id}")  # a server has decoded the path already
    assert (status, answer.get("event_id")) == (200, event_id)


def test_an_unknown_decision_is_not_found(door: Door) -> None:
    status, _, answer = door.send("GET", "/decisions/nobody")
    assert (status, answer["error"]) == (404, "unknown event")
    assert "'nobody'" in answer["message"]


def test_one_id_for_two_records_is_a_conflict(door: Door) -> None:
    door.send("POST", SCORE, good())
    status, _, answer = door.send("POST", SCORE, good(amount=21.0))
    assert (status, answer["error"]) == (409, "conflict")


def test_an_event_and_a_label_are_accepted_once(door: Door) -> None:
    for path, body in ((EVENTS, good()), (LABELS, msgspec.json.encode(LABEL))):
        assert door.send("POST", path, body)[::2] == (202, {"event_id": "e1", "status": "accepted"})
        assert door.send("POST", path, body)[::2] == (202, {"event_id": "e1", "status": "repeated"})


def test_one_id_for_two_events_is_a_conflict_and_not_a_repeat(door: Door) -> None:
    door.send("POST", EVENTS, good())
    spaced = msgspec.json.format(good())  # the same record, other bytes
    assert door.send("POST", EVENTS, spaced)[2]["status"] == "repeated"
    for path in (EVENTS, SCORE):
        status, _, answer = door.send("POST", path, good(amount=21.0))
        assert (status, answer["error"], answer["field"]) == (409, "conflict", "event_id")


def test_an_event_that_was_scored_is_a_repeat_as_it_was_and_a_conflict_otherwise(door: Door) -> None:
    door.send("POST", SCORE, good())
    assert door.send("POST", EVENTS, good())[2]["status"] == "repeated"
    assert door.send("POST", EVENTS, good(amount=21.0))[0] == 409


@pytest.mark.parametrize("path", [SCORE, EVENTS])
def test_a_full_outbox_says_when_to_come_again(open_scorer: OpenScorer, redis_db: str, path: str) -> None:
    door = Door(Api(open_scorer(redis_db, outbox_limit=1), 60_000, PATIENT_MS))
    door.send("POST", path, good(event_id="first"))
    status, headers, answer = door.send("POST", path, good())
    assert (status, answer["error"], headers["retry-after"]) == (503, "outbox full", "1")
    assert "start a worker" in answer["message"]


def test_unknown_paths_pass_on(door: Door) -> None:
    requests = [("OPTIONS", SCORE), ("POST", "/fraud/scores"), ("GET", "/livez"), ("POST", "/recommend")]
    for method, path in requests:
        assert door.send(method, path)[0] == 0
    assert door.passed == [path for _, path in requests]


def test_before_the_service_has_started_everything_passes_on() -> None:
    closed = Door(None)
    closed.send("POST", SCORE, good())
    assert closed.passed == [SCORE]


def test_a_lifespan_passes_on(door: Door) -> None:
    async def nothing(*_: Any) -> Any:
        raise AssertionError("nothing is to be read or sent")

    asyncio.run(door.door({"type": "lifespan"}, nothing, nothing))
    assert door.passed == ["lifespan"]


def test_nothing_waits_for_a_redis_that_does_not_answer(open_scorer: OpenScorer, tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path / "redis") as server:
        api = Api(open_scorer(server.url), 60_000, deadline_ms=50)

        def send(*request: Any, **options: Any) -> tuple[int, dict[str, str], Any]:
            # Each through a door of its own: at one door a request counts what held up the one before as waiting.
            return Door(api).send(*request, **options)

        os.kill(server.pid, signal.SIGSTOP)
        try:
            started = time.monotonic()
            answers = [
                send("POST", EVENTS, good()),
                send("POST", LABELS, msgspec.json.encode(LABEL)),
                send("GET", "/decisions/e1"),
            ]
            assert [(status, body["error"]) for status, _, body in answers] == [(503, "store unavailable")] * 3
            assert all(headers["retry-after"] == "1" for _, headers, _ in answers)
            assert "did not answer" in api.ready()[0]
            assert send("POST", SCORE, good(event_id="e2"))[0] == 200
            assert time.monotonic() - started < 40  # each by itself would wait for a minute
        finally:
            os.kill(server.pid, signal.SIGCONT)


def test_an_error_of_redis_is_a_503_and_no_500(door: Door, scorer: Scorer) -> None:
    scorer.ledger.connection.one("RPUSH", scorer.ledger.key("e1"), "a list where a text belongs")
    for answer in (door.send("POST", EVENTS, good()), door.send("GET", "/decisions/e1")):
        assert (answer[0], answer[2]["error"]) == (503, "store unavailable")
    status, _, answer_of_score = door.send("POST", SCORE, good())
    assert (status, answer_of_score["degraded"]) == (200, ["online store", "not recorded yet"])


def test_a_scorer_is_ready_with_redis_and_a_champion(scorer: Scorer) -> None:
    assert Api(scorer, 60_000, PATIENT_MS).ready() == []
    scorer.models = LiveModels
    assert Api(scorer, 60_000, PATIENT_MS).ready() == ["no champion model is loaded"]


TransactionBody = body_of(Transaction, GOOD)


@pytest.mark.parametrize(
    ("body", "taken"),
    [
        (good(), True),
        (without("type"), True),
        (good(device_id=None, latitude=48, longitude=-11.5, currency="USD"), True),
        (good(event_timestamp="2026-01-31T13:00:00+01:00"), True),
        (good(amount=0), True),
        (without("amount"), False),
        (good(type="label"), False),
        (good(amount=-1), False),
        (good(amount="20"), False),
        (good(amount=True), False),
        (raw("amount", "NaN"), False),
        (raw("amount", "Infinity"), False),
        (raw("amount", "1e999"), False),
        (good(card_id=""), False),
        (good(card_id=7), False),
        (good(event_id="e" * 129), False),
        (good(latitude=91), False),
        (good(latitude="48"), False),
        (good(currency="eur"), False),
        (good(event_timestamp="2026-01-31T12:00:00"), False),
        (good(event_timestamp=1_769_860_800), False),
        (good(amont=1), False),
        (b"[]", False),
    ],
)
def test_the_documented_body_takes_what_the_struct_takes(body: bytes, taken: bool) -> None:
    if taken:
        read = TransactionBody.model_validate_json(body)
        again: Transaction = decode(read.model_dump_json(exclude_none=True), Transaction)
        assert again == decode(body, Transaction)
        return
    with pytest.raises(InvalidRecord):
        decode(body, Transaction)
    with pytest.raises(ValidationError):
        TransactionBody.model_validate_json(body)


def test_the_documented_body_has_the_structs_bounds_and_the_example() -> None:
    schema = TransactionBody.model_json_schema()
    assert schema["example"] == GOOD
    assert schema["additionalProperties"] is False
    assert schema["properties"]["amount"]["maximum"] == 1e12
    assert schema["properties"]["event_timestamp"]["format"] == "date-time"
    assert set(schema["required"]) == {"event_id", "event_timestamp", "card_id", "merchant_id", "amount"}
    label = body_of(Label, LABEL).model_json_schema()
    assert label["properties"]["label"]["enum"] == ["fraud", "legit", "unknown"]
