"""`headrace score` under fire: members are killed in the middle, Redis goes away; nothing is lost or decided twice."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from headrace.assembly import open_log, open_outbox
from headrace.settings import Settings
from headrace.stack import Stack
from scoring.stream_door import group_of
from stream.kafka_node import KafkaNode
from stream.log import Log, LogUnavailable, Message, Partition, lag
from stream.played import Played
from stream.records import DeadLetter, Decision, Record, Transaction, decode, encode
from stream.redis_log import RedisLog
from tests.until import until

pytestmark = pytest.mark.slow

TOPIC = "unscored"
COUNT = "card_count_30d"


def in_time(true: Callable[[], bool], stack: Stack) -> None:
    until(true, lambda: [child.log_tail() for child in stack.children.values()])


def on(log: Log, kind: type[Record]) -> list[Record]:
    parts = [Partition(kind.topic, number) for number in range(log.partitions(kind.topic))]
    return [decode(entry.value, kind) for part in parts for entry in log.read(part, 0, 100_000)]


def decided(log: RedisLog) -> int:
    """How many decisions there are by now; none where Redis does not say."""
    try:
        numbers = range(log.partitions(Decision.topic))
        return sum(len(log.read(Partition(Decision.topic, number), 0, 100_000)) for number in numbers)
    except LogUnavailable:
        return 0


def messages(transactions: list[Transaction]) -> list[Message]:
    """Each twice now and then, and malformed ones between them."""
    sent = []
    for number, one in enumerate(transactions):
        sent.append(Message(TOPIC, one.key, encode(one)))
        if number % 10 == 0:
            sent.append(Message(TOPIC, one.key, encode(one)))
        if number % 100 == 50:
            sent.append(Message(TOPIC, one.key, b'{"type": "transaction", "event_id": "bad %d"}' % number))
    return sent


def read_all(settings: Settings) -> bool:
    try:
        with closing(open_log(settings)) as log:
            return not any(lag(log, group_of(TOPIC), TOPIC).values())
    except LogUnavailable:
        return False


def check(outbox: RedisLog, log: Log, transactions: list[Transaction], before: list[Record]) -> None:
    """Every event was recorded once and decided once, as it was before the fire, and saw its card's earlier ones."""
    records, decisions = on(outbox, Transaction), on(outbox, Decision)
    assert Counter(one.event_id for one in records) == Counter(one.event_id for one in transactions)
    assert Counter(one.event_id for one in decisions) == Counter(one.event_id for one in transactions)
    kept = {one.event_id: one for one in decisions}
    assert all(kept[one.event_id] == one for one in before)
    assert all(isinstance(one, Decision) and one.degraded == [] for one in decisions)
    order: dict[str, list[str]] = {}
    for one in decisions:
        order.setdefault(one.key, []).append(one.event_id)
    sent: dict[str, list[str]] = {}
    for one in transactions:
        sent.setdefault(one.key, []).append(one.event_id)
    assert order == sent
    letters = Counter(letter.event_id for letter in on(log, DeadLetter))
    assert len(letters) == len(transactions) // 100


@pytest.fixture
def transactions(payments: list[Played]) -> list[Transaction]:
    return [one.transaction for one in payments]


def test_members_killed_and_redis_gone_in_the_middle_on_the_redis_log(
    stack: Stack, transactions: list[Transaction]
) -> None:
    assert stack.redis is not None
    stack.redis.stop()
    stack.redis = None
    stack.settings = stack.settings.but(redis="", appendfsync="always")  # what is acknowledged is on the disk
    stack.start_redis()
    outbox = open_outbox(stack.settings)
    with closing(outbox):
        for name in ("first", "second"):
            stack.start(name, "score", "--topic", TOPIC)
        outbox.append(messages(transactions[:400]))
        in_time(lambda: decided(outbox) > 50, stack)
        stack.children.pop("first").kill()
        outbox.append(messages(transactions[400:]))
        before = on(outbox, Decision)
        in_time(lambda: decided(outbox) > len(before) + 50, stack)
        redis = stack.redis
        assert redis is not None
        redis.kill()
        time.sleep(1.0)
        redis.start()
        stack.children.pop("second").kill()
        third = stack.start("third", "score", "--topic", TOPIC)
        in_time(lambda: decided(outbox) > len(before) + 100, stack)
        os.kill(redis.pid, signal.SIGSTOP)
        time.sleep(3.0)
        os.kill(redis.pid, signal.SIGCONT)
        in_time(lambda: read_all(stack.settings), stack)
        check(outbox, outbox, transactions, before)
        assert third.running
        third.stop(60)
        assert third.wait(0), third.log_tail()


@pytest.mark.kafka
def test_members_killed_in_the_middle_on_kafka(
    stack: Stack, transactions: list[Transaction], tmp_path: Path, kafka: None
) -> None:
    with KafkaNode(tmp_path / "kafka") as node:
        stack.use_kafka(node.bootstrap)
        stack.start("relay", "relay")
        with closing(open_outbox(stack.settings)) as outbox, closing(open_log(stack.settings)) as log:
            log.append(messages(transactions[:400]))
            for name in ("first", "second"):
                stack.start(name, "score", "--topic", TOPIC)
            in_time(lambda: decided(outbox) > 50, stack)
            stack.children.pop("first").kill()
            stack.children.pop("second").kill()
            before = on(outbox, Decision)
            log.append(messages(transactions[400:]))  # not before: a quick pair might have been through with them
            stack.start("third", "score", "--topic", TOPIC)
            in_time(lambda: read_all(stack.settings), stack)
            check(outbox, log, transactions, before)
            # The relay publishes them.
            every = {one.event_id for one in transactions}
            in_time(lambda: {one.event_id for one in on(log, Decision)} == every, stack)
