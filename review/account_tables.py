"""The tables of accounts: people, their sessions and links, tries to sign in, and an audit that only grows.

Of a token only its hash is kept.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import CheckConstraint, Column, Connection, ForeignKey, Index, Table

from review.columns import BYTES, MICROS, NUMBER, Words
from review.either import insert_on
from review.tables import METADATA, STRICT, keep_append_only

# A name is given once: verdicts bear it for ever, so nobody else may have it, and no row is deleted. `subject` is the
# issuer and the subject at an OIDC provider: of its claims the one that never changes its owner.
ACCOUNTS = Table(
    "accounts",
    METADATA,
    Column("account_id", NUMBER, primary_key=True, autoincrement=True),
    Column("name", Words, nullable=False, unique=True),
    Column("role", Words, nullable=False),
    Column("state", Words, nullable=False),
    Column("password", Words),
    Column("subject", Words, unique=True),
    Column("made_at_us", MICROS, nullable=False),
    Column("signed_in_at_us", MICROS),
    CheckConstraint("role IN ('viewer', 'analyst', 'lead', 'admin')", name="role_is_known"),
    CheckConstraint("state IN ('invited', 'active', 'off')", name="state_is_known"),
    **STRICT,
)

SESSIONS = Table(
    "account_sessions",
    METADATA,
    Column("session_id", Words, primary_key=True),
    Column("token_hash", BYTES, nullable=False, unique=True),
    Column("account_id", NUMBER, ForeignKey("accounts.account_id"), nullable=False),
    Column("made_at_us", MICROS, nullable=False),
    Column("seen_at_us", MICROS, nullable=False),
    Column("ends_at_us", MICROS, nullable=False),
    Column("address", Words, nullable=False),
    Column("agent", Words, nullable=False),
    **STRICT,
)
Index("account_sessions_by_account", SESSIONS.c.account_id, SESSIONS.c.seen_at_us)

# Without an account: the link that makes the first admin.
LINKS = Table(
    "account_links",
    METADATA,
    Column("token_hash", BYTES, primary_key=True),
    Column("account_id", NUMBER, ForeignKey("accounts.account_id")),
    Column("made_at_us", MICROS, nullable=False),
    Column("ends_at_us", MICROS, nullable=False),
    **STRICT,
)

DEVICES = Table(
    "account_devices",
    METADATA,
    Column("token_hash", BYTES, primary_key=True),
    Column("account_id", NUMBER, ForeignKey("accounts.account_id"), nullable=False),
    Column("seen_at_us", MICROS, nullable=False),
    **STRICT,
)
Index("account_devices_by_account", DEVICES.c.account_id, DEVICES.c.seen_at_us)

TRIES = Table(
    "account_tries",
    METADATA,
    Column("key", BYTES, primary_key=True),
    Column("failures", NUMBER, nullable=False),
    Column("last_at_us", MICROS, nullable=False),
    Column("free_at_us", MICROS, nullable=False),
    **STRICT,
)
Index("account_tries_by_time", TRIES.c.last_at_us)

# No reference to an account: a row stays as it was written.
DEEDS = Table(
    "account_deeds",
    METADATA,
    Column("number", NUMBER, primary_key=True, autoincrement=True),
    Column("at_us", MICROS, nullable=False),
    Column("name", Words, nullable=False),
    Column("deed", Words, nullable=False),
    Column("by", Words, nullable=False),
    Column("address", Words, nullable=False),
    Column("agent", Words, nullable=False),
    Column("detail", Words, nullable=False),
    sqlite_autoincrement=True,
    **STRICT,
)
Index("account_deeds_by_name", DEEDS.c.name, DEEDS.c.number)
keep_append_only(DEEDS)


def add_account(db: Connection, **columns: Any) -> bool:
    """Add an account; False, and nothing, where one has its name or its subject, maybe since this very moment."""
    statement = insert_on(db, ACCOUNTS).values(columns).on_conflict_do_nothing().returning(ACCOUNTS.c.account_id)
    return db.execute(statement).first() is not None
