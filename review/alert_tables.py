"""The tables of alerts: how each stands, what happened, who wants to hear nothing, and messages on their way."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Index, Table, text

from review.columns import BYTES, FLOAT, MICROS, NUMBER, Words
from review.tables import METADATA, STRICT, keep_append_only

STANDINGS = Table(
    "alert_standings",
    METADATA,
    Column("name", Words, primary_key=True),
    Column("state", Words, nullable=False),
    Column("since_us", MICROS, nullable=False),
    Column("fired_at_us", MICROS),
    Column("value", FLOAT),
    Column("words", Words, nullable=False),
    Column("told_at_us", MICROS),
    Column("acknowledged_by", Words),
    Column("acknowledged_at_us", MICROS),
    CheckConstraint("state IN ('ok', 'pending', 'firing', 'resolved')", name="state_is_known"),
    **STRICT,
)

HISTORY = Table(
    "alert_history",
    METADATA,
    Column("number", NUMBER, primary_key=True, autoincrement=True),
    Column("at_us", MICROS, nullable=False),
    Column("name", Words, nullable=False),
    Column("severity", Words, nullable=False),
    Column("deed", Words, nullable=False),
    Column("value", FLOAT),
    Column("by", Words, nullable=False),
    Column("text", Words, nullable=False),
    sqlite_autoincrement=True,
    **STRICT,
)
Index("alert_history_by_name", HISTORY.c.name, HISTORY.c.number)
keep_append_only(HISTORY)

# `name` is an alert's, or * for all of them. One that was ended before its time keeps who did.
SILENCES = Table(
    "alert_silences",
    METADATA,
    Column("number", NUMBER, primary_key=True, autoincrement=True),
    Column("name", Words, nullable=False),
    Column("by", Words, nullable=False),
    Column("why", Words, nullable=False),
    Column("made_at_us", MICROS, nullable=False),
    Column("until_us", MICROS, nullable=False),
    Column("ended_at_us", MICROS),
    Column("ended_by", Words),
    **STRICT,
)
Index("alert_silences_by_end", SILENCES.c.until_us)

# One row for each message and where it goes. `target` is the fingerprint of an address, which may hold a password and
# is in no table. `due_at_us` is when it may next be tried: while one sends it, when another may think that one dead.
MESSAGES = Table(
    "alert_messages",
    METADATA,
    Column("number", NUMBER, primary_key=True, autoincrement=True),
    Column("key", Words, nullable=False),
    Column("target", Words, nullable=False),
    Column("label", Words, nullable=False),
    Column("body", BYTES, nullable=False),
    Column("made_at_us", MICROS, nullable=False),
    Column("due_at_us", MICROS, nullable=False),
    Column("tries", NUMBER, nullable=False, server_default=text("0")),
    Column("ended_at_us", MICROS),
    Column("fate", Words, nullable=False, server_default=text("'waiting'")),
    Column("problem", Words, nullable=False, server_default=text("''")),
    CheckConstraint("fate IN ('waiting', 'sent', 'given up')", name="fate_is_known"),
    sqlite_autoincrement=True,
    **STRICT,
)
Index("alert_messages_once", MESSAGES.c.key, MESSAGES.c.target, unique=True)
Index("alert_messages_by_fate", MESSAGES.c.fate, MESSAGES.c.target, MESSAGES.c.number)

# Who watches: one at a time, as long as the lease is renewed.
WATCHER = Table(
    "alert_watcher",
    METADATA,
    Column("one", NUMBER, primary_key=True, autoincrement=False),
    Column("holder", Words, nullable=False),
    Column("until_us", MICROS, nullable=False),
    CheckConstraint("one = 1", name="there_is_one"),
    **STRICT,
)
