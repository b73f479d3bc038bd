"""The archive holds each record once, wherever the archiver dies."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import duckdb
import numpy as np
import pytest

from stream.archive import Archive, ArchiveInUse, Written, entries
from stream.archiver import GROUP, Archiver, archive_forever, expire
from stream.log import Entry, Message, Partition, lag, message_of
from stream.packed_vector import packed
from stream.records import (
    Decision,
    Label,
    MemberScore,
    Reading,
    Reason,
    Record,
    Shown,
    Slate,
    Transaction,
    decode,
    encode,
)
from stream.redis_log import RedisLog

LIMIT_S = 240.0
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


class Crash(RuntimeError):
    """The process ends here."""


@pytest.fixture
def log(redis_db: str) -> Iterator[RedisLog]:
    with closing(RedisLog(redis_db, partitions=2)) as opened:
        yield opened


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "archive"


def payment(number: int, **fields: Any) -> Transaction:
    options: dict[str, Any] = {"event_timestamp": NOON + timedelta(hours=5 * (number % 4)), "merchant_id": "m"}
    return Transaction(event_id=f"e{number}", card_id=f"c{number % 5}", amount=float(number), **options | fields)


def decision(number: int) -> Decision:
    record = payment(number)
    return Decision(
        event_id=record.event_id,
        event_timestamp=record.event_timestamp,
        scored_at=NOON,
        use_case="fraud",
        outcome="review",
        score=0.5,
        scores={"batch": MemberScore("v1", 0.5)},
        vector=[1.0, None],
        definition_hash="h",
        policy_version="p",
        record=record,
        reasons=[Reason("amount", "high", 5.0, None)],
        latency_us={"read": 5},
    )


def send(log: RedisLog, *records: Record) -> None:
    log.append([message_of(record) for record in records])


def drain(directory: Path, log: RedisLog, flush_records: int = 7) -> None:
    """One archiver that works until there is nothing left."""
    with Archive(directory) as archive, closing(log.consumer(GROUP, TOPICS)) as consumer:
        archiver = Archiver(archive, log, consumer, flush_records)
        until = monotonic() + LIMIT_S
        while monotonic() < until:
            archiver.step(5, 10)
            if not any(waits for topic in TOPICS for waits in lag(log, GROUP, topic).values()):
                break
            archiver.flush()


TOPICS = ("transactions", "actions", "readings", "labels", "decisions")


def query(text: str) -> list[Any]:
    return duckdb.connect().execute(text).fetchall()


def ids(directory: Path, topic: str = "transactions") -> list[str]:
    source = f"read_parquet('{directory}/{topic}/**/*.parquet', hive_partitioning=true)"
    return [row[0] for row in query(f"SELECT event_id FROM {source} ORDER BY event_id")]


def test_each_record_is_found_once_by_duckdb_with_its_fields_and_its_bytes(log: RedisLog, directory: Path) -> None:
    label = Label(event_id="e1", label="fraud", labelled_at=NOON + timedelta(days=9))
    reading = Reading(event_id="r1", event_timestamp=NOON, device_id="d", metric="heat", value=1.5)
    send(log, *map(payment, range(40)), label, reading, decision(3))
    drain(directory, log)
    assert ids(directory) == sorted(f"e{number}" for number in range(40))
    source = f"read_parquet('{directory}/transactions/**/*.parquet', hive_partitioning=true)"
    (row,) = query(f"SELECT amount, date, log, key, payload FROM {source} WHERE event_id = 'e3'")
    assert row[:4] == (3.0, date(2026, 1, 3), "redis", "c3")
    assert decode(row[4], Transaction) == payment(3)
    assert [path.name for path in (directory / "labels").iterdir()] == ["date=2026-01-11"]
    (found,) = query(
        f"SELECT record.card_id, vector, scores['batch'].version, reasons[1].feature, payload "
        f"FROM read_parquet('{directory}/decisions/**/*.parquet')"
    )
    assert found[:4] == ("c3", [1.0, None], "v1", "amount")
    assert decode(found[4], Decision) == decision(3)


def test_packed_vectors_of_a_slate_are_lists_in_their_columns_and_bytes_in_what_was_logged(directory: Path) -> None:
    vectors = [packed(np.array(values, dtype=np.float32)) for values in ([1.5, math.nan], [math.inf, -2.0, 0.1])]
    items = [Shown("i", 0.5, "factors", "", vector=vectors[1]), Shown("new", 0.1, "new", "")]
    slate = Slate(
        event_id="s", event_timestamp=NOON, user_id="ann", items=items, vector=vectors[0], definition_hash="h"
    )
    logged, part = Entry(0, "ann", encode(slate)), Partition("slates", 0)
    with Archive(directory) as archive:
        assert archive.write("redis", {part: [logged]}) == Written(stored=1, files=1)
    (found,) = query(
        f"SELECT vector, items[1].vector, items[2].vector, payload FROM read_parquet('{directory}/slates/**/*.parquet')"
    )
    assert found == ([1.5, None], [None, -2.0, float(np.float32(0.1))], [], logged.value)
    ((_, files),) = Archive(directory).sources(["slates"]).items()
    assert list(entries(files)) == [logged]
    assert decode(logged.value, Slate) == slate


def test_entries_come_back_in_the_order_of_the_log(log: RedisLog, directory: Path) -> None:
    send(log, *map(payment, range(40)))
    drain(directory, log)
    sources = Archive(directory).sources(["transactions"])
    assert {name for name, _ in sources} == {"redis"}
    for number in range(2):
        part = Partition("transactions", number)
        assert list(entries(sources["redis", part])) == log.read(part, 0, 100)


def test_what_cannot_be_read_is_passed_over(log: RedisLog, directory: Path) -> None:
    log.append([Message("transactions", "c", b"{")])
    send(log, payment(1))
    drain(directory, log)
    assert ids(directory) == ["e1"]


@pytest.mark.parametrize("renames", [0, 1, 2, 3])
def test_a_crash_among_the_renames_neither_loses_nor_doubles(
    log: RedisLog, directory: Path, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    send(log, *map(payment, range(30)))
    left = [renames]
    replace = Path.replace

    def dying(self: Path, target: Path) -> Path:
        if not left[0]:
            raise Crash
        left[0] -= 1
        return replace(self, target)

    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(Path, "replace", dying)
        drain(directory, log)
    assert list(directory.rglob("*.new"))
    send(log, *map(payment, range(30, 40)))
    drain(directory, log, flush_records=11)
    assert ids(directory) == sorted(f"e{number}" for number in range(40))
    assert not list(directory.rglob("*.new"))


def test_a_crash_between_rename_and_commit_doubles_nothing(log: RedisLog, directory: Path) -> None:
    send(log, *map(payment, range(30)))
    with Archive(directory) as archive, closing(log.consumer(GROUP, TOPICS)) as consumer:
        consumer.poll(100, 0)
        batch = {part: log.read(part, 0, 9) for part in (Partition("transactions", n) for n in range(2))}
        assert archive.write(log.name, batch).stored > 0
    drain(directory, log)
    assert ids(directory) == sorted(f"e{number}" for number in range(30))


def test_when_the_log_forgets_the_commits_nothing_is_doubled(log: RedisLog, directory: Path) -> None:
    send(log, *map(payment, range(20)))
    drain(directory, log)
    with Archive(directory) as archive:
        batch = {part: log.read(part, 0, 99) for part in (Partition("transactions", n) for n in range(2))}
        written = archive.write(log.name, batch)
    assert (written.stored, written.known) == (0, 20)


def test_only_one_archiver_writes_to_a_directory(directory: Path) -> None:
    with Archive(directory), pytest.raises(ArchiveInUse, match="another archiver"), Archive(directory):
        pass


def test_days_beyond_the_retention_go_whole(log: RedisLog, directory: Path) -> None:
    send(log, *(payment(day, event_timestamp=NOON + timedelta(days=day)) for day in range(5)))
    drain(directory, log)
    archive = Archive(directory)
    # Counted from the newest day, 6 January: two days back is the 4th.
    assert expire(archive, timedelta(days=2), date(2027, 1, 1)) == 2
    assert ids(directory) == ["e2", "e3", "e4"]
    assert expire(archive, timedelta(days=2), date(2026, 1, 1)) == 0


def test_the_loop_stores_what_waits_when_it_is_stopped(log: RedisLog, directory: Path) -> None:
    stop = threading.Event()
    send(log, *map(payment, range(9)))
    loop = threading.Thread(
        target=archive_forever,
        args=(Archive(directory), log, stop),
        kwargs={"retention": timedelta(days=400), "flush_s": 0.2, "poll_timeout_ms": 20},
    )
    loop.start()
    try:
        until = monotonic() + LIMIT_S
        while monotonic() < until and not list(directory.rglob("*.parquet")):
            sleep(0.02)
        send(log, payment(9))
        sleep(0.05)
    finally:
        stop.set()
        loop.join()
    drain(directory, log)
    assert ids(directory) == sorted(f"e{number}" for number in range(10))


def test_the_loop_merges_the_small_files_of_days_that_are_over(log: RedisLog, directory: Path) -> None:
    stop, flushed = threading.Event(), threading.Semaphore(0)

    def count(written: Written) -> None:
        if written.stored:
            flushed.release()

    loop = threading.Thread(
        target=archive_forever,
        args=(Archive(directory), log, stop),
        kwargs={
            "on_flush": count,
            "retention": timedelta(days=400),
            "flush_s": 0,
            "linger_s": 0,
            "poll_timeout_ms": 20,
            "tidy_every_s": 0.5,
        },
    )
    loop.start()
    try:
        for number in range(40):  # each a file of its own: ten of the newest day, the others of the day before
            send(log, payment(number))
            assert flushed.acquire(timeout=LIMIT_S)
        until = monotonic() + LIMIT_S
        while monotonic() < until and len(list(directory.glob("transactions/date=2026-01-02/*"))) > 9:
            sleep(0.05)
    finally:
        stop.set()
        loop.join()
    assert len(list(directory.glob("transactions/date=2026-01-02/*"))) <= 9
    assert len(list(directory.glob("transactions/date=2026-01-03/*"))) > 9
    assert ids(directory) == sorted(f"e{number}" for number in range(40))
