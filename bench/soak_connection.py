"""One of the soak's connections: a call on it, its answer, or its end."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

from bench.http_load import HEAD_END
from bench.soak_call import Call


class Clients(Protocol):
    """Whose connection it is."""

    def free(self, connection: Connection) -> None:
        """It may take the next call."""

    def answered(self, sending: Sending, status: int, body: bytes, retry_after_s: float) -> None:
        """An answer has come, of whatever kind."""

    def lost(self, connection: Connection) -> None:
        """It has ended, perhaps with a call on it."""


class Sending:
    """One call on its way, over all its tries."""

    __slots__ = ("call", "due_s", "refusals", "request", "tries")

    def __init__(self, call: Call, due_s: float, host: str) -> None:
        self.call = call
        self.due_s = due_s
        self.tries = 0
        self.refusals: dict[str, int] = {}
        body = bytes(call.body)
        head = f"POST {call.path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
        self.request = f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


class Connection(asyncio.Protocol):
    """One connection, with at most one call on it. It tells its clients when it is free, answered or lost."""

    def __init__(self, clients: Clients) -> None:
        self.clients = clients
        self.sending: Sending | None = None
        self.sent_s = 0.0
        self.received = b""
        self.why_lost = "lost"
        self.transport: asyncio.Transport | None = None

    @property
    def is_open(self) -> bool:
        """Whether a call can be sent on it."""
        return self.transport is not None and not self.transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is free."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.clients.free(self)

    def send(self, sending: Sending) -> None:
        """Put a call on it."""
        assert self.transport is not None
        self.sending, self.sent_s = sending, time.monotonic()
        self.transport.write(sending.request)

    def data_received(self, data: bytes) -> None:
        """A part of an answer, or the last one."""
        self.received += data
        head_end = self.received.find(HEAD_END)
        if head_end < 0 or self.sending is None:
            return
        head = self.received[:head_end].lower()
        length = int(header_of(head, b"content-length:") or 0)
        if len(self.received) < head_end + len(HEAD_END) + length:
            return
        body, self.received = self.received[head_end + len(HEAD_END) :], b""
        sending, self.sending = self.sending, None
        self.clients.answered(sending, int(head[9:12]), body, float(header_of(head, b"retry-after:") or 0))
        if header_of(head, b"connection:") == b"close":
            assert self.transport is not None
            self.transport.close()
        else:
            self.clients.free(self)

    def abandon(self) -> None:
        """Its answer takes too long: what comes later must not be taken for another's."""
        self.why_lost = "timeout"
        assert self.transport is not None
        self.transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """By the server, or since it was abandoned."""
        self.clients.lost(self)


def header_of(head: bytes, name: bytes) -> bytes:
    """A header's value in a head of small letters; nothing where it is not there."""
    at = head.find(b"\r\n" + name)
    return head[at + 2 + len(name) :].split(b"\r\n", 1)[0].strip() if at >= 0 else b""
