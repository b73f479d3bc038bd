"""Indexes from which a search, the list of decided cases, precision and the audit sample are read alone."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make the indexes."""
    filtered = "snoozed_until_us due_at_us expected_loss outcome use_case claimed_until_us claimed_by assigned_to"
    op.create_index("cases_found", "cases", ["case_id", "status", "rank", *filtered.split()])
    op.drop_index("cases_by_decision", "cases")
    told = ["status", "decided_at_us", "case_id", "verdict", "sampled", "led_by", "decided_by"]
    for name, columns, where in (
        ("cases_by_decision", told, "status = 'decided'"),
        ("cases_sampled", ["sampled", "opened_at_us", "status", "verdict"], "sampled = 1"),
    ):
        op.create_index(name, "cases", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
