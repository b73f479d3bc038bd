"""The schema at work: what decodes, and what a refusal says about the field, the value and the remedy."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stream.invalid_record import InvalidRecord
from stream.records import (
    RECORD_TYPES,
    Action,
    DeadLetter,
    Decision,
    Item,
    Label,
    MemberScore,
    Reading,
    Reason,
    Record,
    Shown,
    Slate,
    Transaction,
    check_time,
    convert,
    decode,
    encode,
    from_micros,
    micros,
)

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)

TRANSACTION = {
    "type": "transaction",
    "event_id": "e1",
    "event_timestamp": "2026-01-31T12:00:00Z",
    "card_id": "c1",
    "merchant_id": "m1",
    "amount": 12.5,
}
ACTION = {
    "type": "action",
    "event_id": "e2",
    "event_timestamp": "2026-01-31T12:00:00Z",
    "user_id": "u1",
    "action": "click",
}
READING = {
    "type": "reading",
    "event_id": "e3",
    "event_timestamp": "2026-01-31T12:00:00Z",
    "device_id": "d1",
    "metric": "temperature",
    "value": -3.5,
}
ITEM = {"type": "item", "event_id": "e4", "event_timestamp": "2026-01-31T12:00:00Z", "item_id": "i1"}
LABEL = {"type": "label", "event_id": "e1", "label": "fraud", "labelled_at": "2026-02-01T12:00:00Z"}

PAYMENT = Transaction(event_id="e1", event_timestamp=NOON, card_id="c1", merchant_id="m1", amount=12.5)
EVERY_KIND: list[Record] = [
    PAYMENT,
    Action(event_id="e2", event_timestamp=NOON, user_id="u1", action="click"),
    Reading(event_id="e3", event_timestamp=NOON, device_id="d1", metric="temperature", value=-3.5),
    Item(event_id="e4", event_timestamp=NOON, item_id="i1", title="Alien", tags=["horror"], price=3.5),
    Label(event_id="e1", label="fraud", labelled_at=NOON),
    Slate(
        event_id="s1",
        event_timestamp=NOON,
        user_id="u1",
        items=[
            Shown("i1", 0.5, "trending", "popular now", 0.25, True, b"\0\0\x80?"),
            Shown("i2", 0.4, "trending", "popular now", 0.25, True, [1.0, None]),  # as earlier versions have it
        ],
        vector=[None, 2.0],
        definition_hash="abc",
    ),
    Decision(
        event_id="e1",
        event_timestamp=NOON,
        scored_at=NOON,
        use_case="fraud",
        outcome="review",
        score=0.7,
        scores={"batch": MemberScore("v1", 0.7)},
        vector=[1.0, None],
        definition_hash="abc",
        policy_version="p1",
        record=PAYMENT,
        reasons=[Reason("card.count_1h", "many payments", 9.0, None)],
    ),
    DeadLetter(event_id="x", from_topic="transactions", partition=1, offset=2, reason="bad", payload=b"\xff"),
]

VALID: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (TRANSACTION, {}),
    (TRANSACTION, {"amount": 0}),
    (TRANSACTION, {"amount": 1e12}),
    (TRANSACTION, {"currency": "USD"}),
    (TRANSACTION, {"event_id": "x" * 128}),
    (TRANSACTION, {"event_timestamp": "2026-01-31T13:00:00.123456+01:00"}),
    (TRANSACTION, {"latitude": 90, "longitude": -180}),
    (TRANSACTION, {"customer_id": None, "device_id": None}),
    (ACTION, {}),
    (ACTION, {"value": -1e300}),
    (ACTION, {"session_id": "s", "item_id": "i", "slate_id": "x"}),
    (READING, {}),
    (ITEM, {"deleted": True}),
    (ITEM, {"title": "", "category": "c", "tags": ["a", "b"], "price": 0}),
    (LABEL, {}),
    (LABEL, {"label": "unknown", "source": "analyst", "amount": 3}),
]

INVALID: list[tuple[dict[str, Any], dict[str, Any], str, str, str]] = [
    (TRANSACTION, {"event_id": ""}, "event_id", "''", "length >= 1"),
    (TRANSACTION, {"card_id": "x" * 129}, "card_id", "xxx", "length <= 128"),
    (TRANSACTION, {"card_id": 7}, "card_id", "7", "expected str, got int"),
    (TRANSACTION, {"card_id": None}, "card_id", "None", "expected str, got null"),
    (TRANSACTION, {"amount": -0.01}, "amount", "-0.01", ">= 0.0"),
    (TRANSACTION, {"amount": 2e12}, "amount", "2000000000000.0", "<= 1000000000000.0"),
    (TRANSACTION, {"amount": "12.5"}, "amount", "'12.5'", "expected float, got str"),
    (TRANSACTION, {"currency": "eur"}, "currency", "'eur'", "^[A-Z]{3}$"),
    (TRANSACTION, {"event_timestamp": "2026-01-31T12:00:00"}, "event_timestamp", "12:00:00'", "with a zone"),
    (TRANSACTION, {"event_timestamp": "yesterday"}, "event_timestamp", "'yesterday'", "RFC 3339"),
    (TRANSACTION, {"latitude": 90.1}, "latitude", "90.1", "<= 90.0"),
    (TRANSACTION, {"longitude": -181}, "longitude", "-181", ">= -180.0"),
    (TRANSACTION, {"colour": "red"}, "colour", "'red'", "leave it out"),
    (TRANSACTION, {"type": "payment"}, "type", "'payment'", "send one of transaction, action"),
    (ACTION, {"action": ""}, "action", "''", "length >= 1"),
    (ACTION, {"user_id": ["u1"]}, "user_id", "['u1']", "expected str, got array"),
    (ACTION, {"user_id": "session:s1"}, "user_id", "'session:s1'", "must not begin with 'session:'"),
    (ACTION, {"user_id": "session:s1", "session_id": "s2"}, "user_id", "'session:s1'", "must not begin"),
    (ACTION, {"session_id": "x" * 121}, "session_id", "xxx", "length <= 120"),
    (ITEM, {"item_id": ""}, "item_id", "''", "length >= 1"),
    (ITEM, {"tags": ["x"] * 33}, "tags", "['x'", "length <= 32"),
    (ITEM, {"price": -1}, "price", "-1", ">= 0.0"),
    (READING, {"value": 1e301}, "value", "1e+301", "<= 1e+300"),
    (READING, {"value": None}, "value", "None", "expected float, got null"),
    (LABEL, {"label": "maybe"}, "label", "'maybe'", "send one of fraud, legit, unknown"),
    (LABEL, {"labelled_at": 5}, "labelled_at", "5", "RFC 3339"),
]

REQUIRED = [
    *((TRANSACTION, name) for name in ("event_id", "event_timestamp", "card_id", "merchant_id", "amount")),
    *((ACTION, name) for name in ("user_id", "action")),
    (ITEM, "item_id"),
    *((READING, name) for name in ("device_id", "metric", "value")),
    *((LABEL, name) for name in ("label", "labelled_at")),
]


@pytest.mark.parametrize("record", EVERY_KIND, ids=lambda record: type(record).__name__)
def test_every_record_comes_back_from_its_json(record: Record) -> None:
    again: Record = decode(encode(record))
    assert again == record
    assert type(record) is RECORD_TYPES[record.topic]


def test_who_is_not_signed_in_is_named_by_the_session() -> None:
    sent = {name: value for name, value in ACTION.items() if name != "user_id"} | {"session_id": "s1"}
    nobody: Action = decode(json.dumps(sent), Action)
    assert (nobody.user_id, nobody.key) == ("session:s1", "session:s1")
    assert decode(encode(nobody), Action) == nobody


@pytest.mark.parametrize(("base", "change"), VALID)
def test_a_valid_record_decodes(base: dict[str, Any], change: dict[str, Any]) -> None:
    record: Record = decode(json.dumps(base | change))
    assert record.event_id == (base | change)["event_id"]


@pytest.mark.parametrize(("base", "change", "field", "value", "remedy"), INVALID)
def test_a_refusal_names_the_field_the_value_and_the_remedy(
    base: dict[str, Any], change: dict[str, Any], field: str, value: str, remedy: str
) -> None:
    with pytest.raises(InvalidRecord) as refused:
        decode(json.dumps(base | change))
    assert refused.value.field == field
    assert value in refused.value.value
    assert remedy in refused.value.remedy
    assert str(refused.value) == f"field {field!r} has {refused.value.value}: {refused.value.remedy}"


@pytest.mark.parametrize(("base", "name"), REQUIRED)
def test_a_missing_field_is_named(base: dict[str, Any], name: str) -> None:
    with pytest.raises(InvalidRecord, match=f"'{name}' has \\(missing\\): .*required"):
        decode(json.dumps({key: value for key, value in base.items() if key != name}))


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"7", b"\xff\xfe", b"NaN"])
def test_a_body_that_is_no_record_is_refused_as_a_body(body: bytes) -> None:
    with pytest.raises(InvalidRecord) as refused:
        decode(body)
    assert refused.value.field == "(body)"


@pytest.mark.parametrize("amount", ["NaN", "Infinity", "-Infinity", "1e400"])
def test_an_amount_that_is_not_finite_is_refused(amount: str) -> None:
    body = json.dumps(TRANSACTION).replace("12.5", amount)
    with pytest.raises(InvalidRecord):
        decode(body)


def test_a_long_value_is_shortened_in_the_error() -> None:
    with pytest.raises(InvalidRecord) as refused:
        decode(json.dumps(TRANSACTION | {"card_id": "x" * 5000}))
    assert len(refused.value.value) == 80


def test_a_record_of_another_type_is_refused() -> None:
    with pytest.raises(InvalidRecord) as refused:
        decode(json.dumps(ACTION), Transaction)
    assert refused.value.field == "type"


def test_values_of_a_row_are_held_to_the_same_rules() -> None:
    row = {key: value for key, value in TRANSACTION.items() if key != "type"} | {"event_timestamp": NOON}
    assert convert(row, Transaction) == PAYMENT
    with pytest.raises(InvalidRecord, match="'amount' has -1"):
        convert(row | {"amount": -1}, Transaction)


def test_a_reversal_is_another_record_and_a_duplicate_is_not() -> None:
    first = Label(event_id="e1", label="fraud", labelled_at=NOON)
    same = Label(event_id="e1", label="fraud", labelled_at=NOON, amount=5.0)
    reversal = Label(event_id="e1", label="legit", labelled_at=NOON)
    assert first.identity == same.identity != reversal.identity


@pytest.mark.parametrize("at_us", [0, 1, -1, 1_769_860_800_123_456])
def test_microseconds_are_exact(at_us: int) -> None:
    assert micros(from_micros(at_us)) == at_us


def test_an_event_from_the_future_is_refused_beyond_the_skew() -> None:
    check_time(PAYMENT, NOON - timedelta(seconds=5), timedelta(seconds=5))
    with pytest.raises(InvalidRecord, match=r"'event_timestamp'.*more than 5 s"):
        check_time(PAYMENT, NOON - timedelta(seconds=6), timedelta(seconds=5))
    with pytest.raises(InvalidRecord, match="'labelled_at'"):
        check_time(Label(event_id="e", label="legit", labelled_at=NOON), NOON - timedelta(days=1), timedelta(0))
