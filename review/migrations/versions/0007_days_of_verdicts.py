"""Verdicts counted by the day, words of cases that wait, and indexes that hold all that decided cases are asked for."""

import sqlalchemy as sa
from alembic import op

from review.columns import FLOAT, NUMBER, Words
from review.verdict_day_tables import keeping_true
from review.waiting_word_tables import EVERY_WORD, following_cases

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Make the table and its triggers, and the indexes anew."""
    op.create_table(
        "verdict_days",
        sa.Column("day", NUMBER, primary_key=True, autoincrement=False),
        sa.Column("kind", Words, primary_key=True),
        sa.Column("name", Words, primary_key=True),
        sa.Column("verdict", Words, primary_key=True),
        sa.Column("cases", NUMBER, nullable=False),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "waiting_words",
        sa.Column("case_id", Words, primary_key=True),
        sa.Column("kind", Words, primary_key=True),
        sa.Column("word", Words, primary_key=True),
        sa.Column("rank", FLOAT, nullable=False),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    db = op.get_bind()
    if db.dialect.name == "postgresql":
        # Until the end nobody adds a case, or closes one, between what fills the table and what follows them then.
        db.exec_driver_sql("LOCK TABLE cases, terms, traits IN SHARE ROW EXCLUSIVE MODE")
    for statement in (*EVERY_WORD, *keeping_true()[db.dialect.name], *following_cases()[db.dialect.name]):
        db.exec_driver_sql(statement)
    op.create_index("waiting_words_in_order", "waiting_words", ["kind", "word", "rank", "case_id"])
    filtered = "snoozed_until_us due_at_us expected_loss outcome use_case claimed_until_us claimed_by assigned_to"
    told = ["verdict", "sampled", "led_by", "decided_by", "opened_at_us"]
    op.drop_index("cases_by_decision", "cases")
    op.drop_index("cases_by_entity", "cases")
    for name, table, columns, where in (
        (
            "cases_by_decision",
            "cases",
            ["status", "decided_at_us", "case_id", *filtered.split(), *told],
            "status = 'decided'",
        ),
        ("audit_reversed", "audit", ["deed", "at_us", "detail"], "deed = 'reversed'"),
    ):
        op.create_index(name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
    op.create_index("cases_by_entity", "cases", ["use_case", "entity", "status", "number", "case_id"])
