"""Letting somebody in: the session, the browser that is known from then on, and the line in the audit, all or none."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, delete, insert, select, update

from review.account import AccountPolicy, Caller
from review.account_audit import note
from review.account_tables import ACCOUNTS, DEVICES
from review.secret_token import hash_of, new_token
from review.sessions import open_session
from stream.records import micros

DEVICE_LASTS = timedelta(days=180)


class SignedIn(NamedTuple):
    """Tokens for the browser's cookies, this once: its session, and the browser itself (empty: it has one)."""

    session: str
    device: str
    name: str


def admit(
    connection: Connection,
    policy: AccountPolicy,
    account: Row[Any],
    caller: Caller,
    now: datetime,
    how: str,
) -> SignedIn:
    """Open a session for an account that its caller holds locked and has found active."""
    changed = update(ACCOUNTS).where(ACCOUNTS.c.account_id == account.account_id)
    connection.execute(changed.values(signed_in_at_us=micros(now)))
    session = open_session(connection, account.account_id, caller, now, policy)
    device = _know(connection, policy, account.account_id, caller.device, now)
    note(connection, "signed_in", account.name, now, caller=caller, detail=how)
    return SignedIn(session, device, account.name)


def is_known_device(connection: Connection, device: str, name: str, now: datetime) -> bool:
    """Whether the owner of the name signed in with this browser before."""
    if not device:
        return False
    found = select(DEVICES.c.account_id).join(ACCOUNTS, ACCOUNTS.c.account_id == DEVICES.c.account_id)
    found = found.where(DEVICES.c.token_hash == hash_of(device), ACCOUNTS.c.name == name)
    return connection.execute(found.where(DEVICES.c.seen_at_us > micros(now - DEVICE_LASTS))).first() is not None


def _know(connection: Connection, policy: AccountPolicy, account_id: int, device: str, now: datetime) -> str:
    if device:
        known = update(DEVICES).where(DEVICES.c.token_hash == hash_of(device), DEVICES.c.account_id == account_id)
        if connection.execute(known.values(seen_at_us=micros(now))).rowcount:
            return ""
    token = new_token()
    connection.execute(insert(DEVICES).values(token_hash=hash_of(token), account_id=account_id, seen_at_us=micros(now)))
    newest = select(DEVICES.c.token_hash).where(DEVICES.c.account_id == account_id)
    newest = newest.order_by(DEVICES.c.seen_at_us.desc()).limit(policy.devices_limit)
    kept = {hash_of(token), *connection.execute(newest).scalars()}
    connection.execute(delete(DEVICES).where(DEVICES.c.account_id == account_id, DEVICES.c.token_hash.not_in(kept)))
    return token
