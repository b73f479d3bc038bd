"""One contract, both stores: what `features.online_store` promises, on a real Redis and in memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from features.feature_set import EntityRef
from features.fraud import CARD, MERCHANT, MERCHANT_FRAUD
from features.history import History
from features.online_store import MemoryOnlineStore, OnlineStore, RedisOnlineStore, Replacement, StoredEntity
from features.store_plan import StorePlan, ViewFields, unwrap_state, wrap_state
from features.view import View
from stream.connection import RedisConnection, RedisUnavailable

CARD_REF = EntityRef("card_id", "c")
MERCHANT_REF = EntityRef("merchant_id", "m")
PLAN = StorePlan(
    project="test",
    definition_hash="by hand",
    key_prefixes={"card_id": b"card:".hex(), "merchant_id": b"merchant:".hex()},
    views={
        view.name: ViewFields(view.entity, f"{view.name}:state".encode().hex(), f"_ts:{view.name}")
        for view in (CARD, MERCHANT, MERCHANT_FRAUD)
    },
)
TTL_MS = 100_000


@pytest.fixture
def connection(redis_db: str) -> Iterator[RedisConnection]:
    with RedisConnection(redis_db) as opened:
        yield opened


@pytest.fixture(params=["memory", "redis"])
def store(request: pytest.FixtureRequest) -> OnlineStore:
    if request.param == "memory":
        return MemoryOnlineStore()
    return RedisOnlineStore(request.getfixturevalue("connection"), PLAN, TTL_MS)


def state(view: View, revision: int = 0, number: int = 0) -> bytes:
    history = History(view)
    history.revision = revision
    history.remember(number)
    return history.encode()


def write(
    store: OnlineStore, ref: EntityRef, old: dict[str, bytes | None], new: dict[str, bytes], *folded: str
) -> bool:
    (done,) = store.replace([Replacement(ref, old, new, 1_000_000, folded)])
    return done


def test_an_unknown_entity_is_empty(store: OnlineStore) -> None:
    assert store.read([CARD_REF, MERCHANT_REF]) == [StoredEntity(), StoredEntity()]
    assert store.read_states([CARD_REF]) == [StoredEntity()]
    assert store.read([]) == []
    assert store.replace([]) == []


def test_what_is_written_is_read(store: OnlineStore) -> None:
    new = state(CARD)
    assert write(store, CARD_REF, {"card": None}, {"card": new})
    assert store.read([CARD_REF]) == [StoredEntity({"card": new})]


def test_entities_come_in_the_order_asked(store: OnlineStore) -> None:
    write(store, CARD_REF, {}, {"card": state(CARD)})
    write(store, MERCHANT_REF, {}, {"merchant": state(MERCHANT)})
    found = store.read([MERCHANT_REF, EntityRef("card_id", "other"), CARD_REF])
    assert [list(entity.states) for entity in found] == [["merchant"], [], ["card"]]


def test_a_second_first_write_is_refused(store: OnlineStore) -> None:
    first, second = state(CARD, number=1), state(CARD, number=2)
    assert write(store, CARD_REF, {"card": None}, {"card": first})
    assert not write(store, CARD_REF, {"card": None}, {"card": second})
    assert store.read([CARD_REF])[0].states == {"card": first}


def test_a_write_over_another_state_than_expected_is_refused_whole(store: OnlineStore) -> None:
    first, second, third = (state(CARD, revision) for revision in range(3))
    write(store, CARD_REF, {}, {"card": first})
    store.add_pending([CARD_REF], "e1", b"1")
    assert write(store, CARD_REF, {"card": first}, {"card": second})
    assert not write(store, CARD_REF, {"card": first}, {"card": third}, "e1")
    assert store.read([CARD_REF]) == [StoredEntity({"card": second}, {"e1": b"1"})]


def test_two_states_of_the_same_revision_are_told_apart(store: OnlineStore) -> None:
    mine, theirs = state(CARD, number=1), state(CARD, number=2)
    write(store, CARD_REF, {}, {"card": theirs})
    assert not write(store, CARD_REF, {"card": mine}, {"card": state(CARD, 1)})


def test_views_of_one_entity_are_compared_and_set_together(store: OnlineStore) -> None:
    both = {"merchant": state(MERCHANT), "merchant_fraud": state(MERCHANT_FRAUD)}
    assert write(store, MERCHANT_REF, {}, {"merchant": both["merchant"]})
    assert not write(store, MERCHANT_REF, {}, both)
    assert store.read([MERCHANT_REF])[0].states == {"merchant": both["merchant"]}
    assert write(store, MERCHANT_REF, {"merchant": both["merchant"]}, both)
    assert store.read([MERCHANT_REF])[0].states == both


def test_writing_one_view_leaves_the_other_alone(store: OnlineStore) -> None:
    old, new = state(MERCHANT), state(MERCHANT, 1)
    write(store, MERCHANT_REF, {}, {"merchant": old})
    assert write(store, MERCHANT_REF, {}, {"merchant_fraud": new})
    assert store.read([MERCHANT_REF])[0].states == {"merchant": old, "merchant_fraud": new}


def test_each_entity_is_written_for_itself(store: OnlineStore) -> None:
    write(store, CARD_REF, {}, {"card": state(CARD)})
    done = store.replace(
        [
            Replacement(CARD_REF, {}, {"card": state(CARD, 1)}, 1),
            Replacement(MERCHANT_REF, {}, {"merchant": state(MERCHANT)}, 1),
        ]
    )
    assert done == [False, True]
    assert list(store.read([MERCHANT_REF])[0].states) == ["merchant"]


def test_pending_records_are_read_until_they_are_folded(store: OnlineStore) -> None:
    store.add_pending([CARD_REF, MERCHANT_REF], "e1", b"1")
    store.add_pending([CARD_REF], "e2", b"2")
    store.add_pending([CARD_REF], "e2", b"2")
    assert store.read([CARD_REF])[0].pending == {"e1": b"1", "e2": b"2"}
    assert store.read_states([CARD_REF])[0] == StoredEntity()
    assert write(store, CARD_REF, {}, {"card": state(CARD)}, "e1", "unknown")
    assert store.read([CARD_REF])[0].pending == {"e2": b"2"}
    assert store.read([MERCHANT_REF])[0].pending == {"e1": b"1"}


def test_a_duplicate_drops_its_pending_copy_without_a_state(store: OnlineStore) -> None:
    store.add_pending([CARD_REF], "e1", b"1")
    assert write(store, CARD_REF, {}, {}, "e1")
    assert store.read([CARD_REF]) == [StoredEntity()]


@pytest.mark.parametrize("value", ["x", "é" * 64, "a b\r\nc", "0" * 128, "{slot}"])
def test_any_identifier_names_its_own_entity(store: OnlineStore, value: str) -> None:
    ref = EntityRef("card_id", value)
    store.add_pending([ref], value, value.encode())
    write(store, ref, {}, {"card": state(CARD)})
    assert store.read([ref])[0].pending == {value: value.encode()}
    assert store.read([CARD_REF])[0] == StoredEntity()


@pytest.mark.parametrize("size", [16, 127, 128, 20_000])
def test_states_of_any_size_come_back(store: OnlineStore, size: int) -> None:
    first, second = b"HRS1" + b"\x00\xff\r\n" * (size // 4), b"x" * size
    assert write(store, CARD_REF, {}, {"card": first})
    assert store.read_states([CARD_REF])[0].states == {"card": first}
    assert not write(store, CARD_REF, {"card": second}, {"card": second})
    assert write(store, CARD_REF, {"card": first}, {"card": second})


def test_a_key_lives_as_long_as_was_said_from_its_last_write(connection: RedisConnection) -> None:
    store = RedisOnlineStore(connection, PLAN, TTL_MS)
    write(store, CARD_REF, {}, {"card": state(CARD)})
    assert TTL_MS - 10_000 < connection.one("PTTL", store.key(CARD_REF)) <= TTL_MS
    assert store.key(CARD_REF) == PLAN.key(CARD_REF)


def test_an_empty_state_of_feast_counts_as_none(connection: RedisConnection) -> None:
    store = RedisOnlineStore(connection, PLAN, TTL_MS)
    for empty in (b"", b"\x0a\x00"):
        connection.one("HSET", store.key(CARD_REF), bytes.fromhex(PLAN.views["card"].state), empty)
        old = store.read([CARD_REF])[0].states
        assert old == {}
        assert write(store, CARD_REF, {"card": old.get("card")}, {"card": state(CARD)})
        connection.one("DEL", store.key(CARD_REF))


def test_the_script_is_loaded_again_when_redis_has_forgotten_it(connection: RedisConnection) -> None:
    store = RedisOnlineStore(connection, PLAN, TTL_MS)
    write(store, CARD_REF, {}, {"card": state(CARD)})
    connection.one("SCRIPT", "FLUSH")
    assert write(store, CARD_REF, {"card": state(CARD)}, {"card": state(CARD, 1)})


def test_a_store_that_does_not_answer_says_so() -> None:
    with RedisConnection("redis://127.0.0.1:1", timeout_ms=200) as nobody, pytest.raises(RedisUnavailable):
        RedisOnlineStore(nobody, PLAN, TTL_MS).read([CARD_REF])


@pytest.mark.parametrize("value", [None, b"", b"\x12\x01x", b"\x0a", b"\x0a\x80", b"\x0a\x80\x80"])
def test_what_is_no_wrapped_state_unwraps_to_nothing(value: bytes | None) -> None:
    assert not unwrap_state(value)
    assert unwrap_state(wrap_state(b"s" * 300)) == b"s" * 300
