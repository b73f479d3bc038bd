"""A relay that was stopped past its lease and goes on: the worker must still see each record once, in order.

What it appends again is a duplicate. The worker knows a duplicate among the last 256 records of its card, no further
back; so the tests have one card, and an heir that moves thousands of its records while the zombie is stopped.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from random import Random
from threading import Event, Thread
from uuid import uuid4

import psutil
import pytest

from features.view import RECENT_IDS
from stream.kafka_log import KafkaLog
from stream.kafka_node import KafkaNode
from stream.log import Log, Message, Partition
from stream.redis_log import RedisLog
from stream.relay import relay
from tests.until import until

LEASE_MS = 1500
"""Of relays whose appends take no time to speak of: one that a busy machine keeps for longer loses its turn."""
KAFKA_TIMEOUT_MS = 3000
"""And the lease of relays to Kafka: as they are run, a lease and the time for one append are as long as each other."""

# Moves batches until the third, in which it stops itself: right after the poll, amid what it sends, or when that is on
# its way to the socket.
PROGRAM = """
import os, signal, sys, time
from threading import Event
from kafka.net.connection import KafkaConnection
from stream.kafka_log import KafkaLog
from stream.log import LogUnavailable
from stream.redis_group import RedisConsumer
from stream.redis_log import RedisLog
from stream.relay import relay

source_url, sink_address, topic, where, lease_ms, timeout_ms = sys.argv[1:]
source = RedisLog(source_url, partitions=2, lease_ms=int(lease_ms))
batches = 0

def opened():
    if sink_address.startswith("redis:"):
        return RedisLog(sink_address, partitions=2)
    while True:
        try:
            return KafkaLog(sink_address, 2, timeout_ms=int(timeout_ms))
        except LogUnavailable:  # a broker that a busy machine keeps for longer, as every process waits for it
            time.sleep(0.2)

sink = opened()

def stop_here():
    os.kill(os.getpid(), signal.SIGSTOP)

if where == "poll":
    poll = RedisConsumer.poll
    def stopping_poll(self, limit, timeout_ms):
        global batches
        found = poll(self, limit, timeout_ms)
        batches += bool(found)
        if found and batches == 3:
            stop_here()
        return found
    RedisConsumer.poll = stopping_poll
if where == "send":
    new_producer = KafkaLog._new_producer
    def stopping_producer(self):
        producer = new_producer(self)
        send = producer.send
        count = 0
        def stopping_send(*arguments, **options):
            nonlocal count
            count += 1
            if count == 120:
                stop_here()
            return send(*arguments, **options)
        producer.send = stopping_send
        return producer
    KafkaLog._new_producer = stopping_producer
if where == "write":
    send_request = KafkaConnection.send_request
    produced = 0
    def stopping_send_request(self, request, *arguments, **options):
        global produced
        found = send_request(self, request, *arguments, **options)
        produced += type(request).__name__ == "ProduceRequest"
        if produced == 3:
            produced += 1
            stop_here()
        return found
    KafkaConnection.send_request = stopping_send_request
relay(source, sink, [topic], Event(), batch_limit=50, poll_timeout_ms=100, pause_limit_s=0.2)
"""


@pytest.fixture
def ends() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def send(log: Log, topic: str, count: int, start: int = 0, keys: int = 1) -> None:
    log.append([Message(topic, f"card-{n % keys}", b"%d" % n) for n in range(start, start + count)])


def arrived(log: Log, topic: str) -> list[tuple[str, int]]:
    every = [Partition(topic, number) for number in range(log.partitions(topic))]
    return [(entry.key, int(entry.value)) for part in every for entry in log.read(part, 0, 1 << 20)]


def folded(entries: list[tuple[str, int]]) -> dict[str, list[int]]:
    """What a worker makes of it: a record is new where its card's last 256 do not have it."""
    recent: dict[str, deque[int]] = {}
    found: dict[str, list[int]] = {}
    for key, number in entries:
        ids = recent.setdefault(key, deque(maxlen=RECENT_IDS))
        if number not in ids:
            ids.append(number)
            found.setdefault(key, []).append(number)
    return found


def same(found: dict[str, list[int]], sent: dict[str, list[int]]) -> bool:
    """Whether each card has what was sent, in order. Raises `AssertionError` that says where one goes astray."""
    assert found.keys() == sent.keys()
    for key, numbers in sent.items():
        pairs = zip(found[key], numbers, strict=False)
        astray = next((n for n, (one, other) in enumerate(pairs) if one != other), 0)
        at = slice(max(0, astray - 2), astray + 5)
        assert found[key][at] == numbers[at], f"{key} from its number {at.start} on"
        assert len(found[key]) == len(numbers), f"{key} has entries after its last: {found[key][len(numbers) :][:5]}"
    return True


def spawn(
    ends: ExitStack, *arguments: str, lease_ms: int, timeout_ms: int = KAFKA_TIMEOUT_MS
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", PROGRAM, *arguments, str(lease_ms), str(timeout_ms)]
    child = subprocess.Popen(command, cwd=Path(__file__).parent.parent.parent)

    def end() -> None:
        child.kill()
        child.wait()

    ends.callback(end)
    return child


def stopped(child: subprocess.Popen[bytes]) -> bool:
    assert child.poll() is None
    return bool(psutil.Process(child.pid).status() == psutil.STATUS_STOPPED)


def run_beside(ends: ExitStack, source: Log, sink: Log, topic: str) -> None:
    stop = Event()
    options = {"batch_limit": 50, "poll_timeout_ms": 50, "pause_limit_s": 0.2}
    thread = Thread(target=relay, args=(source, sink, [topic], stop), kwargs=options)
    thread.start()
    ends.callback(thread.join)
    ends.callback(stop.set)


def outlive(ends: ExitStack, redis_db: str, sink: Log, address: str, where: str, lease_ms: int, pause_s: float) -> None:
    """One relay stops amid its work, another does it all, the first goes on: nothing lost, nothing twice."""
    topic = f"transactions-{uuid4().hex[:8]}"
    source = ends.enter_context(closing(RedisLog(redis_db, 2, lease_ms=lease_ms)))
    send(source, topic, 3000)
    zombie = spawn(ends, redis_db, address, topic, where, lease_ms=lease_ms)
    until(lambda: stopped(zombie))
    stopped_at = time.monotonic()
    run_beside(ends, source, sink, topic)
    until(lambda: len({number for _, number in arrived(sink, topic)}) == 3000)
    time.sleep(max(0, stopped_at + pause_s - time.monotonic()))
    os.kill(zombie.pid, signal.SIGCONT)
    time.sleep(1.5)
    assert zombie.poll() is None
    send(source, topic, 500, start=3000)
    until(lambda: len({number for _, number in arrived(sink, topic)}) == 3500)
    time.sleep(0.5)
    assert same(folded(arrived(sink, topic)), {"card-0": list(range(3500))})


def test_a_relay_that_was_stopped_after_its_poll_appends_nothing_stale(
    ends: ExitStack, redis_db: str, other_redis_db: str
) -> None:
    sink = ends.enter_context(closing(RedisLog(other_redis_db, 2)))
    outlive(ends, redis_db, sink, other_redis_db, "poll", LEASE_MS, 0)


@pytest.mark.kafka
@pytest.mark.parametrize("where", [pytest.param("poll", marks=pytest.mark.thorough), "send", "write"])
def test_a_relay_to_kafka_that_was_stopped_appends_nothing_stale(
    ends: ExitStack, redis_db: str, kafka_node: KafkaNode, where: str
) -> None:
    sink = ends.enter_context(closing(KafkaLog(kafka_node.bootstrap, 2)))
    outlive(ends, redis_db, sink, kafka_node.bootstrap, where, KAFKA_TIMEOUT_MS, KAFKA_TIMEOUT_MS / 1000 + 0.5)


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.thorough)])
def test_two_relays_that_are_stopped_again_and_again_lose_nothing_and_keep_the_order(
    ends: ExitStack, redis_db: str, kafka_node: KafkaNode, seed: int
) -> None:
    random, held_ms = Random(seed), 2000
    total, keys, topic = 20_000, 10, f"transactions-{uuid4().hex[:8]}"
    source = ends.enter_context(closing(RedisLog(redis_db, 2, lease_ms=held_ms)))
    sink = ends.enter_context(closing(KafkaLog(kafka_node.bootstrap, 2)))
    send(source, topic, total, keys=keys)
    relays = [
        spawn(ends, redis_db, kafka_node.bootstrap, topic, "never", lease_ms=held_ms, timeout_ms=held_ms)
        for _ in range(2)
    ]
    until(lambda: len(arrived(sink, topic)) > 0)
    for _ in range(4):
        one = random.choice(relays)
        os.kill(one.pid, signal.SIGSTOP)
        time.sleep(random.choice([0.2, 3.0]))
        os.kill(one.pid, signal.SIGCONT)
        time.sleep(random.random() * 0.3)
        start = total
        total += 2000
        send(source, topic, total - start, start, keys)
    until(lambda: len({number for _, number in arrived(sink, topic)}) == total)
    time.sleep(1)
    assert same(folded(arrived(sink, topic)), {f"card-{key}": list(range(key, total, keys)) for key in range(keys)})
