"""Failed tries to sign in, by name, address and browser: each costs the next one a longer wait."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, select, update

from review.account import Delay, TooManyTries
from review.account_tables import TRIES
from review.either import insert_on
from stream.records import from_micros, micros

Key = bytes


def key_of(kind: str, text: str) -> Key:
    """Whose tries are counted. A hash: people type passwords into the field for names, and no such text is kept."""
    return hashlib.sha256(f"{kind}:{text.strip().lower()[:256]}".encode("utf-8", "replace")).digest()


def block_of(address: str) -> str:
    """The addresses that count as one: of IPv6 whoever has one has 2**64 of them.

    >>> block_of("192.0.2.7"), block_of("2001:db8::1:2:3:4"), block_of("::ffff:192.0.2.7"), block_of("testclient")
    ('192.0.2.7', '2001:db8::', '192.0.2.7', 'testclient')
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False).network_address)
    return str(parsed)


def charge(connection: Connection, keys: Mapping[Key, Delay], now: datetime, forgotten: timedelta) -> None:
    """Count a try as failed before it is made. Raises `TooManyTries`, and then counts nothing.

    Before, since whoever sends a thousand guesses at once would have them all checked before the first was counted.
    `forgive` or `clear` takes it back when the password was right.
    """
    counts: dict[Key, int] = {}
    wait_us = 0
    for key in sorted(keys):  # in one order, so that no two wait for each other
        blank = {"key": key, "failures": 0, "last_at_us": micros(now), "free_at_us": 0}
        connection.execute(insert_on(connection, TRIES).values(blank).on_conflict_do_nothing())
        row = connection.execute(select(TRIES).where(TRIES.c.key == key).with_for_update()).one()
        wait_us = max(wait_us, row.free_at_us - micros(now))
        counts[key] = 0 if from_micros(row.last_at_us) + forgotten < now else row.failures
    if wait_us > 0:
        raise TooManyTries(wait_us / 1e6)
    for key, failures in counts.items():
        free_at = now + keys[key].after(failures + 1)
        values = {"failures": failures + 1, "last_at_us": micros(now), "free_at_us": micros(free_at)}
        connection.execute(update(TRIES).where(TRIES.c.key == key).values(values))


def forgive(connection: Connection, key: Key) -> None:
    """Take one try back, not those before: else somebody with one account could guess at all others for ever."""
    less = update(TRIES).where(TRIES.c.key == key, TRIES.c.failures > 0)
    connection.execute(less.values(failures=TRIES.c.failures - 1, free_at_us=0))


def touch(connection: Connection, key: Key, now: datetime) -> None:
    """Write something that changes nothing: what a failure costs must not tell whose it was."""
    connection.execute(update(TRIES).where(TRIES.c.key == key).values(last_at_us=micros(now)))


def clear(connection: Connection, keys: Iterable[Key]) -> None:
    """Forget all tries of these."""
    connection.execute(delete(TRIES).where(TRIES.c.key.in_(list(keys))))


def locked_until(connection: Connection, key: Key, now: datetime) -> datetime | None:
    """Until when no try is taken; None where one is."""
    row = connection.execute(select(TRIES.c.free_at_us).where(TRIES.c.key == key)).first()
    return from_micros(row.free_at_us) if row is not None and row.free_at_us > micros(now) else None


def sweep(connection: Connection, now: datetime, forgotten: timedelta) -> None:
    """Delete what is forgotten anyway, so that the table is as large as a day's failures."""
    connection.execute(delete(TRIES).where(TRIES.c.last_at_us < micros(now - forgotten)))
