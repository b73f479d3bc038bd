"""The whole stack, fed with card numbers in every field of good and bad bodies: none is kept anywhere."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import pytest

from headrace.stack import Stack
from stream.connection import RedisConnection
from stream.log import lag
from stream.played import Played
from stream.records import encode
from stream.redis_log import RedisLog
from tests.cards import AMEX, VISA, completed, everything_in, everything_under, holds
from tests.scenarios.test_service import ask

pytestmark = pytest.mark.slow

PATHS = ("decisions", "explanations")
NUMBERS = (VISA, AMEX, completed("620000000000000004"))
SETTLED_LIMIT_S = 240.0


def spellings(digits: str) -> list[str]:
    fours = [digits[at : at + 4] for at in range(0, len(digits), 4)]
    return [digits, " ".join(fours), "-".join(fours), f"card {digits}, 12/27"]


def bodies(payment: dict[str, Any], digits: str, number: str) -> list[tuple[str, bytes]]:
    """Requests with the card number in each field in turn, as a text, a number, a name, in JSON and in what is none."""
    label = {"type": "label", "label": "fraud", "labelled_at": "2026-02-20T00:00:00Z", "source": "bank", "card_id": "c"}
    texts = spellings(digits)
    found = []
    for place, name in enumerate([*payment, "pan"]):
        text = texts[place % len(texts)]
        one = payment | {"event_id": f"e-{number}-{place}"} | {name: text}
        found += [("/fraud/score", one), ("/events", one | {"event_id": f"{one['event_id']} event"})]
        found.append(("/fraud/score", one | {name: int(digits)}))
    found += [("/labels", label | {"event_id": f"l-{number}"} | {name: texts[0]}) for name in (*label, "event_id")]
    found += [("/labels", label | {"event_id": texts[1]}), ("/fraud/score", payment | {digits: 1})]
    good = [(path, json.dumps(body).encode()) for path, body in found]
    lines = b"\n".join(body for path, body in good if path == "/fraud/score")
    broken = [
        ("/fraud/score", good[0][1][:-1]),
        ("/events", b"\xff" + texts[1].encode()),
        ("/labels", texts[0].encode()),
    ]
    array = b"[" + lines.replace(b"\n", b",") + b"]"
    return good + broken + [("/fraud/score/batch", array), ("/fraud/score/batch", array[:-1])]


def statuses_of(url: str, payment: dict[str, Any], door: str, numbers: Sequence[str]) -> set[int]:
    """Send everything; the statuses of the answers, none of which repeats a card number."""
    statuses = set()
    for number, digits in enumerate(numbers):
        asked = [("POST", path, body) for path, body in bodies(payment, digits, f"{door}-{number}")]
        asked += [("GET", f"/{route}/{quote(text)}", b"") for route in PATHS for text in spellings(digits)]
        for method, path, body in asked:
            status, answer = ask(url, method, path, body or None)
            statuses.add(status)
            assert status < 500 and not holds(answer, digits), (method, path, body, answer)
    return statuses


def test_no_card_number_is_kept_anywhere(stack: Stack, payments: list[Played]) -> None:
    """Neither behind the front door nor without it, where BentoML says 200 for 202. The guard is the same in both."""
    stack.start_workers()
    stack.start("archiver", "archive")
    payment = json.loads(encode(payments[0].transaction)) | {"customer_id": "u", "device_id": "d"}
    metrics = b""
    ways = (("on", {200, 202, 400, 404, 409}, NUMBERS), ("off", {200, 400, 404, 409}, NUMBERS[:1]))
    for door, wanted, numbers in ways:
        stack.settings = stack.settings.but(front_door=door)
        url = stack.start_service()
        statuses = statuses_of(url, payment, door, numbers)
        assert wanted <= statuses, (door, statuses)
        metrics += ask(url, "GET", "/metrics")[1]
        stack.children.pop("service").stop(60)
    topics_are_read(stack)
    kept = everything_in(stack.settings.redis)
    stack.stop()  # the archiver stores what waits
    files = everything_under(stack.home)
    assert (stack.home / "card.key").stat().st_mode & 0o077 == 0
    assert b"tok_" in kept and b"tok_" in everything_under(stack.home / "archive")
    for digits in NUMBERS:
        for place in (kept, metrics, files):
            assert not holds(place, digits)


def topics_are_read(stack: Stack) -> None:
    """Wait until the workers have folded what was answered."""
    log = RedisLog(stack.settings.redis, stack.settings.partitions)
    until = time.monotonic() + SETTLED_LIMIT_S
    while any(lag(log, "worker", "transactions").values()):
        assert time.monotonic() < until
        time.sleep(0.1)
    log.close()
    with RedisConnection(stack.settings.redis) as connection:
        assert connection.one("DBSIZE") > 0
