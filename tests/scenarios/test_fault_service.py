"""The table "When things go wrong" of docs/operations.md, over HTTP: the real service when Redis goes, when it is
killed itself, and when more comes than it can answer."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections import Counter
from contextlib import closing
from itertools import count
from typing import NamedTuple

import msgspec
import psutil
import pytest

from headrace.stack import Stack
from stream.log import Partition
from stream.played import Played
from stream.records import Transaction, encode
from stream.redis_log import RedisLog
from tests.patient import Reply, ask, ask_once, connected
from tests.until import LIMIT_S, until

pytestmark = pytest.mark.slow

CLIENTS = 100
EACH = 5
JSON_ONLY = {"content-type": "application/json"}
"""Headers that leave the deadline to the service."""


class Answered(NamedTuple):
    """What was sent in a flood, the answer, and how long it took."""

    sent: Transaction
    reply: Reply
    taken_s: float


def hasty(url: str, method: str, path: str, body: bytes | None = None) -> Reply:
    """One request over a connection of its own, whatever the answer is."""
    with closing(connected(url)) as link:
        return ask_once(link, method, path, body, JSON_ONLY)


def degraded(answer: Reply) -> list[str]:
    assert answer.status == 200, answer
    found: list[str] = json.loads(answer.content)["degraded"]
    return found


def metric(url: str, name: str) -> float:
    """The value of a metric without labels, or the largest of one with the process number as its label.

    A scrape on a busy machine may leave a part out: it is asked again.
    """
    values: list[float] = []

    def is_told() -> bool:
        lines = ask(url, "GET", "/metrics").content.decode().splitlines()
        values.extend(float(line.split()[-1]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))
        return bool(values)

    until(is_told, name)
    return max(values)


def logged(stack: Stack, topic: str) -> Counter[str]:
    with closing(RedisLog(stack.settings.redis, partitions=stack.settings.partitions)) as log:
        parts = [Partition(topic, number) for number in range(stack.settings.partitions)]
        return Counter(json.loads(one.value)["event_id"] for part in parts for one in log.read(part, 0, 100_000))


def it_answers_whole(url: str, payment: Played, ids: list[str]) -> None:
    """Before long an answer lacks nothing; what a busy machine makes late until then is recorded all the same.

    The payment is sent under other ids, which `ids` gets.
    """

    def is_whole() -> bool:
        ids.append(f"whole {len(ids)} {payment.transaction.event_id}")
        sent = msgspec.structs.replace(payment.transaction, event_id=ids[-1])
        return degraded(ask(url, "POST", "/fraud/score", encode(sent))) == []

    until(is_whole, "an answer that lacks nothing")


def test_redis_gone_then_the_service_killed_loses_no_answer(stack: Stack, payments: list[Played]) -> None:
    stack.settings = stack.settings.but(appendfsync="always", deadline="1s")
    url = stack.start_service()
    bodies = [encode(one.transaction) for one in payments[:40]]
    ids = [one.transaction.event_id for one in payments[1:21]]
    it_answers_whole(url, payments[0], ids)
    until(lambda: logged(stack, "decisions") == dict.fromkeys(ids[20:], 1), "the record of what was late before")
    assert metric(url, "headrace_breaker_state") == 0.0
    assert stack.redis is not None

    # 1. Redis goes: everybody is answered, and nobody waits for it.
    redis = psutil.Process(stack.redis.pid)
    redis.send_signal(signal.SIGSTOP)
    away = [ask(url, "POST", "/fraud/score", body, JSON_ONLY) for body in bodies[1:21]]
    # Whoever was held up beyond the deadline has no time for reasons either.
    lacked = {tuple(one for one in degraded(answer) if one != "reasons") for answer in away}
    assert lacked == {("online store", "not recorded yet")}
    assert ask(url, "GET", "/readyz").status == 200
    assert metric(url, "headrace_breaker_state") == 2.0
    assert metric(url, "headrace_spool_waiting") == 20.0
    refused = hasty(url, "POST", "/events", bodies[21])
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")

    # 2. The service is killed too; both come back.
    stack.children["service"].kill()
    redis.send_signal(signal.SIGCONT)
    url = stack.start_service()
    until(lambda: logged(stack, "decisions").keys() == set(ids), "the record of all answers")
    for event_id, answer in zip(ids[:20], away, strict=True):
        status, _, kept = ask(url, "GET", f"/decisions/{event_id}")
        told = json.loads(answer.content)
        told["degraded"].remove("not recorded yet")
        assert (status, json.loads(kept)) == (200, told)

    # 3. It goes on by itself.
    it_answers_whole(url, payments[21], ids)
    until(lambda: logged(stack, "decisions") == dict.fromkeys(ids, 1), "one record of each answer")
    until(lambda: not list((stack.home / "spool" / "fraud").glob("*.spool")), "the end of the spool")

    # 4. A flood, on the same service.
    it_answers_a_flood_in_time(stack, url, payments[100 : 100 + CLIENTS * EACH])


def it_answers_a_flood_in_time(stack: Stack, url: str, payments: list[Played]) -> None:
    """Whatever comes at once is answered or refused, and none is in doubt.

    Clients that a busy machine holds up make no flood, and a service that is held up answers none of it: so they come
    again, as others, until there was both.
    """
    answers: dict[str, Answered] = {}
    floods = count()

    def was_refused_in_part() -> bool:
        number = next(floods)
        sent = [
            msgspec.structs.replace(one.transaction, event_id=f"{number} {one.transaction.event_id}")
            for one in payments
        ]
        answers.update(flooded(url, sent))
        return {one.reply.status for one in answers.values()} >= {200, 503}

    until(was_refused_in_part, lambda: Counter(one.reply.status for one in answers.values()))
    assert {one.reply.status for one in answers.values()} == {200, 503}
    for one in answers.values():
        if one.reply.status == 503:
            assert one.reply.headers["retry-after"] == "1"
            assert json.loads(one.reply.content)["error"] == "overloaded"
    scored = {event_id for event_id, one in answers.items() if one.reply.status == 200}
    assert max(one.taken_s for one in answers.values()) < 60.0
    # What was refused was not recorded; what was answered is there once; and whoever comes again is answered.
    until(lambda: set(logged(stack, "decisions")) >= scored, "the record of all answers")
    found = logged(stack, "decisions")
    assert all(found[event_id] == (1 if event_id in scored else 0) for event_id in answers)
    refused = next(one.sent for one in answers.values() if one.reply.status == 503)
    assert ask(url, "POST", "/fraud/score", encode(refused)).status == 200
    it_answers_whole(url, payments[0], [])


def flooded(url: str, payments: list[Transaction]) -> dict[str, Answered]:
    """A hundred clients at once, each with its next request as soon as it has an answer; the answers by event."""
    answers: dict[str, Answered] = {}
    start = threading.Barrier(CLIENTS)

    def client(number: int) -> None:
        with closing(connected(url)) as link:
            link.connect()
            start.wait(LIMIT_S)
            for transaction in payments[number * EACH : (number + 1) * EACH]:
                began_s = time.monotonic()
                found = ask_once(link, "POST", "/fraud/score", encode(transaction), {"x-deadline-ms": "10"})
                answers[transaction.event_id] = Answered(transaction, found, time.monotonic() - began_s)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(answers) == CLIENTS * EACH
    return answers
