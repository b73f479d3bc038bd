"""The tables of the SQL console: queries under a name, and an audit of every run."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Index, Table

from review.columns import MICROS, NUMBER, Words
from review.tables import METADATA, STRICT, keep_append_only

QUERIES = Table(
    "sql_queries",
    METADATA,
    Column("owner", Words, primary_key=True),
    Column("name", Words, primary_key=True),
    Column("text", Words, nullable=False),
    Column("shared", NUMBER, nullable=False),
    Column("saved_at_us", MICROS, nullable=False),
    **STRICT,
)

# A run has two rows of one `run`: one before it begins, so that none goes unseen, and one that says how it ended.
RUNS = Table(
    "sql_runs",
    METADATA,
    Column("number", NUMBER, primary_key=True, autoincrement=True),
    Column("run", Words, nullable=False),
    Column("at_us", MICROS, nullable=False),
    Column("by", Words, nullable=False),
    Column("deed", Words, nullable=False),
    Column("text", Words, nullable=False),
    Column("rows", NUMBER),
    Column("took_ms", NUMBER),
    CheckConstraint("deed IN ('asked', 'downloaded', 'answered', 'failed')", name="deed_is_known"),
    sqlite_autoincrement=True,
    **STRICT,
)
Index("sql_runs_by_person", RUNS.c.by, RUNS.c.number)
keep_append_only(RUNS)
