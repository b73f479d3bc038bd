"""One connection of a player to the service: what fails for a while is sent again, what failed for good is counted."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

from headrace.client_key import bearer, key_of

TRIES = 8
"""The pauses between them last six seconds together: a Redis or a service that stands still for two is waited for."""
FIRST_PAUSE_S = 0.05
TIMEOUT_S = 10.0


class Reply(NamedTuple):
    """An answer below 400, when its last try was sent and how long that took."""

    content: bytes
    sent_at_s: float
    took_ms: float


class Failures:
    """What all links of a player had to send again, and what remained an error. For any number of threads."""

    def __init__(self, errors: Counter[str], sent_again: Counter[str]) -> None:
        self.errors = errors
        self.sent_again = sent_again
        self._lock = threading.Lock()

    def count(self, why: str, last: bool) -> None:
        """One request that failed, for the last time or not."""
        with self._lock:
            (self.errors if last else self.sent_again)[why] += 1


class Link:
    """One keep-alive connection, for one thread.

    A request that fails is sent again as it is, as every client should: an error is what remains after `TRIES`, or what
    a retry cannot mend (4xx).
    """

    def __init__(self, url: str, api_key: str | None, failures: Failures) -> None:
        parts = urlsplit(url)
        if parts.hostname is None:
            raise ValueError(f"the service's URL is {url!r}; give one such as http://127.0.0.1:3000")
        self._http = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=TIMEOUT_S)
        self._headers = {"content-type": "application/json", **bearer(key_of(api_key))}
        self._failures = failures

    def send(self, method: str, path: str, body: bytes | None = None) -> Reply | None:
        """The answer; None where there was none, which `Failures` has counted."""
        for attempt in range(1, TRIES + 1):
            sent_at_s = time.perf_counter()
            try:
                self._http.request(method, path, body, self._headers)
                answer = self._http.getresponse()
                content = answer.read()
            except (OSError, http.client.HTTPException) as error:
                self._http.close()
                why, is_last = type(error).__name__, attempt == TRIES
            else:
                if answer.status < 400:
                    return Reply(content, sent_at_s, (time.perf_counter() - sent_at_s) * 1000)
                is_last = attempt == TRIES or (answer.status < 500 and answer.status != 429)
                why = f"{answer.status} {_words(content) if is_last else _kind(content)}"
            self._failures.count(why, is_last)
            if is_last:
                break
            time.sleep(FIRST_PAUSE_S * 2 ** (attempt - 1))
        return None

    def close(self) -> None:
        """Close the connection."""
        self._http.close()


class _Refusal(msgspec.Struct):
    error: str


def _words(content: bytes) -> str:
    return content[:120].decode(errors="replace")


def _kind(content: bytes) -> str:
    """Which refusal it was: the rest of its words differs each time, and would be counted apart."""
    try:
        return msgspec.json.decode(content, type=_Refusal).error
    except msgspec.MsgspecError:
        return _words(content)
