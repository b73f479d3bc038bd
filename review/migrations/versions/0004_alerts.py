"""Alerts: how each stands, what happened, silences, messages on their way, and who watches."""

import sqlalchemy as sa
from alembic import op

from review.columns import BYTES, FLOAT, MICROS, NUMBER, Words
from review.tables import append_only

revision = "0004"
down_revision = "0003"

STRICT = {"sqlite_strict": True}


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "alert_standings",
        sa.Column("name", Words, primary_key=True),
        sa.Column("state", Words, nullable=False),
        sa.Column("since_us", MICROS, nullable=False),
        sa.Column("fired_at_us", MICROS),
        sa.Column("value", FLOAT),
        sa.Column("words", Words, nullable=False),
        sa.Column("told_at_us", MICROS),
        sa.Column("acknowledged_by", Words),
        sa.Column("acknowledged_at_us", MICROS),
        sa.CheckConstraint("state IN ('ok', 'pending', 'firing', 'resolved')", name="alert_standings_state_is_known"),
        **STRICT,
    )
    op.create_table(
        "alert_history",
        sa.Column("number", NUMBER, primary_key=True, autoincrement=True),
        sa.Column("at_us", MICROS, nullable=False),
        sa.Column("name", Words, nullable=False),
        sa.Column("severity", Words, nullable=False),
        sa.Column("deed", Words, nullable=False),
        sa.Column("value", FLOAT),
        sa.Column("by", Words, nullable=False),
        sa.Column("text", Words, nullable=False),
        sqlite_autoincrement=True,
        **STRICT,
    )
    op.create_index("alert_history_by_name", "alert_history", ["name", "number"])
    for statement in append_only("alert_history")[op.get_bind().dialect.name]:
        op.execute(statement)
    op.create_table(
        "alert_silences",
        sa.Column("number", NUMBER, primary_key=True, autoincrement=True),
        sa.Column("name", Words, nullable=False),
        sa.Column("by", Words, nullable=False),
        sa.Column("why", Words, nullable=False),
        sa.Column("made_at_us", MICROS, nullable=False),
        sa.Column("until_us", MICROS, nullable=False),
        sa.Column("ended_at_us", MICROS),
        sa.Column("ended_by", Words),
        **STRICT,
    )
    op.create_index("alert_silences_by_end", "alert_silences", ["until_us"])
    op.create_table(
        "alert_messages",
        sa.Column("number", NUMBER, primary_key=True, autoincrement=True),
        sa.Column("key", Words, nullable=False),
        sa.Column("target", Words, nullable=False),
        sa.Column("label", Words, nullable=False),
        sa.Column("body", BYTES, nullable=False),
        sa.Column("made_at_us", MICROS, nullable=False),
        sa.Column("due_at_us", MICROS, nullable=False),
        sa.Column("tries", NUMBER, nullable=False, server_default=sa.text("0")),
        sa.Column("ended_at_us", MICROS),
        sa.Column("fate", Words, nullable=False, server_default=sa.text("'waiting'")),
        sa.Column("problem", Words, nullable=False, server_default=sa.text("''")),
        sa.CheckConstraint("fate IN ('waiting', 'sent', 'given up')", name="alert_messages_fate_is_known"),
        sqlite_autoincrement=True,
        **STRICT,
    )
    op.create_index("alert_messages_once", "alert_messages", ["key", "target"], unique=True)
    op.create_index("alert_messages_by_fate", "alert_messages", ["fate", "target", "number"])
    op.create_table(
        "alert_watcher",
        sa.Column("one", NUMBER, primary_key=True, autoincrement=False),
        sa.Column("holder", Words, nullable=False),
        sa.Column("until_us", MICROS, nullable=False),
        sa.CheckConstraint("one = 1", name="alert_watcher_there_is_one"),
        **STRICT,
    )
