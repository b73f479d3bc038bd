"""Entries are taken out of the log and of the archive; all others, their order and their offsets stay."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from stream.archive import Archive, entries
from stream.archive_erasure import erase_from_archive, search_archive
from stream.connection import RedisConnection
from stream.log import Entry, Partition, message_of
from stream.mention import Mention
from stream.records import DeadLetter, Label, encode
from stream.redis_erasure import LOCK_KEY, erase_entries, search_streams
from stream.redis_log import RedisLog
from tests.stream.keeping import T0, decided, message
from tests.until import LIMIT_S

CARD = "card-3"
PART = Partition("decisions", 0)


@pytest.fixture
def connection(redis_db: str) -> Iterator[RedisConnection]:
    with RedisConnection(redis_db) as opened:
        yield opened


@pytest.fixture
def log(redis_db: str) -> Iterator[RedisLog]:
    opened = RedisLog(redis_db, partitions=1)
    yield opened
    opened.close()


def test_a_stream_is_built_anew_while_others_append_to_it(connection: RedisConnection, log: RedisLog) -> None:
    log.append([message(decided(number)) for number in range(700)])
    before = log.read(PART, 0, 10_000)
    found = search_streams(connection, 1, Mention("card_id", CARD))
    stop, goes_on = Event(), Event()

    def go_on() -> None:
        number = 1000
        while not stop.is_set():
            log.append([message(decided(number * 7))])
            number += 1
            goes_on.set()

    thread = Thread(target=go_on)
    thread.start()
    try:
        assert goes_on.wait(LIMIT_S)
        assert erase_entries(connection, found) == 100
    finally:
        stop.set()
        thread.join()
    after = log.read(PART, 0, 100_000)
    assert after[:600] == [entry for entry in before if CARD.encode() not in entry.value]
    assert [entry.offset for entry in after] == sorted(entry.offset for entry in after)
    later = after[600:]
    assert later
    assert all(decided(number * 7).event_id.encode() in entry.value for number, entry in enumerate(later, 1000))
    assert connection.one("KEYS", "*:anew:*") == connection.one("KEYS", "*:doomed:*") == []


def test_a_stream_that_loses_all_its_entries_keeps_counting(connection: RedisConnection, log: RedisLog) -> None:
    log.append([message(decided(3))])
    end = log.end(PART)
    assert erase_entries(connection, search_streams(connection, 1, Mention("card_id", CARD))) == 1
    assert (log.read(PART, 0, 10), log.end(PART)) == ([], end)
    log.append([message(decided(4))])
    assert log.read(PART, 0, 10)[0].offset >= end


def test_who_was_held_up_while_it_rebuilt_loses_nothing(
    connection: RedisConnection, log: RedisLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.append([message(decided(number)) for number in range(300)])
    before = log.read(PART, 0, 1000)
    found = search_streams(connection, 1, Mention("card_id", CARD))
    one, steps = RedisConnection.one, count()

    def held_up(self: RedisConnection, *command: Any) -> Any:
        if command[0] == "EVALSHA" and next(steps) == 2:
            for key in [LOCK_KEY, *one(self, "KEYS", "*:anew:*"), *one(self, "KEYS", "*:doomed:*")]:
                assert one(self, "PTTL", key) > 0  # so they go while it is held up, the lock among them
                one(self, "DEL", key)
            one(self, "SET", LOCK_KEY, "other")
        return one(self, *command)

    with monkeypatch.context() as patched, pytest.raises(TimeoutError, match="run the same again"):
        patched.setattr(RedisConnection, "one", held_up)
        erase_entries(connection, found)
    assert log.read(PART, 0, 1000) == before
    assert connection.one("GET", LOCK_KEY) == b"other"
    connection.one("DEL", LOCK_KEY)
    assert erase_entries(connection, found) == 43
    assert len(log.read(PART, 0, 1000)) == 257


def test_two_do_not_rebuild_at_once(connection: RedisConnection, log: RedisLog) -> None:
    log.append([message(decided(3))])
    found = search_streams(connection, 1, Mention("card_id", CARD))
    connection.one("SET", LOCK_KEY, "other")
    with pytest.raises(TimeoutError, match="somebody else"):
        erase_entries(connection, found)
    assert len(log.read(PART, 0, 10)) == 1


def test_labels_are_found_by_their_events_and_dead_letters_by_their_bytes(
    connection: RedisConnection, log: RedisLog
) -> None:
    labels = [Label(event_id=f"e{number}", label="fraud", labelled_at=T0) for number in (3, 4)]
    letters = [
        DeadLetter(event_id=text, from_topic="t", partition=0, offset=0, reason="?", payload=text.encode())
        for text in (f"x {CARD} y", f"x {CARD}3 y")
    ]
    others: list[Label | DeadLetter] = [*labels, *letters]
    log.append([message(decided(3)), *(message_of(one) for one in others)])
    found = search_streams(connection, 1, Mention("card_id", CARD))
    assert {stream: len(ids) for stream, ids in found.items()} == {
        "log:decisions:0": 1,
        "log:labels:0": 1,
        "log:dead-letters:0": 1,
    }


def test_a_file_that_loses_all_its_records_stays_for_what_its_name_says(tmp_path: Path) -> None:
    directory = tmp_path / "archive"
    batch = {PART: [Entry(number, CARD, encode(decided(3 + 7 * number))) for number in range(5)]}
    mention = Mention("card_id", CARD)
    with Archive(directory) as archive:
        archive.write("log", batch)
        assert erase_from_archive(archive, search_archive(archive, mention), mention) == 5
        assert search_archive(archive, mention) == {}
    with Archive(directory) as archive:
        assert archive.sources() == {}
        # The same batch again, from a log that still has it, brings nothing back.
        assert archive.write("log", batch).known == 5
        archive.write("log", {PART: [*batch[PART], Entry(9, "card-4", encode(decided(4)))]})
    assert [entry.offset for files in archive.sources().values() for entry in entries(files)] == [9]


@pytest.mark.parametrize("emptied", [0, 1, 2])
def test_files_that_lost_all_their_records_are_read_beside_others(tmp_path: Path, emptied: int) -> None:
    mention = Mention("card_id", CARD)
    with Archive(tmp_path / "archive") as archive:
        for number in range(3):
            one = decided(3 if number == emptied else 4 + 7 * number)
            archive.write("log", {PART: [Entry(number, one.record.card_id, encode(one))]})
        assert erase_from_archive(archive, search_archive(archive, mention), mention) == 1
        files = list(archive.files("decisions"))
    assert [entry.offset for entry in entries(files)] == [number for number in range(3) if number != emptied]
    assert list(entries([file for file in files if file.first == emptied])) == []


def test_an_entity_that_nobody_knows_of_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no entity 'card'"):
        Mention("card", "c")


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"pay C1 now", True), (b"pay C10", False), (b"xC1", False), (b'"C1"', True), (b"C1-2", False), (b"C1", True)],
)
def test_a_value_counts_as_a_word_of_its_own(content: bytes, expected: bool) -> None:
    assert Mention("card_id", "C1").is_in(content) is expected
    assert Mention("card_id", "C1").may_be_part_of(content)
