"""Ports that a test knows before anybody listens there, and that nobody else is given meanwhile."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def reserved_port() -> Iterator[int]:
    """A port of 127.0.0.1 that refuses connections until a server takes it, which has to allow reuse (SO_REUSEADDR).

    Redis, Kafka, BentoML and Python's own servers do. A port that is only looked up, and taken when some processes have
    started, is another server's now and then.
    """
    with held() as holder:
        yield int(holder.getsockname()[1])


def held(port: int = 0) -> socket.socket:
    """A socket that has the port and does not listen; others that allow reuse may have it too."""
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", port))
    return holder
