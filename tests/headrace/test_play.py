"""The player sends again what failed for a while, and only what failed for good is an error."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from headrace.link import TRIES
from headrace.play import ClientView, Player
from stream.label_feed import LabelFeed
from stream.played import Played
from stream.records import Transaction
from tests.oracle import MINUTE, T0_US, payment
from tests.until import LIMIT_S


class Server(ThreadingHTTPServer):
    """Answers each request with the next of the statuses, then 200."""

    daemon_threads = True

    def __init__(self, statuses: list[int]) -> None:
        self.statuses = iter(statuses)
        self.bodies: list[bytes] = []
        super().__init__(("127.0.0.1", 0), Answering)


class Answering(BaseHTTPRequestHandler):
    """One request."""

    server: Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Remember the body; answer as told."""
        self.server.bodies.append(self.rfile.read(int(self.headers["content-length"])))
        status = next(self.server.statuses, 200)
        refusal = b'{"error":"store unavailable","message":"request %d"}' % len(self.server.bodies)
        content = b'{"outcome":"approve"}' if status == 200 else refusal
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on the terminal."""


class NoLog:
    """Nothing enters at the log where everything is scored."""

    name = "none"


def played(count: int) -> Iterator[Played]:
    for number in range(count):
        record = payment(number, T0_US + number * MINUTE)
        assert isinstance(record, Transaction)
        yield Played(record, False, timedelta(days=7))


@pytest.mark.parametrize(
    ("statuses", "scored", "errors", "again"),
    [
        ([503, 503, 200], 2, 0, 2),
        ([503] * TRIES, 1, 1, TRIES - 1),
        ([422], 1, 1, 0),
        ([], 2, 0, 0),
    ],
)
def test_what_fails_for_a_while_is_sent_again_under_the_same_id(
    monkeypatch: pytest.MonkeyPatch, statuses: list[int], scored: int, errors: int, again: int
) -> None:
    monkeypatch.setattr("headrace.link.FIRST_PAUSE_S", 0.001)
    with Server(statuses) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        log: Any = NoLog()
        player = Player(f"http://127.0.0.1:{server.server_address[1]}", "fraud", log, share=1.0)
        player.play(played(2), rate=1000, seconds=LIMIT_S, events=None, feed=LabelFeed(limit=10))
        server.shutdown()
    seen: ClientView = player.seen
    assert (seen.scored, seen.errors.total(), seen.sent_again.total()) == (scored, errors, again)
    # What was sent again is counted by its kind, what remained is told in its own words.
    assert set(seen.sent_again) <= {"503 store unavailable"}
    assert all('"message":"request ' in why for why in seen.errors)
    assert len(set(server.bodies)) == 2
