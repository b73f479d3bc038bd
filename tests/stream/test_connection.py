"""Commands packed beforehand are the commands that hiredis packs; a server is asked by the shortest way."""

from __future__ import annotations

import socket
from contextlib import closing
from pathlib import Path

import hiredis
import pytest

from stream.connection import Command, RedisConnection, Template
from stream.embedded_redis import EmbeddedRedis


@pytest.mark.parametrize("value", [b"", b"v", b"%d%b%%", b"\x00\r\n" * 1000])
def test_a_filled_template_is_what_hiredis_packs(value: bytes) -> None:
    template = Template("HSET", None, "50%", 7, b"%b\xff", None)
    assert template.pack(b"key", value) == hiredis.pack_command(("HSET", b"key", "50%", 7, b"%b\xff", value))
    assert template.pack(b"key", value, b"f", value) == hiredis.pack_command(
        ("HSET", b"key", "50%", 7, b"%b\xff", value, b"f", value)
    )


def test_a_template_with_a_place_left_empty_is_refused() -> None:
    with pytest.raises(ValueError, match="has 2 places, not 1"):
        Template("GET", None, None).pack(b"x")


def test_packed_commands_and_others_are_answered_in_order_and_lost_scripts_are_sent_again(redis_db: str) -> None:
    with RedisConnection(redis_db) as connection:
        scripts = [connection.script(f"return ARGV[1] .. '{number}'") for number in range(2)]
        packed = Template("EVALSHA", scripts[1].digest, 0, None)
        for _ in range(2):
            commands: list[Command | bytes] = [packed.pack(b"a"), ("ECHO", "b"), scripts[0].command([], ["c"])]
            assert connection.call(commands) == [b"a1", b"b", b"c0"]
            connection.one("SCRIPT", "FLUSH")


def test_a_server_of_this_machine_is_asked_through_its_socket_file(redis_server: EmbeddedRedis) -> None:
    with RedisConnection(redis_server.url) as connection:
        assert f"addr={redis_server.directory}/redis.sock" in _own_line(connection)


def test_without_that_file_or_with_one_that_nobody_serves_the_address_is_asked(
    redis_server: EmbeddedRedis, tmp_path: Path
) -> None:
    abandoned = tmp_path / "abandoned.sock"
    with closing(socket.socket(socket.AF_UNIX)) as left_behind:
        left_behind.bind(str(abandoned))
    for path in (tmp_path / "absent.sock", abandoned):
        with RedisConnection(f"redis://127.0.0.1:{redis_server.port}/0?socket={path}") as connection:
            assert "addr=127.0.0.1:" in _own_line(connection)


def _own_line(connection: RedisConnection) -> str:
    number = connection.one("CLIENT", "ID")
    lines = connection.one("CLIENT", "LIST", "ID", number).decode().splitlines()
    return str(lines[0])
