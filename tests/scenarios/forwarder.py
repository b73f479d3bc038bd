"""A TCP forwarder that a test puts between a client and a server, to cause what networks do."""

from __future__ import annotations

import socket
import struct
import threading
import time
from contextlib import suppress
from types import TracebackType

from tests.ports import held

CHUNK = 65536
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Forwarder:
    """Forwards what comes to `port` to the server's port, with faults that can be set at any time.

    `delay_s` holds each chunk of a reply back. `cut_at` sends so many bytes of a reply and resets the connection.
    `says` answers in the server's place. `holding` is a word: a request that contains it is not forwarded
    (`holds_reply` False) or its reply is not, and `held` is set. `shut` refuses new connections and resets old ones.
    """

    def __init__(self, server_port: int) -> None:
        self.server_port = server_port
        self.delay_s = 0.0
        self.cut_at: int | None = None
        self.says: bytes | None = None
        self.holding: bytes | None = None
        self.holds_reply = False
        self.held = threading.Event()
        self._links: list[socket.socket] = []
        self._holder = held()
        self.port = int(self._holder.getsockname()[1])
        self._listener = self._listen()

    @property
    def url(self) -> str:
        """Where a Redis behind it is found."""
        return f"redis://127.0.0.1:{self.port}/0"

    def shut(self) -> None:
        """As if nobody listened."""
        # shutdown, not close alone: it wakes the thread that accepts, whose system call keeps the socket alive.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for link in self._links:
            reset(link)
        self._links.clear()

    def open(self) -> None:
        """At the same port again, which is nobody else's meanwhile."""
        self._listener = self._listen()

    def __enter__(self) -> Forwarder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.shut()
        self._holder.close()

    def _listen(self) -> socket.socket:
        listener = held(self.port)
        listener.listen(64)
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return listener

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", self.server_port), timeout=5)
            except OSError:
                if listener.fileno() < 0:
                    return
                with suppress(UnboundLocalError, OSError):
                    client.close()
                time.sleep(0.01)
                continue
            self._links += [client, server]
            threading.Thread(target=self._requests, args=(client, server), daemon=True).start()
            threading.Thread(target=self._replies, args=(client, server), daemon=True).start()

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while chunk := client.recv(CHUNK):
                if self.says is not None:
                    client.sendall(self.says)
                    continue
                if self.holding is not None and self.holding in chunk:
                    self.held.set()
                    if self.holds_reply:
                        server.sendall(chunk)
                        time.sleep(2.0)  # the server carries it out: a reset would take it back from its socket
                    continue
                server.sendall(chunk)
        reset(server)

    def _replies(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            server.settimeout(None)
            while chunk := server.recv(CHUNK):
                if self.delay_s:
                    time.sleep(self.delay_s)
                if self.held.is_set():
                    continue
                if self.cut_at is not None:
                    client.sendall(chunk[: self.cut_at])
                    reset(client)
                    break
                client.sendall(chunk)
        reset(client)


def reset(link: socket.socket) -> None:
    """Close with RST, as a crashed peer or a firewall does."""
    with suppress(OSError):
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        link.shutdown(socket.SHUT_RDWR)
    link.close()
