"""What `headrace doctor` asks of the API keys: whether any are asked for, and whether anybody can come in."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from headrace.finding import Finding
from scoring.key_book import KeyBook
from scoring.key_log import KeyLog
from stream.connection import RedisConnection

SOON = timedelta(days=14)


def judge_auth(auth: str, host: str) -> Finding:
    """Whether the service lets in whoever reaches it.

    >>> judge_auth("off", "0.0.0.0").level, judge_auth("off", "127.0.0.1").level, judge_auth("keys", "0.0.0.0").level
    ('WARN', 'OK', 'OK')
    """
    if auth == "keys":
        return Finding("OK", "auth", "every request needs an API key")
    if is_loopback(host):
        return Finding("OK", "auth", f"off; the service listens on {host} only")
    remedy = "set HEADRACE_AUTH=keys and make keys with 'headrace keys create'"
    return Finding("WARN", "auth", f"off, and the service listens on {host}: whoever reaches it may ask", remedy)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def examine_keys(connection: RedisConnection, now: datetime | None = None) -> Iterator[Finding]:
    """Whether there are keys, and which end soon. Raises `RedisUnavailable` and `RedisError`."""
    log = KeyLog(connection)
    log.read()
    yield judge_keys(log.book, now or datetime.now(UTC))
    if log.problems:
        words = f"{len(log.problems)} steps of the keys' history are not followed"
        yield Finding("WARN", "keys", words, "see 'headrace keys history'; bring all processes to one release")


def judge_keys(book: KeyBook, now: datetime) -> Finding:
    """Whether anybody has a key, and keeps it."""
    ends = [(one.made.name, one.made.expires_at) for one in book.keys.values()]
    good = [(name, end) for name, end in ends if end is None or end > now]
    soon = sorted(name for name, end in good if end is not None and end <= now + SOON)
    if not good:
        return Finding("FAIL", "keys", "there is none that is taken", "make one: headrace keys create")
    if soon:
        words = f"these expire within {SOON.days} days: {', '.join(soon[:10])}"
        return Finding("WARN", "keys", words, "make others with 'headrace keys create', in time")
    return Finding("OK", "keys", f"{len(good)} are taken")
