"""Asking a running service as a client does that can wait: what is refused for now is sent again after a while.

On a busy machine a service may refuse a request whose time was over before its turn came. Every request is idempotent,
so a test that is not about refusals sends it again, the same bytes.
"""

from __future__ import annotations

import http.client
import math
import time
from collections.abc import Mapping
from contextlib import closing
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import urlsplit

DEADLINE = "10s"
"""The setting `deadline` of a service whose test is not about deadlines: the longest that a request may ask for."""
HEADERS = {"content-type": "application/json", "x-deadline-ms": "9000"}
FOR_NOW = frozenset({502, 503, 504})
WAIT_LIMIT_S = 60.0
SOCKET_LIMIT_S = 60.0
IDLE_LIMIT_S = 30.0


class Reply(NamedTuple):
    """An answer over HTTP; the names of its headers in lower case."""

    status: int
    headers: dict[str, str]
    content: bytes


class KeptLink(http.client.HTTPConnection):
    """Opened anew where nobody used it for so long that the service may have closed it, as it does after 75 s."""

    _used_s = math.inf

    def putrequest(self, *words: Any, **options: Any) -> None:
        """Begin a request."""
        if time.monotonic() - self._used_s > IDLE_LIMIT_S:
            self.close()
        self._used_s = time.monotonic()
        super().putrequest(*words, **options)


def connected(url: str) -> http.client.HTTPConnection:
    """A connection to the service, opened with its first request."""
    return KeptLink(urlsplit(url).netloc, timeout=SOCKET_LIMIT_S)


def ask_over(
    link: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] = HEADERS,
    wait_limit_s: float = WAIT_LIMIT_S,
) -> Reply:
    """The first answer that is not a refusal for now; after `wait_limit_s` the last one, which says why."""
    until = time.monotonic() + wait_limit_s
    while True:
        link.request(method, path, body, dict(headers))
        with link.getresponse() as answer:
            lowered = {name.lower(): value for name, value in answer.getheaders()}
            reply = Reply(answer.status, lowered, answer.read())
        if reply.status not in FOR_NOW or time.monotonic() >= until:
            return reply
        time.sleep(float(reply.headers.get("retry-after", "0.2")))


ask_once = partial(ask_over, wait_limit_s=0.0)
"""One request and its answer, whatever it is."""


def ask(url: str, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] = HEADERS) -> Reply:
    """As `ask_over`, over a connection of its own."""
    with closing(connected(url)) as link:
        return ask_over(link, method, path, body, headers)
