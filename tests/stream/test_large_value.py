"""A large value is read whole, whoever replaces it meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Thread

import pytest

from stream import large_value
from stream.connection import RedisConnection
from stream.large_value import CorruptValue, LargeValue
from tests.until import LIMIT_S


@pytest.fixture
def connection(redis_url: str) -> Iterator[RedisConnection]:
    with RedisConnection(redis_url) as connection:
        connection.one("FLUSHDB")
        yield connection


def test_a_snapshot_is_read_whole_while_it_is_replaced_again_and_again(
    connection: RedisConnection, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large_value, "PIECE_BYTES", 100)
    contents = [bytes([number]) * (950 + number) for number in range(120)]
    value = LargeValue(connection, "v")
    value.write(contents[0], 0)
    read: list[bytes] = []

    def reader() -> None:
        with RedisConnection(redis_url) as own:
            theirs = LargeValue(own, "v")
            while not read or read[-1] != contents[-1]:
                stored = theirs.read()
                assert stored is not None
                read.append(stored.content)

    thread = Thread(target=reader)
    thread.start()
    for order, content in enumerate(contents):
        assert value.write(content, order)
    thread.join(LIMIT_S)
    assert set(read) <= set(contents)
    assert read[-1] == contents[-1]


def test_an_older_snapshot_does_not_replace_a_newer_one(connection: RedisConnection) -> None:
    value = LargeValue(connection, "v")
    assert value.write(b"new", 7)
    assert not value.write(b"old", 6)
    stored = value.read()
    assert stored is not None
    assert (stored.content, stored.order) == (b"new", 7)


def test_a_damaged_snapshot_is_refused(connection: RedisConnection) -> None:
    value = LargeValue(connection, "v")
    value.write(b"content")
    name = value.name()
    assert name is not None
    connection.one("SET", f"v:{name.token}:0", b"other")
    with pytest.raises(CorruptValue, match="not what was written"):
        value.read()
