from __future__ import annotations

from typing import Any

import pytest

from features.feature_set import EntityRef
from scoring.ledger import Ledger, is_of, marker_of
from scoring.scorer import Scorer
from scoring.use_case import FRAUD
from stream.connection import RedisError
from stream.log import LogFull
from stream.records import Label, Transaction, encode
from tests.scoring.conftest import T0, TTL_MS, OpenScorer, payment

CARD_REF = EntityRef("card_id", "c")


@pytest.fixture
def ledger(scorer: Scorer) -> Ledger:
    return scorer.ledger


def commit(ledger: Ledger, record: Transaction | Label) -> bytes | int:
    return ledger.commit(record, FRAUD.features.pending(record))


def logged(ledger: Ledger, topic: str = "transactions") -> int:
    return sum(ledger.connection.one("XLEN", f"log:{topic}:{number}") for number in range(ledger.partitions))


def everything(ledger: Ledger) -> list[Any]:
    return sorted(ledger.connection.one("KEYS", "*"))


def pending(ledger: Ledger, ref: EntityRef = CARD_REF) -> list[str]:
    return sorted(ledger.store.read([ref])[0].pending)


def test_a_commit_is_in_the_log_at_each_entity_and_answered(ledger: Ledger) -> None:
    assert commit(ledger, payment()) == 0
    assert logged(ledger) == 1
    for ref in FRAUD.features.refs(payment()):
        assert pending(ledger, ref) == ["e1"]
    assert ledger.connection.one("GET", ledger.key("e1")) == marker_of(payment())
    assert ledger.answer("e1") is None  # no decision was made


def test_the_same_event_twice_writes_once(scorer: Scorer) -> None:
    ledger = scorer.ledger
    first = scorer.score(payment())
    before = everything(ledger)
    stored = ledger.answer("e1")
    assert stored is not None
    again = ledger.commit(payment(), FRAUD.features.pending(payment()), first)
    assert again == stored
    assert (logged(ledger), logged(ledger, "decisions"), pending(ledger)) == (1, 1, ["e1"])
    assert everything(ledger) == before


def test_a_full_outbox_refuses_and_writes_nothing(open_scorer: OpenScorer, redis_db: str) -> None:
    ledger = open_scorer(redis_db, outbox_limit=1).ledger
    commit(ledger, payment("e1"))
    before = everything(ledger)
    with pytest.raises(LogFull, match=r"'e2' was not accepted: start a worker"):
        commit(ledger, payment("e2"))
    assert (everything(ledger), logged(ledger), pending(ledger)) == (before, 1, ["e1"])
    assert commit(ledger, payment("e1")) == marker_of(payment("e1"))  # what was taken is still answered


def test_a_key_that_holds_something_else_refuses_and_nothing_is_written(ledger: Ledger) -> None:
    ledger.connection.one("SET", ledger.store.key(EntityRef("merchant_id", "m")), "a stranger")
    before = everything(ledger)
    with pytest.raises(RedisError, match="WRONGTYPE"):
        commit(ledger, payment("e1"))
    assert (everything(ledger), logged(ledger)) == (before, 0)


def test_the_pending_limit_bounds_the_hash(open_scorer: OpenScorer, redis_db: str) -> None:
    ledger = open_scorer(redis_db, pending_limit=2).ledger
    full = [commit(ledger, payment(f"e{i}", merchant_id=f"m{i}", device_id=None)) for i in range(4)]
    assert full == [0, 0, 1, 1]
    assert pending(ledger) == ["e0", "e1"]
    assert pending(ledger, EntityRef("merchant_id", "m3")) == ["e3"]
    assert logged(ledger) == 4  # nothing is lost, only not yet seen


def test_a_labels_pending_field_is_not_its_events(ledger: Ledger) -> None:
    commit(ledger, payment())
    label = Label(event_id="e1", label="fraud", labelled_at=T0, event_timestamp=T0, merchant_id="m")
    assert commit(ledger, label) == 0
    assert pending(ledger, EntityRef("merchant_id", "m")) == sorted(["e1", label.identity])
    assert commit(ledger, label) == b"answered"


def test_hashes_and_answers_expire_and_the_first_event_sets_the_time(ledger: Ledger) -> None:
    commit(ledger, payment("e1"))
    key = ledger.store.key(CARD_REF)
    assert 50_000 < ledger.connection.one("PTTL", key) <= TTL_MS
    assert 30_000 < ledger.connection.one("PTTL", ledger.key("e1")) <= 60_000
    ledger.connection.one("PEXPIRE", key, 50_000)  # as a worker may have set it
    commit(ledger, payment("e2"))
    assert ledger.connection.one("PTTL", key) <= 50_000


def test_a_marker_tells_a_repeat_from_another_record_under_the_same_id(scorer: Scorer) -> None:
    kept = marker_of(payment())
    assert len(kept) < 40
    assert is_of(payment(), kept)
    assert not is_of(payment(amount=21.0), kept)
    assert is_of(payment(amount=21.0), b"answered")  # kept before there were digests
    decision = scorer.score(payment())
    assert is_of(payment(), encode(decision))
    assert not is_of(payment(amount=21.0), encode(decision))
