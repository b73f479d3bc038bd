"""Keys of widgets and the links that were signed with them; the SQL console's queries and runs."""

import sqlalchemy as sa
from alembic import op

from review.columns import MICROS, NUMBER, Words
from review.tables import append_only

revision = "0005"
down_revision = "0004"

STRICT = {"sqlite_strict": True}


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "widget_keys",
        sa.Column("key_id", Words, primary_key=True),
        sa.Column("name", Words, nullable=False),
        sa.Column("made_at_us", MICROS, nullable=False),
        sa.Column("made_by", Words, nullable=False),
        sa.Column("revoked_at_us", MICROS),
        sa.Column("revoked_by", Words),
        **STRICT,
    )
    op.create_table(
        "widget_links",
        sa.Column("number", NUMBER, primary_key=True, autoincrement=True),
        sa.Column("at_us", MICROS, nullable=False),
        sa.Column("by", Words, nullable=False),
        sa.Column("key_id", Words, nullable=False),
        sa.Column("kind", Words, nullable=False),
        sa.Column("ancestors", Words, nullable=False),
        sa.Column("until_us", MICROS, nullable=False),
        sqlite_autoincrement=True,
        **STRICT,
    )
    op.create_table(
        "sql_queries",
        sa.Column("owner", Words, primary_key=True),
        sa.Column("name", Words, primary_key=True),
        sa.Column("text", Words, nullable=False),
        sa.Column("shared", NUMBER, nullable=False),
        sa.Column("saved_at_us", MICROS, nullable=False),
        **STRICT,
    )
    op.create_table(
        "sql_runs",
        sa.Column("number", NUMBER, primary_key=True, autoincrement=True),
        sa.Column("run", Words, nullable=False),
        sa.Column("at_us", MICROS, nullable=False),
        sa.Column("by", Words, nullable=False),
        sa.Column("deed", Words, nullable=False),
        sa.Column("text", Words, nullable=False),
        sa.Column("rows", NUMBER),
        sa.Column("took_ms", NUMBER),
        sa.CheckConstraint("deed IN ('asked', 'downloaded', 'answered', 'failed')", name="sql_runs_deed_is_known"),
        sqlite_autoincrement=True,
        **STRICT,
    )
    op.create_index("sql_runs_by_person", "sql_runs", ["by", "number"])
    for table in ("widget_links", "sql_runs"):
        for statement in append_only(table)[op.get_bind().dialect.name]:
            op.execute(statement)
