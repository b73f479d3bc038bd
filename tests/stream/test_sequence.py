"""One order for all that follow it, each entry in it once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.connection import RedisConnection
from stream.embedded_redis import EmbeddedRedis
from stream.log import Partition
from stream.sequence import APPEND_LIMIT, NO_MARK, START, Sequence, SequenceGap, source_of

ACTIONS = source_of("redis", Partition("actions", 3))
ITEMS = source_of("redis", Partition("items", 0))
FAR = 1 << 61


@pytest.fixture
def sequence(redis_url: str) -> Iterator[Sequence]:
    with RedisConnection(redis_url) as connection:
        connection.one("FLUSHDB")
        yield Sequence(connection)


def payloads(sequence: Sequence, after: bytes = START) -> list[bytes]:
    return [entry.payload for entry in sequence.read(after, 10_000)]


def test_entries_come_back_in_the_order_of_their_appends_with_where_they_came_from(sequence: Sequence) -> None:
    assert sequence.append(ACTIONS, NO_MARK, [(FAR + 5, b"a"), (FAR + 9, b"b")])
    assert sequence.append(ITEMS, NO_MARK, [(0, b"i")])
    assert sequence.append(ACTIONS, FAR + 9, [(FAR + 10, b"c")])
    found = sequence.read(START, 10)
    assert [(one.source, one.offset, one.payload, one.number) for one in found] == [
        (ACTIONS, FAR + 5, b"a", 1),
        (ACTIONS, FAR + 9, b"b", 2),
        (ITEMS, 0, b"i", 3),
        (ACTIONS, FAR + 10, b"c", 4),
    ]
    assert sequence.marks() == {ACTIONS: FAR + 10, ITEMS: 0}
    assert (sequence.length, sequence.count) == (4, 4)
    assert (sequence.first_id, sequence.last_id) == (found[0].id, found[-1].id)
    assert payloads(sequence, found[1].id) == [b"i", b"c"]


@pytest.mark.parametrize("expected", [NO_MARK, FAR - 1, FAR + 1])
def test_an_append_that_goes_on_from_another_mark_does_nothing(sequence: Sequence, expected: int) -> None:
    sequence.append(ACTIONS, NO_MARK, [(FAR, b"a")])
    assert not sequence.append(ACTIONS, expected, [(FAR + 2, b"z")])
    assert (payloads(sequence), sequence.marks()) == ([b"a"], {ACTIONS: FAR})


def test_the_same_append_twice_is_one(sequence: Sequence) -> None:
    entries = [(number, b"%d" % number) for number in range(20)]
    assert sequence.append(ACTIONS, NO_MARK, entries)
    assert not sequence.append(ACTIONS, NO_MARK, entries)
    assert sequence.length == 20


def test_whoever_waits_is_woken_by_an_entry(sequence: Sequence, redis_url: str) -> None:
    assert sequence.read(START, 10, block_ms=20) == []
    sequence.append(ACTIONS, NO_MARK, [(1, b"a")])
    after = sequence.read(START, 10, block_ms=5000)[-1].id
    assert sequence.read(after, 10, block_ms=20) == []


def fill(sequence: Sequence, count: int) -> None:
    mark = NO_MARK
    for start in range(0, count, APPEND_LIMIT):
        sequence.append(ACTIONS, mark, [(n, b"%d" % n) for n in range(start, start + APPEND_LIMIT)])
        mark = start + APPEND_LIMIT - 1


def test_who_asks_for_trimmed_entries_is_told_and_who_has_read_them_goes_on(sequence: Sequence) -> None:
    fill(sequence, 3000)
    entries = sequence.read(START, 3000)
    assert 1800 <= sequence.trim(keep=1000, saved_number=3000) <= 2000  # whole nodes go
    assert sequence.first_id == sequence.floor
    kept = entries[2000]
    assert payloads(sequence, kept.id)[0] == b"2001"
    for gone in (START, entries[0].id, entries[1500].id):
        with pytest.raises(SequenceGap, match="begins at"):
            sequence.read(gone, 10)


def test_what_no_snapshot_has_is_never_trimmed_nor_the_entry_that_the_snapshot_ends_with(sequence: Sequence) -> None:
    fill(sequence, 3000)
    entries = sequence.read(START, 3000)
    assert sequence.trim(keep=10, saved_number=0) == 0
    assert sequence.trim(keep=10, saved_number=2000) > 0
    assert payloads(sequence, entries[1999].id) == [entry.payload for entry in entries[2000:]]


def test_a_trim_deletes_a_bounded_number_at_once(sequence: Sequence) -> None:
    fill(sequence, 12_500)
    newest = sequence.last_id
    assert newest is not None
    assert sequence.trim(keep=1, saved_number=12_500) <= 10_000
    sequence.trim(keep=1, saved_number=12_500)
    assert sequence.length <= 200
    assert payloads(sequence, newest) == []


def test_a_server_that_lost_its_newest_entries_is_noticed(sequence: Sequence) -> None:
    sequence.append(ACTIONS, NO_MARK, [(1, b"a"), (2, b"b")])
    _, second = sequence.read(START, 10)
    sequence.connection.one("XDEL", sequence.key, second.id)
    sequence.append(ACTIONS, 2, [(3, b"other")])
    with pytest.raises(SequenceGap, match="has lost some"):
        sequence.read(second.id, 10)
    sequence.connection.one("FLUSHDB")
    with pytest.raises(SequenceGap, match="has lost some"):
        sequence.read(second.id, 10)
    assert sequence.read(START, 10) == []


def test_marks_and_entries_survive_a_killed_server_together(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path, appendfsync="always") as server, RedisConnection(server.url) as connection:
        sequence = Sequence(connection)
        assert sequence.append(ACTIONS, NO_MARK, [(1, b"a"), (2, b"b")])
        server.kill()
        server.restart()
        sequence = Sequence(RedisConnection(server.url))
        assert (payloads(sequence), sequence.marks()) == ([b"a", b"b"], {ACTIONS: 2})
        assert not sequence.append(ACTIONS, NO_MARK, [(1, b"a"), (2, b"b")])
        assert sequence.append(ACTIONS, 2, [(3, b"c")])
        sequence.connection.close()


@pytest.mark.parametrize(
    ("source", "count", "says"), [("#count", 1, "begins with '#'"), (ACTIONS, APPEND_LIMIT + 1, "give at most 500")]
)
def test_what_cannot_be_appended_is_refused(sequence: Sequence, source: str, count: int, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        sequence.append(source, NO_MARK, [(number, b"") for number in range(count)])
    assert sequence.length == 0
