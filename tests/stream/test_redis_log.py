"""What only the Redis log has: ids, the bound of the outbox, trimming, agreement on partitions."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from stream.connection import RedisConnection
from stream.log import Entry, LogFull, Message, Partition, lag
from stream.redis_group import BLOCK_MS
from stream.redis_keys import lease_key
from stream.redis_log import RedisLog, offset_of, stream_id, stream_key
from tests.until import LIMIT_S

PART = Partition("transactions", 0)
LEASE_MS = 600_000


@pytest.fixture
def log(redis_db: str) -> Iterator[RedisLog]:
    with closing(RedisLog(redis_db, partitions=1, retention_ms=0)) as opened:
        yield opened


def messages(count: int) -> list[Message]:
    return [Message("transactions", "card", b"%d" % number) for number in range(count)]


def finish(log: RedisLog, group: str) -> None:
    with closing(log.consumer(group, ["transactions"])) as consumer:
        while found := consumer.poll(1000, 0):
            consumer.commit({part: entries[-1].offset + 1 for part, entries in found.items()})


@pytest.mark.parametrize("entry_id", [b"0-0", b"1-0", b"1795332713123-0", b"1795332713123-1048575"])
def test_an_offset_and_its_stream_id_are_one(entry_id: bytes) -> None:
    assert stream_id(offset_of(entry_id)).encode() == entry_id


def test_offsets_order_as_stream_ids_do() -> None:
    ids = [b"5-0", b"5-1", b"5-1048575", b"6-0", b"60-0"]
    assert [offset_of(entry_id) for entry_id in ids] == sorted(offset_of(entry_id) for entry_id in ids)


def test_a_stream_id_beyond_an_offset_is_refused() -> None:
    with pytest.raises(OverflowError, match="clock was set back"):
        offset_of(b"5-1048576")


def test_what_a_script_appends_is_an_entry(log: RedisLog, redis_db: str) -> None:
    with RedisConnection(redis_db) as connection:
        entry_id = connection.one("XADD", stream_key("transactions", 0), "*", "k", "card", "v", b"{}")
    assert log.read(PART, 0, 10) == [Entry(offset_of(entry_id), "card", b"{}")]


def test_a_full_outbox_refuses_and_writes_nothing(redis_db: str) -> None:
    with closing(RedisLog(redis_db, partitions=1, outbox_limit=10)) as log:
        log.append(messages(10))
        with pytest.raises(LogFull, match="holds 10 entries, its limit is 10"):
            log.append(messages(1))
        assert len(log.read(PART, 0, 100)) == 10


def test_trimming_deletes_what_every_group_has_committed(log: RedisLog) -> None:
    log.append(messages(1000))
    finish(log, "worker")
    assert log.trim() >= 900
    assert len(log.read(PART, 0, 1000)) <= 100


def test_trimming_keeps_what_one_group_has_not_committed(log: RedisLog) -> None:
    log.append(messages(1000))
    log.consumer("archiver", ["transactions"]).close()
    finish(log, "worker")
    assert log.trim() == 0
    assert len(log.read(PART, 0, 1000)) == 1000


def test_trimming_keeps_what_no_group_has_joined(log: RedisLog) -> None:
    log.append(messages(1000))
    assert log.trim() == 0


def test_trimming_keeps_what_is_younger_than_the_retention(redis_db: str) -> None:
    with closing(RedisLog(redis_db, partitions=1, retention_ms=60_000)) as log:
        log.append(messages(1000))
        finish(log, "worker")
        assert log.trim() == 0


def test_retention_yields_before_the_outbox_is_full(redis_db: str) -> None:
    with closing(RedisLog(redis_db, partitions=1, retention_ms=60_000, outbox_limit=1500)) as log:
        log.append(messages(1000))
        finish(log, "worker")
        assert log.trim() >= 900


def test_trimming_does_bounded_work(log: RedisLog) -> None:
    log.append(messages(2000))
    finish(log, "worker")
    assert 0 < log.trim(limit=500) <= 500


def test_the_end_and_the_commit_outlive_trimming(log: RedisLog) -> None:
    log.append(messages(1000))
    finish(log, "worker")
    end = log.end(PART)
    log.trim()
    assert log.end(PART) == log.committed("worker", PART) == end
    log.append([Message("transactions", "card", b"new")])
    assert [entry.value for entry in log.read(PART, end, 10)] == [b"new"]


def test_a_commit_never_goes_back(log: RedisLog) -> None:
    log.append(messages(10))
    finish(log, "worker")
    end = log.committed("worker", PART)
    with closing(log.consumer("worker", ["transactions"])) as consumer:
        consumer.poll(10, 0)
        consumer.commit({PART: end - 1})
    assert log.committed("worker", PART) == end


def test_a_log_with_another_number_of_partitions_is_refused(log: RedisLog, redis_db: str) -> None:
    log.consumer("worker", ["transactions"]).close()
    with closing(RedisLog(redis_db, partitions=2)) as other, pytest.raises(ValueError, match="has 1 partitions"):
        other.consumer("worker", ["transactions"])


def test_a_lease_too_short_to_poll_within_is_refused(redis_db: str) -> None:
    with pytest.raises(ValueError, match="lease_ms is 10"):
        RedisLog(redis_db, lease_ms=10)


def test_lag_says_which_partitions_have_entries_left(log: RedisLog) -> None:
    log.append(messages(3))
    assert lag(log, "worker", "transactions") == {PART: True}
    finish(log, "worker")
    assert lag(log, "worker", "transactions") == {PART: False}


def test_a_member_that_polls_without_a_pause_beats_now_and_then_and_keeps_its_lease(redis_db: str) -> None:
    with (
        closing(RedisLog(redis_db, partitions=1, lease_ms=LEASE_MS)) as log,
        closing(log.consumer("worker", ["transactions"])) as consumer,
        closing(log.consumer("worker", ["transactions"])) as other,
        RedisConnection(redis_db) as connection,
    ):
        consumer.poll(10, 0)
        connection.one("CONFIG", "RESETSTAT")
        polls, renewals, left_ms, began = 0, 0, LEASE_MS, time.monotonic()
        while polls <= 40 or renewals < 3:
            assert time.monotonic() - began < LIMIT_S
            log.append(messages(1))
            polls += len(consumer.poll(10, 1000))
            other.poll(10, 0)
            assert consumer.assignment() == {PART}
            before_ms, left_ms = left_ms, connection.one("PTTL", lease_key("worker", *PART))
            renewals += left_ms > before_ms
        took_ms = (time.monotonic() - began) * 1000
        stats = connection.one("INFO", "commandstats").decode()
        beats = int(stats.split("cmdstat_evalsha:calls=")[1].split(",")[0])
    # The other holds nothing and beats at each of its polls, as often as this one polls; this one every 250 ms.
    assert beats <= polls + took_ms / BLOCK_MS + 1
