"""A blocking connection to Redis that sends many commands in one round trip.

For one transaction's two round trips the usual client costs more than Redis does: this one packs with hiredis, writes
once and reads until every reply is in. One connection serves one thread.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Sequence
from hashlib import sha1
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import hiredis

from stream.tls import files_of, remedy_of, without_password

Reply = Any
Command = tuple[str | bytes | int | float, ...]

RECEIVE_BYTES = 65536
_PART = b"$%d\r\n%b\r\n"


class RedisUnavailable(ConnectionError):
    """Redis did not answer in time or closed the connection. A retry can help; the connection mends itself."""


class RedisError(RuntimeError):
    """Redis answered with an error. The text is Redis's own."""


class Script:
    """A Lua script, called by its digest and sent again only where the server has lost it."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.digest = sha1(source.encode(), usedforsecurity=False).hexdigest()

    def command(self, keys: Sequence[str | bytes], args: Sequence[str | bytes | int | float]) -> Command:
        """The command that runs it; `RedisConnection.call` loads the script when the server does not know it."""
        return ("EVALSHA", self.digest, len(keys), *keys, *args)


class Template:
    """A command that is sent very often: its fixed parts are packed once, its places (None) filled in each time.

    A quarter of the time of `hiredis.pack_command` for a dozen parts.
    """

    def __init__(self, *parts: str | bytes | int | None) -> None:
        self._size = len(parts)
        self._places = sum(part is None for part in parts)
        self._format = b"*%d\r\n" + b"".join([_PART if part is None else _fixed(part) for part in parts])

    def pack(self, *filled: bytes) -> bytes:
        """The command, ready to be sent, with these in its places; what is left of them follows its last part."""
        more = len(filled) - self._places
        if more < 0:
            raise ValueError(f"the command has {self._places} places, not {len(filled)}; fill each")
        sized = chain.from_iterable(zip(map(len, filled), filled, strict=True))
        return (self._format + _PART * more) % (self._size + more, *sized)


def _fixed(part: str | bytes | int) -> bytes:
    content = part if isinstance(part, bytes) else str(part).encode()
    return (_PART % (len(content), content)).replace(b"%", b"%%")


class RedisConnection:
    """One connection to one server, given as `redis[s]://[user:password@]host:port[/db]`.

    With `rediss` the server's certificate is checked; the URL may carry files for that (`stream/tls.py`). With
    `?socket=PATH` the server is asked through that Unix socket where this machine has it: a third less of a round trip.
    `timeout_ms` bounds a whole call, not each read. After a failure the next call connects anew.
    """

    def __init__(self, url: str, timeout_ms: float = 5000, connect_timeout_ms: float = 1000) -> None:
        parts = urlsplit(url)
        try:
            address = (parts.hostname or "", parts.port or 6379)
        except ValueError:
            address = ("", 0)
        if parts.scheme not in {"redis", "rediss"} or not address[0]:
            if not url:
                raise ValueError("no Redis is named: give --redis redis://host:port/0, or HEADRACE_REDIS")
            raise ValueError(f"Redis URL {without_password(url)!r} is not understood; use redis://host:port/db")
        self.url = url
        self.timeout_ms = timeout_ms
        self.connect_timeout_ms = connect_timeout_ms
        self._address = address
        self._unix = dict(parse_qsl(parts.query)).get("socket", "")
        self._tls = files_of(url).context() if parts.scheme == "rediss" else None
        self._greeting: list[Command] = []
        if parts.password:
            user = (unquote(parts.username),) if parts.username else ()
            self._greeting.append(("AUTH", *user, unquote(parts.password)))
        if parts.path.strip("/"):
            self._greeting.append(("SELECT", parts.path.strip("/")))
        self._socket: socket.socket | None = None
        self._proven = False
        self._reader = hiredis.Reader()
        self._scripts: list[Script] = []

    def script(self, source: str) -> Script:
        """Register a script, so that `call` can load it where it is missing."""
        script = Script(source)
        self._scripts.append(script)
        return script

    def one(self, *command: str | bytes | int | float) -> Reply:
        """One command, one reply. Raises `RedisError` if the reply is an error."""
        reply = self.call([command])[0]
        if isinstance(reply, RedisError):
            raise reply
        return reply

    def call(self, commands: Sequence[Command | bytes], timeout_ms: float | None = None) -> list[Reply]:
        """All commands in one round trip, replies in order; an error reply stands in its place as a `RedisError`.

        Bytes are a command that is packed already (`Template`).

        Raises `RedisUnavailable` when the server is gone or late. What was sent may then have been carried out or not.
        """
        replies = self._exchange(commands, timeout_ms)
        missing = [
            i for i, reply in enumerate(replies) if isinstance(reply, RedisError) and str(reply).startswith("NOSCRIPT")
        ]
        if missing:
            self._exchange([("SCRIPT", "LOAD", script.source) for script in self._scripts], timeout_ms)
            for i, reply in zip(missing, self._exchange([commands[i] for i in missing], timeout_ms), strict=True):
                replies[i] = reply
        return replies

    def close(self) -> None:
        """Close the socket; the next call opens it again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def __enter__(self) -> RedisConnection:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def _exchange(self, commands: Sequence[Command | bytes], timeout_ms: float | None) -> list[Reply]:
        deadline = time.monotonic() + (self.timeout_ms if timeout_ms is None else timeout_ms) / 1000
        try:
            if self._socket is None:
                self._connect(deadline)
            replies = self._converse(commands, deadline)
            self._proven = True
            return replies
        except (OSError, hiredis.ProtocolError) as error:
            self.close()
            host, port = self._address
            remedy = "" if self._proven else self._remedy(error)
            reason = f"{error}; {remedy}" if remedy else str(error)
            raise RedisUnavailable(f"Redis at {host}:{port} did not answer: {reason}") from error

    def _remedy(self, error: Exception) -> str:
        if self._tls is not None:
            return remedy_of(error, "HEADRACE_REDIS")
        # What a server that expects TLS says to plain text is none of Redis's protocol, if it says anything.
        is_foreign = isinstance(error, hiredis.ProtocolError | ConnectionResetError)
        return "if it speaks TLS there, write rediss:// in HEADRACE_REDIS" if is_foreign else ""

    def _connect(self, deadline: float) -> None:
        self._proven = False
        left_s = max(0.001, min(self.connect_timeout_ms / 1000, deadline - time.monotonic()))
        link = _opened(self._unix, self._address, left_s)
        if self._tls is not None:
            link = _secured(link, self._tls, self._address[0])
        self._socket = link
        self._reader = hiredis.Reader()
        if self._greeting:
            for reply in self._converse(self._greeting, deadline):
                if isinstance(reply, RedisError):
                    self.close()
                    raise reply

    def _converse(self, commands: Sequence[Command | bytes], deadline: float) -> list[Reply]:
        link = self._socket
        assert link is not None
        packed = b"".join(
            [command if isinstance(command, bytes) else hiredis.pack_command(command) for command in commands]
        )
        link.settimeout(max(0.001, deadline - time.monotonic()))
        link.sendall(packed)
        replies: list[Reply] = []
        gets, error_type = self._reader.gets, hiredis.ReplyError
        while len(replies) < len(commands):
            reply = gets()
            if reply is False:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    raise TimeoutError("no answer in time")
                link.settimeout(left_s)
                received = link.recv(RECEIVE_BYTES)
                if not received:
                    raise ConnectionResetError("the server closed the connection")
                self._reader.feed(received)
                continue
            replies.append(RedisError(str(reply)) if isinstance(reply, error_type) else reply)
        return replies


def _opened(unix: str, address: tuple[str, int], timeout_s: float) -> socket.socket:
    if unix and Path(unix).exists():
        link = socket.socket(socket.AF_UNIX)
        link.settimeout(timeout_s)
        try:
            link.connect(unix)
            return link
        except OSError:
            link.close()  # left behind by a server that was killed: the address decides
    link = socket.create_connection(address, timeout=timeout_s)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return link


def _secured(link: socket.socket, tls: ssl.SSLContext, host: str) -> socket.socket:
    try:
        return tls.wrap_socket(link, server_hostname=host)
    except BaseException:
        link.close()
        raise
