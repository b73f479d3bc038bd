"""Accounts: people, their sessions and links, tries to sign in, and the audit of it."""

import sqlalchemy as sa
from alembic import op

from review.columns import BYTES, MICROS, NUMBER, Words
from review.tables import append_only

revision = "0003"
down_revision = "0002"

STRICT = {"sqlite_strict": True}


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "accounts",
        sa.Column("account_id", NUMBER, primary_key=True, autoincrement=True),
        sa.Column("name", Words, nullable=False),
        sa.Column("role", Words, nullable=False),
        sa.Column("state", Words, nullable=False),
        sa.Column("password", Words),
        sa.Column("subject", Words),
        sa.Column("made_at_us", MICROS, nullable=False),
        sa.Column("signed_in_at_us", MICROS),
        sa.CheckConstraint("role IN ('viewer', 'analyst', 'lead', 'admin')", name="accounts_role_is_known"),
        sa.CheckConstraint("state IN ('invited', 'active', 'off')", name="accounts_state_is_known"),
        sa.UniqueConstraint("name", name="accounts_name_is_unique"),
        sa.UniqueConstraint("subject", name="accounts_subject_is_unique"),
        **STRICT,
    )
    op.create_table(
        "account_sessions",
        sa.Column("session_id", Words, primary_key=True),
        sa.Column("token_hash", BYTES, nullable=False),
        sa.Column(
            "account_id",
            NUMBER,
            sa.ForeignKey("accounts.account_id", name="account_sessions_account_id_is_known"),
            nullable=False,
        ),
        sa.Column("made_at_us", MICROS, nullable=False),
        sa.Column("seen_at_us", MICROS, nullable=False),
        sa.Column("ends_at_us", MICROS, nullable=False),
        sa.Column("address", Words, nullable=False),
        sa.Column("agent", Words, nullable=False),
        sa.UniqueConstraint("token_hash", name="account_sessions_token_hash_is_unique"),
        **STRICT,
    )
    op.create_index("account_sessions_by_account", "account_sessions", ["account_id", "seen_at_us"])
    op.create_table(
        "account_links",
        sa.Column("token_hash", BYTES, primary_key=True),
        sa.Column("account_id", NUMBER, sa.ForeignKey("accounts.account_id", name="account_links_account_id_is_known")),
        sa.Column("made_at_us", MICROS, nullable=False),
        sa.Column("ends_at_us", MICROS, nullable=False),
        **STRICT,
    )
    op.create_table(
        "account_devices",
        sa.Column("token_hash", BYTES, primary_key=True),
        sa.Column(
            "account_id",
            NUMBER,
            sa.ForeignKey("accounts.account_id", name="account_devices_account_id_is_known"),
            nullable=False,
        ),
        sa.Column("seen_at_us", MICROS, nullable=False),
        **STRICT,
    )
    op.create_index("account_devices_by_account", "account_devices", ["account_id", "seen_at_us"])
    op.create_table(
        "account_tries",
        sa.Column("key", BYTES, primary_key=True),
        sa.Column("failures", NUMBER, nullable=False),
        sa.Column("last_at_us", MICROS, nullable=False),
        sa.Column("free_at_us", MICROS, nullable=False),
        **STRICT,
    )
    op.create_index("account_tries_by_time", "account_tries", ["last_at_us"])
    op.create_table(
        "account_deeds",
        sa.Column("number", NUMBER, primary_key=True, autoincrement=True),
        sa.Column("at_us", MICROS, nullable=False),
        sa.Column("name", Words, nullable=False),
        sa.Column("deed", Words, nullable=False),
        sa.Column("by", Words, nullable=False),
        sa.Column("address", Words, nullable=False),
        sa.Column("agent", Words, nullable=False),
        sa.Column("detail", Words, nullable=False),
        sqlite_autoincrement=True,
        **STRICT,
    )
    op.create_index("account_deeds_by_name", "account_deeds", ["name", "number"])
    for statement in append_only("account_deeds")[op.get_bind().dialect.name]:
        op.execute(statement)
