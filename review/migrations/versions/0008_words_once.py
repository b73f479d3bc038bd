"""Words of cases that wait are written once, and among those of closed cases only from the verdict on."""

from alembic import op

from review.waiting_word_tables import moving_with_verdicts

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Make the trigger anew that follows a verdict. What waits and is in both places already may stay so."""
    db = op.get_bind()
    for statement in moving_with_verdicts()[db.dialect.name]:
        db.exec_driver_sql(statement)
