"""The load generator counts every answer, in a closed loop and at a rate."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from bench.http_load import load

STALL_S = 0.4


class Answering(BaseHTTPRequestHandler):
    """Answers 200, refuses the body `bad`, and is slow once, for the body `slow`."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """One answer, in two pieces."""
        body = self.rfile.read(int(self.headers["content-length"]))
        if body == b"slow":
            time.sleep(STALL_S)
        content = b'{"degraded":["models"]}' if body == b"late" else b'{"degraded":[]}'
        self.send_response(400 if body == b"bad" else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[:5])
        self.wfile.write(content[5:])

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on the terminal."""


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/score"
        server.shutdown()


def test_every_answer_is_counted(url: str) -> None:
    found = load(url, [b"good"] * 40 + [b"bad"] * 2 + [b"late"] * 3, clients=4)
    assert found.statuses == {"200": 43, "400": 2}
    assert len(found.latency_ms) == 45
    assert found.degraded == 3
    assert found.per_second > 0


def test_at_a_rate_a_stall_counts_for_those_that_it_held_up(url: str) -> None:
    rate = 50.0
    found = load(url, [b"good"] * 5 + [b"slow"] + [b"good"] * 20, clients=1, rate=rate)
    held_up = [took for took in found.latency_ms if took > 0.1 * STALL_S * 1e3]
    assert len(held_up) >= 0.5 * STALL_S * rate
    assert found.per_second <= rate * 1.1


def test_a_server_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ChildProcessError, match="Refused"):
        load("http://127.0.0.1:9/score", [b"x"], clients=1)
