"""The tables of widgets: the keys that sign them, without their secrets, and the links that people had signed here."""

from __future__ import annotations

from sqlalchemy import Column, Table

from review.columns import MICROS, NUMBER, Words
from review.tables import METADATA, STRICT, keep_append_only

KEYS = Table(
    "widget_keys",
    METADATA,
    Column("key_id", Words, primary_key=True),
    Column("name", Words, nullable=False),
    Column("made_at_us", MICROS, nullable=False),
    Column("made_by", Words, nullable=False),
    Column("revoked_at_us", MICROS),
    Column("revoked_by", Words),
    **STRICT,
)

# Never about whom: a link's entity may have to be forgotten, and a row here stays.
LINKS = Table(
    "widget_links",
    METADATA,
    Column("number", NUMBER, primary_key=True, autoincrement=True),
    Column("at_us", MICROS, nullable=False),
    Column("by", Words, nullable=False),
    Column("key_id", Words, nullable=False),
    Column("kind", Words, nullable=False),
    Column("ancestors", Words, nullable=False),
    Column("until_us", MICROS, nullable=False),
    sqlite_autoincrement=True,
    **STRICT,
)
keep_append_only(LINKS)
