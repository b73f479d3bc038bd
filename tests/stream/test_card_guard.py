from __future__ import annotations

import json
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stream.card_guard import REFUSING, CardGuard
from stream.card_key import CardKey, NoCardKey
from stream.invalid_record import InvalidRecord
from stream.log import Entry
from stream.records import Transaction, decode
from tests.cards import MASTERCARD, VISA, holds

BODY: dict[str, Any] = {
    "type": "transaction",
    "event_id": "e1",
    "event_timestamp": "2026-01-31T12:00:00.123456Z",
    "card_id": "c",
    "merchant_id": "m",
    "amount": 12.3456789012345,
}
TIMES = 2000


@pytest.fixture
def guard(tmp_path: Path) -> CardGuard:
    return CardGuard("tokenise", CardKey(tmp_path))


def body(**fields: Any) -> bytes:
    return json.dumps(BODY | fields).encode()


def test_a_record_without_a_card_number_goes_through_as_the_same_object(guard: CardGuard) -> None:
    payload = body()
    assert guard.clean(payload) is payload


def test_one_number_has_one_token_in_every_field_and_spelling(guard: CardGuard) -> None:
    payload = body(card_id=VISA, merchant_id="4111 1111 1111 1111", device_id="4111-1111-1111-1111", event_id=VISA)
    record: Transaction = decode(guard.clean(payload), Transaction)
    assert record.card_id == record.merchant_id == record.device_id == record.event_id == guard.text(VISA, "x")
    assert record.card_id.startswith("tok_") and len(record.card_id) == 28
    assert guard.text(MASTERCARD, "x") != record.card_id


def test_what_has_been_cleaned_is_clean(guard: CardGuard) -> None:
    once = guard.clean(body(card_id=f"a {VISA} b"))
    assert guard.clean(once) is once
    assert decode(once, Transaction).card_id == f"a {guard.text(VISA, 'x')} b"


def test_digits_and_separators_written_as_escapes_are_found(guard: CardGuard) -> None:
    escaped = body(card_id="@").replace(b"@", "".join(f"\\u{ord(char):04x}" for char in "4111 1111-11111111").encode())
    assert decode(guard.clean(escaped), Transaction).card_id == guard.text(VISA, "x")


def test_a_name_that_comes_twice_hides_nothing(guard: CardGuard) -> None:
    payload = body().replace(b'"card_id": "c"', b'"card_id": "4111111111111111", "card_id": "c"')
    assert not holds(guard.clean(payload), VISA)


@pytest.mark.parametrize(
    "payload",
    [
        body(amount=int(VISA)),
        body(amount=float(VISA)),
        body(amount="4111 1111 1111 1111"),
        body(pan=VISA),
        body(**{VISA: 1}),
        body(card_id=[VISA]),
        body(card_id={"number": VISA}),
        body(card_id=VISA)[:-1],
        b"4111111111111111",
        b'"4111111111111111"',
        b"\xff4111111111111111",
        b'{"type": "4111111111111111"}',
        b"[" * 3000 + VISA.encode(),
        b'{"a":' * 900 + b'"4111111111111111"' + b"}" * 900,
        body(card_id="x" * 60 + VISA),
        body(pan="x" * 9000 + VISA),
    ],
)
@pytest.mark.parametrize("treatment", ["tokenise", "refuse"])
def test_no_refusal_quotes_a_number(guard: CardGuard, payload: bytes, treatment: Any) -> None:
    guard.treatment = treatment
    said = ""
    try:
        said = repr(decode(guard.clean(payload), Transaction))
    except InvalidRecord as error:
        said = f"{error} {error.field} {error.value} {error.remedy} {error!r}"
    assert not holds(said.encode(), VISA)
    # Nor does one that nobody guarded.
    with pytest.raises(InvalidRecord) as raised:
        decode(payload.replace(b'"card_id": "xx', b'"card_ix": "xx'), Transaction)
    assert not holds(str(raised.value).encode(), VISA)


def test_where_they_are_refused_the_field_and_the_last_four_digits_are_named(guard: CardGuard) -> None:
    guard.treatment = "refuse"
    with pytest.raises(InvalidRecord, match=r"'card_id' has '\*{12}1111'") as raised:
        guard.clean(body(card_id=VISA))
    assert raised.value.field == "card_id"
    with pytest.raises(InvalidRecord, match="takes none"):
        REFUSING.text("4111 1111 1111 1111", "value")


def test_an_entry_of_a_topic_is_cleaned_with_its_key(guard: CardGuard) -> None:
    entry = guard.admit("transactions", Entry(7, VISA, body(card_id=VISA)))
    assert (entry.offset, entry.key) == (7, guard.text(VISA, "x"))
    assert decode(entry.value, Transaction).card_id == entry.key
    ours = Entry(1, "k", body(card_id=VISA))
    assert guard.admit("decisions", ours) is ours


def test_where_they_are_refused_an_entry_becomes_no_record_and_says_why(guard: CardGuard) -> None:
    guard.treatment = "refuse"
    entry = guard.admit("transactions", Entry(7, VISA, body(card_id=VISA)))
    assert not holds(entry.value + entry.key.encode(), VISA)
    with pytest.raises(InvalidRecord, match=r"refused: field .*card_id.*\*{12}1111"):
        decode(entry.value, Transaction)


def test_the_key_of_a_home_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    home = tmp_path / "home"
    found: set[bytes] = set()
    threads = [threading.Thread(target=lambda: found.add(CardKey(home).read())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 1
    assert [path.name for path in home.iterdir()] == ["card.key"]
    assert stat.S_IMODE((home / "card.key").stat().st_mode) == 0o600


def test_no_key_is_made_before_a_number_comes(tmp_path: Path) -> None:
    CardGuard("tokenise", CardKey(tmp_path)).clean(body())
    assert list(tmp_path.iterdir()) == []


def test_whoever_may_not_make_a_key_says_which_is_missing_and_refuses(tmp_path: Path) -> None:
    key = CardKey(tmp_path, make=False)
    with pytest.raises(NoCardKey, match=r"card\.key cannot be used"):
        key.read()
    with pytest.raises(InvalidRecord, match="makes no tokens"):
        CardGuard("tokenise", key).clean(body(card_id=VISA))
    (tmp_path / "card.key").write_text("short\n")
    with pytest.raises(NoCardKey, match="holds no key"):
        key.read()


def test_another_key_makes_other_tokens_and_another_fingerprint(tmp_path: Path) -> None:
    one, other, again = (CardKey(tmp_path, text * 16) for text in ("a", "b", "a"))
    tokens = [CardGuard("tokenise", key).text(VISA, "x") for key in (one, other, again)]
    assert tokens[0] == tokens[2] != tokens[1]
    assert one.fingerprint() == again.fingerprint() != other.fingerprint()
    with pytest.raises(ValueError, match="can be guessed"):
        CardKey(tmp_path, "short")


def test_a_record_without_a_number_costs_little_beside_its_decoding(guard: CardGuard) -> None:
    payload = body(amount=12.34, customer_id="customer-000123", device_id="device-7", latitude=48.2081743)

    def seconds(repeated: Callable[[], object]) -> float:
        started = time.perf_counter()
        for _ in range(TIMES):
            repeated()
        return time.perf_counter() - started

    # In turn: a machine that others slow down for a while does so to both.
    taken = [(seconds(lambda: guard.clean(payload)), seconds(lambda: decode(payload, Transaction))) for _ in range(15)]
    cleaning, decoding = map(min, zip(*taken, strict=True))
    assert cleaning < 4 * decoding


@pytest.mark.parametrize("group", ["4 ", "4", "4111-1111-1111-1111 ", "41 11", "3.14159265358979 "])
def test_a_hostile_body_is_judged_in_a_bounded_time(guard: CardGuard, group: str) -> None:
    payload = body(card_id=group * (1_000_000 // len(group)))
    started = time.perf_counter()
    with pytest.raises(InvalidRecord):
        decode(guard.clean(payload), Transaction)
    assert time.perf_counter() - started < 60.0
