"""One contract, both logs: what `stream.log` promises, tried on real servers."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import pairwise
from uuid import uuid4

import pytest

from stream.kafka_log import KafkaLog
from stream.log import Consumer, Entry, Log, LogUnavailable, Message, Partition, partition_of
from stream.redis_log import RedisLog
from tests.ports import reserved_port
from tests.until import LIMIT_S

PARTITIONS = 4
LONG_MS = 10_000
PATIENT_MS = 60_000
"""How long an answer may take: a busy machine stalls a broker for many seconds."""
SHORT_MS = 1500
"""How long a member may be silent, where that is what a test is about: a busy machine can keep one so long."""
Found = dict[Partition, list[Entry]]

LOGS = ["redis", pytest.param("kafka", marks=pytest.mark.kafka)]


def open_redis(url: str, held_ms: int = LONG_MS) -> Log:
    return RedisLog(url, PARTITIONS, lease_ms=held_ms)


def open_kafka(bootstrap: str, held_ms: int = LONG_MS) -> Log:
    return KafkaLog(
        bootstrap,
        PARTITIONS,
        session_timeout_ms=held_ms,
        max_poll_interval_ms=held_ms + 500,
        timeout_ms=PATIENT_MS,
    )


@pytest.fixture
def held_ms() -> int:
    return LONG_MS


@pytest.fixture(params=LOGS)
def log(request: pytest.FixtureRequest, held_ms: int) -> Iterator[Log]:
    if request.param == "redis":
        opened = open_redis(request.getfixturevalue("redis_db"), held_ms)
    else:
        opened = open_kafka(request.getfixturevalue("kafka_node").bootstrap, held_ms)
    with closing(opened):
        yield opened


@pytest.fixture
def topic() -> str:
    return f"topic-{uuid4().hex[:8]}"


@pytest.fixture
def join(log: Log, topic: str) -> Iterator[Callable[[str], Consumer]]:
    joined: list[Consumer] = []

    def joining(group: str) -> Consumer:
        # Kafka keeps groups over tests, so the topic's own name goes into theirs.
        joined.append(log.consumer(f"{group}-{topic}", [topic]))
        return joined[-1]

    yield joining
    for consumer in joined:
        consumer.close()


def messages(topic: str, count: int, keys: int = 20) -> list[Message]:
    return [Message(topic, f"key-{number % keys}", b"%d" % number) for number in range(count)]


def gather(members: list[Consumer], count: int, within_s: float = LIMIT_S) -> list[Found]:
    """Poll the members in turn until they have `count` entries together; what each of them got.

    For members that keep what they hold: one that was silent for too long would get entries a second time.
    """
    found: list[Found] = [defaultdict(list) for _ in members]
    deadline = time.monotonic() + within_s
    while sum(map(size, found)) < count and time.monotonic() < deadline:
        for member, its in zip(members, found, strict=True):
            for part, entries in member.poll(1000, 100).items():
                its[part] += entries
    return found


def gather_once(member: Consumer, count: int, within_s: float = LIMIT_S) -> Found:
    """Poll the member until it has had `count` entries; each once, though it may lose its turn and begin anew."""
    found: dict[Partition, dict[int, Entry]] = defaultdict(dict)
    deadline = time.monotonic() + within_s
    while sum(map(len, found.values())) < count and time.monotonic() < deadline:
        for part, entries in member.poll(1000, 100).items():
            found[part] |= {entry.offset: entry for entry in entries}
    return {part: list(its.values()) for part, its in found.items()}


def share(members: list[Consumer], within_s: float = LIMIT_S) -> list[frozenset[Partition]]:
    """Poll the members in turn until each holds an even part of the partitions; what each of them holds then."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        for member in members:
            member.poll(1000, 100)
        held = [member.assignment() for member in members]
        if all(len(its) == PARTITIONS // len(members) for its in held):
            return held
    pytest.fail(f"the partitions are not shared: {[member.assignment() for member in members]}")


def size(found: Found) -> int:
    return sum(map(len, found.values()))


def values(*found: Found) -> list[bytes]:
    return sorted((entry.value for its in found for rows in its.values() for entry in rows), key=int)


def after(found: Found) -> dict[Partition, int]:
    return {part: entries[-1].offset + 1 for part, entries in found.items()}


def everything(log: Log, topic: str) -> Found:
    every = (Partition(topic, number) for number in range(log.partitions(topic)))
    return {part: log.read(part, 0, 100_000) for part in every}


def test_entries_of_a_partition_keep_the_order_in_which_they_were_appended(log: Log, topic: str) -> None:
    log.append(messages(topic, 100))
    log.append([Message(topic, m.key, b"%d" % (100 + n)) for n, m in enumerate(messages(topic, 100))])
    for entries in everything(log, topic).values():
        numbers = [int(entry.value) for entry in entries]
        assert numbers == sorted(numbers)


def test_entries_of_a_key_are_all_in_its_partition(log: Log, topic: str) -> None:
    log.append(messages(topic, 60))
    for part, entries in everything(log, topic).items():
        assert {partition_of(entry.key, PARTITIONS) for entry in entries} <= {part.number}


def test_a_record_comes_back_as_it_was_appended(log: Log, topic: str) -> None:
    log.append([Message(topic, "käse", b"\x00\xff\r\n")])
    part = Partition(topic, partition_of("käse", PARTITIONS))
    assert [(entry.key, entry.value) for entry in log.read(part, 0, 10)] == [("käse", b"\x00\xff\r\n")]


def test_many_are_appended_at_once(log: Log, topic: str) -> None:
    log.append(messages(topic, 3000))
    assert values(everything(log, topic)) == [b"%d" % number for number in range(3000)]


def test_appending_nothing_does_nothing(log: Log, topic: str) -> None:
    log.append([])
    assert values(everything(log, topic)) == []


def test_offsets_grow(log: Log, topic: str) -> None:
    log.append(messages(topic, 50, keys=1))
    log.append(messages(topic, 50, keys=1))
    (entries,) = [entries for entries in everything(log, topic).values() if entries]
    assert all(left.offset < right.offset for left, right in pairwise(entries))


def test_reading_starts_at_the_offset_and_stops_at_the_limit(log: Log, topic: str) -> None:
    log.append(messages(topic, 10, keys=1))
    part = Partition(topic, partition_of("key-0", PARTITIONS))
    whole = log.read(part, 0, 100)
    assert log.read(part, whole[3].offset, 4) == whole[3:7]
    assert log.read(part, whole[3].offset + 1, 100) == whole[4:]


def test_the_end_is_after_the_newest_entry(log: Log, topic: str) -> None:
    part = Partition(topic, partition_of("key-0", PARTITIONS))
    assert log.end(part) == 0
    log.append(messages(topic, 5, keys=1))
    end = log.end(part)
    assert log.read(part, end, 1) == []
    log.append([Message(topic, "key-0", b"5")])
    assert [entry.value for entry in log.read(part, end, 10)] == [b"5"]


def test_a_topic_has_the_number_of_partitions_that_was_asked_for(log: Log, topic: str) -> None:
    assert log.partitions(topic) == PARTITIONS


def test_the_name_tells_servers_apart_and_stays(log: Log) -> None:
    assert log.name == "redis" or log.name.startswith("kafka:")
    if isinstance(log, KafkaLog):
        assert len(log.name) > len("kafka:")
        with closing(open_kafka(log.bootstrap)) as again:
            assert again.name == log.name


def test_a_new_group_starts_at_the_oldest_entry(log: Log, topic: str, join: Callable[[str], Consumer]) -> None:
    log.append(messages(topic, 40))
    (found,) = gather([join("new")], 40)
    assert values(found) == [b"%d" % number for number in range(40)]


def test_a_poll_returns_at_once_if_there_are_entries_and_by_the_timeout_if_not(
    log: Log, topic: str, join: Callable[[str], Consumer]
) -> None:
    member = join("prompt")
    share([member])
    began = time.monotonic()
    assert member.poll(10, 400) == {}
    assert 0.3 < time.monotonic() - began < 60
    log.append(messages(topic, 1))
    began = time.monotonic()
    assert size(member.poll(10, 120_000)) == 1
    assert time.monotonic() - began < 60


def test_a_group_that_never_committed_stands_at_0(log: Log, topic: str) -> None:
    assert log.committed(f"nobody-{topic}", Partition(topic, 0)) == 0


def test_a_group_goes_on_after_what_it_committed(log: Log, topic: str, join: Callable[[str], Consumer]) -> None:
    log.append(messages(topic, 40))
    first = join("worker")
    (found,) = gather([first], 40)
    first.commit(after(found))
    assert {part: log.committed(f"worker-{topic}", part) for part in found} == after(found)
    first.close()
    log.append([Message(topic, "key-7", b"40")])
    (rest,) = gather([join("worker")], 1)
    assert values(rest) == [b"40"]


def test_entries_that_were_not_committed_come_again(log: Log, topic: str, join: Callable[[str], Consumer]) -> None:
    log.append(messages(topic, 40))
    first = join("worker")
    gather([first], 40)
    first.close()
    (again,) = gather([join("worker")], 40)
    assert values(again) == [b"%d" % number for number in range(40)]


def test_groups_do_not_disturb_each_other(log: Log, topic: str, join: Callable[[str], Consumer]) -> None:
    log.append(messages(topic, 20))
    worker, archiver = join("worker"), join("archiver")
    (found,) = gather([worker], 20)
    worker.commit(after(found))
    assert size(gather([archiver], 20)[0]) == 20


def test_two_members_share_the_partitions_and_all_entries_come_through(
    log: Log, topic: str, join: Callable[[str], Consumer]
) -> None:
    one, two = join("worker"), join("worker")
    share([one, two])
    assert one.assignment() | two.assignment() == {Partition(topic, number) for number in range(PARTITIONS)}
    assert not one.assignment() & two.assignment()
    log.append(messages(topic, 200))
    first, second = gather([one, two], 200)
    assert values(first, second) == [b"%d" % number for number in range(200)]
    assert set(first) <= one.assignment()
    assert set(second) <= two.assignment()


def test_a_member_that_closes_hands_over_what_it_had_not_committed(
    log: Log, topic: str, join: Callable[[str], Consumer]
) -> None:
    one, two = join("worker"), join("worker")
    share([one, two])
    log.append(messages(topic, 100))
    first, second = gather([one, two], 100)
    two.commit(after(second))
    one.close()
    (rest,) = gather([two], size(first))
    assert values(rest) == values(first)
    assert len(two.assignment()) == PARTITIONS


@pytest.mark.parametrize("held_ms", [SHORT_MS])
def test_a_member_that_stops_polling_loses_its_partitions_to_another(
    log: Log, topic: str, join: Callable[[str], Consumer]
) -> None:
    hung = join("worker")
    log.append(messages(topic, 50))
    gather_once(hung, 50)
    taken = gather_once(join("worker"), 50)
    assert values(taken) == [b"%d" % number for number in range(50)]


@pytest.mark.parametrize("held_ms", [SHORT_MS])
def test_the_commit_of_a_zombie_does_not_move_the_group(log: Log, topic: str, join: Callable[[str], Consumer]) -> None:
    zombie = join("worker")
    log.append(messages(topic, 50))
    stale = gather_once(zombie, 50)
    gather_once(join("worker"), 50)
    zombie.commit(after(stale))
    assert {log.committed(f"worker-{topic}", part) for part in stale} == {0}


@pytest.mark.parametrize("held_ms", [SHORT_MS])
def test_a_zombie_that_has_joined_again_does_not_commit_what_another_holds(
    log: Log, topic: str, join: Callable[[str], Consumer]
) -> None:
    zombie = join("worker")
    log.append(messages(topic, 50))
    stale = gather_once(zombie, 50)
    heir = join("worker")
    gather_once(heir, 50)
    _, held_by_heir = share([zombie, heir])
    zombie.commit(after(stale))
    assert {log.committed(f"worker-{topic}", part) for part in held_by_heir} == {0}


@pytest.mark.parametrize("opening", [open_redis, open_kafka])
def test_a_server_that_is_not_there_raises_log_unavailable(opening: Callable[[str], Log], topic: str) -> None:
    with (
        reserved_port() as port,
        pytest.raises(LogUnavailable, match=f"127.0.0.1:{port}"),
        closing(opening(f"redis://127.0.0.1:{port}/0" if opening is open_redis else f"127.0.0.1:{port}")) as log,
    ):
        log.append(messages(topic, 1))


@pytest.fixture(params=LOGS)
def shouting(request: pytest.FixtureRequest) -> Iterator[Log]:
    """A log whose readers see the entries of every topic in capitals."""

    def admit(topic: str, entry: Entry) -> Entry:
        return Entry(entry.offset, f"{topic}/{entry.key}", entry.value.upper())

    if request.param == "redis":
        opened: Log = RedisLog(request.getfixturevalue("redis_db"), PARTITIONS, admit=admit)
    else:
        opened = KafkaLog(
            request.getfixturevalue("kafka_node").bootstrap, PARTITIONS, timeout_ms=PATIENT_MS, admit=admit
        )
    with closing(opened):
        yield opened


def test_every_reader_sees_an_entry_as_it_was_admitted(shouting: Log, topic: str) -> None:
    shouting.append([Message(topic, "k", b"a"), Message(topic, "k", b"b")])
    part = Partition(topic, partition_of("k", PARTITIONS))
    wanted = [(f"{topic}/k", b"A"), (f"{topic}/k", b"B")]
    assert [(entry.key, entry.value) for entry in shouting.read(part, 0, 10)] == wanted
    with closing(shouting.consumer(f"group-{topic}", [topic])) as consumer:
        polled = gather([consumer], 2)[0][part]
        assert [(entry.key, entry.value) for entry in polled] == wanted
        consumer.commit({part: polled[-1].offset + 1})
    assert shouting.committed(f"group-{topic}", part) == polled[-1].offset + 1
