"""A load generator in a process of its own: closed loops of kept-alive HTTP clients, or an open loop at a rate.

`python -m bench.http_load URL BODIES CLIENTS RATE` reads request bodies, one a line, and prints a line of JSON. A rate
of 0 is a closed loop: each client sends its next request when its answer has come. At a rate, requests have times at
which they are due, and latency counts from then: a server that stalls is not spared the requests that it held up.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

HEAD_END = b"\r\n\r\n"


class Load(msgspec.Struct):
    """What a load came to: milliseconds for each answer in the order they came, statuses, and answers a second."""

    latency_ms: list[float]
    statuses: dict[str, int]
    per_second: float
    degraded: int = 0


def load(url: str, bodies: list[bytes], clients: int, rate: float = 0.0) -> Load:
    """Send every body from another process, spread over the clients.

    Raises `ChildProcessError` with the last line of what the generator said.
    """
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(b"\n".join(bodies))
        command = [sys.executable, "-m", "bench.http_load", url, file.name, str(clients), str(rate)]
        ended = subprocess.run(command, capture_output=True, check=False)
    if ended.returncode:
        raise ChildProcessError(ended.stderr.decode().strip().rpartition("\n")[2])
    return msgspec.json.decode(ended.stdout, type=Load)


class _Client(asyncio.Protocol):
    """One connection: sends the next request when told, and says what the answer was."""

    def __init__(self, run: _Run) -> None:
        self.run = run
        self.due_s = 0.0
        self.received = b""
        self.reopened = False
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.run.idle(self)

    def send(self, request: bytes, due_s: float) -> None:
        assert self.transport is not None
        self.due_s = due_s
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.received += data
        head_end = self.received.find(HEAD_END)
        if head_end < 0:
            return
        head = self.received[:head_end].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self.received) < head_end + len(HEAD_END) + length:
            return
        body, self.received = self.received[head_end + len(HEAD_END) :], b""
        self.run.answered(head[9:12].decode(), body, time.perf_counter() - self.due_s)
        if b"connection: close" in head:
            self.run.reopen(self)
        else:
            self.run.idle(self)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.reopened:
            self.run.lost(error)


class _Run:
    """All clients of one load."""

    def __init__(self, url: str, bodies: list[bytes], rate: float) -> None:
        parts = urlsplit(url)
        self.place = parts.hostname or "127.0.0.1", parts.port or 80
        self.opening: set[asyncio.Future[tuple[asyncio.Transport, _Client]]] = set()
        head = f"POST {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\ncontent-type: application/json\r\n"
        self.requests = [f"{head}content-length: {len(body)}\r\n\r\n".encode() + body for body in bodies]
        self.rate = rate
        self.sent = 0
        self.waiting: list[_Client] = []
        self.took_ms: list[float] = []
        self.statuses: Counter[str] = Counter()
        self.degraded = 0
        self.started_s = time.perf_counter()
        self.done = asyncio.get_running_loop().create_future()

    def idle(self, client: _Client) -> None:
        """A client is free: it takes the next request, or in an open loop waits for one to be due."""
        if self.rate:
            self.waiting.append(client)
            self.tick()
        elif self.sent < len(self.requests):
            self._next(client, time.perf_counter())

    def tick(self) -> None:
        """Give what is due to clients that are free."""
        now = time.perf_counter()
        while self.waiting and self.sent < len(self.requests) and self._due_s() <= now:
            self._next(self.waiting.pop(), self._due_s())

    def _due_s(self) -> float:
        return self.started_s + self.sent / self.rate

    def _next(self, client: _Client, due_s: float) -> None:
        request = self.requests[self.sent]
        self.sent += 1
        client.send(request, due_s)

    def answered(self, status: str, body: bytes, took_s: float) -> None:
        """Count one answer."""
        self.took_ms.append(took_s * 1e3)
        self.statuses[status] += 1
        self.degraded += b'"degraded":[]' not in body
        if len(self.took_ms) == len(self.requests):
            self.done.set_result(None)

    def reopen(self, client: _Client) -> None:
        """The server wants this client to connect anew."""
        client.reopened = True
        if client.transport is not None:
            client.transport.close()
        opening = asyncio.ensure_future(
            asyncio.get_running_loop().create_connection(lambda: _Client(self), *self.place)
        )
        self.opening.add(opening)
        opening.add_done_callback(self.opening.discard)

    def lost(self, error: Exception | None) -> None:
        """A connection that ends before the load does ends the load."""
        if not self.done.done():
            self.done.set_exception(error or ConnectionResetError("the server closed a connection"))


async def _drive(url: str, bodies: list[bytes], clients: int, rate: float) -> Load:
    loop = asyncio.get_running_loop()
    run = _Run(url, bodies, rate)
    for _ in range(clients):
        await loop.create_connection(lambda: _Client(run), *run.place)
    while rate and not run.done.done() and run.sent < len(run.requests):
        run.tick()
        await asyncio.sleep(min(0.001, max(0.0, run._due_s() - time.perf_counter())))
    await run.done
    elapsed_s = time.perf_counter() - run.started_s
    return Load(run.took_ms, dict(run.statuses), len(run.took_ms) / elapsed_s, run.degraded)


def main() -> None:
    """The process that `load` starts."""
    url, file, clients, rate = sys.argv[1:]
    bodies = Path(file).read_bytes().split(b"\n")
    found = asyncio.run(_drive(url, bodies, int(clients), float(rate)))
    print(json.dumps(msgspec.to_builtins(found)))


if __name__ == "__main__":
    main()
