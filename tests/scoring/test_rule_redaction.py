"""A value goes from a rule book, and the book stays what it was."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from scoring.rule_log import RuleLog, book_key
from scoring.rule_redaction import Redaction, redact_book, search_book
from scoring.rule_steps import Listed, Snoozed, Unlisted, decode_step, encode_step
from scoring.rules import read_rules
from scoring.use_case import FRAUD
from stream.connection import RedisConnection
from stream.mention import Mention
from tests.scoring.test_rule_feed import life, now

CARD = "card-1"


@pytest.fixture
def connection(redis_db: str) -> Iterator[RedisConnection]:
    with RedisConnection(redis_db) as opened:
        yield opened


def book_of(connection: RedisConnection) -> RuleLog:
    return RuleLog(connection, "fraud", read_rules(FRAUD.rules), FRAUD.features)


def test_every_step_stays_and_none_has_the_value(connection: RedisConnection) -> None:
    book = book_of(connection)
    until = now() + timedelta(hours=1)
    of_card: dict[str, Any] = {"list": "deny", "field": "card_id", "by": "ann"}
    steps = [
        Listed(at=now(), values=(CARD, "card-10"), until=None, why=f"{CARD} and card-10 were stolen", **of_card),
        Listed(at=now(), values=(CARD,), until=None, list="deny", field="device_id", by="ann"),
        *life(f"card_id == '{CARD}' and amount > 5", "mine", because=f"{CARD} is watched"),
        Snoozed(at=now(), by="ann", name="mine", field="card_id", value=CARD, until=until),
        Unlisted(at=now(), values=(CARD,), **of_card),
    ]
    for step in steps:
        book.append(step)
    redaction = Redaction(Mention("card_id", CARD))
    assert len(search_book(connection, "fraud", redaction)) == 4
    assert redact_book(connection, "fraud", redaction) == 4
    assert redact_book(connection, "fraud", redaction) == 0
    kept = connection.one("LRANGE", book_key("fraud"), 0, -1)
    assert len(kept) == len(steps)
    # A device may be called like the card: it is another entity, and stays.
    assert [place for place, step in enumerate(kept) if b'"card-1"' in step] == [1]
    for step in kept:
        decode_step(step)
    anew = book_of(connection)
    anew.read()
    assert anew.problems == {}
    assert anew.book.version == len(steps)
    denied = {ref.field: set(values) for ref, values in anew.book.entries.items()}
    assert denied == {"card_id": {"card-10"}, "device_id": {CARD}}
    assert set(anew.book.snoozes["mine"]) == {("card_id", redaction.word)}


@pytest.mark.parametrize("why", [f"stolen card {CARD}.", f"{CARD}é", f"({CARD})", f"{CARD}_x", f"x-{CARD}", f"{CARD}0"])
def test_what_counts_as_the_value_when_it_is_searched_is_what_is_redacted(why: str) -> None:
    mention = Mention("card_id", CARD)
    redaction = Redaction(mention)
    step = encode_step(Unlisted(at=now(), by="ann", list="deny", field="device_id", values=("d",), why=why))
    assert (redaction.of(step) is not None) == mention.is_in(step)
    left = redaction.of(step) or step
    assert not mention.is_in(left)
