"""Cases, flags, the outbox, the audit and offsets, as the first files had them."""

from alembic import op

revision = "0001"
down_revision = None

TABLES = (
    """
    CREATE TABLE cases (
        number INTEGER PRIMARY KEY, case_id TEXT NOT NULL UNIQUE, use_case TEXT NOT NULL, entity TEXT NOT NULL,
        event_id TEXT NOT NULL, opened_at_us INTEGER NOT NULL, outcome TEXT NOT NULL, score REAL NOT NULL,
        amount REAL NOT NULL, currency TEXT NOT NULL, expected_loss REAL NOT NULL, reasons BLOB NOT NULL,
        rules BLOB NOT NULL, event_count INTEGER NOT NULL,
        status TEXT NOT NULL CHECK (status IN ('open', 'decided')),
        verdict TEXT CHECK (verdict IN ('fraud', 'legit', 'unknown')), decided_by TEXT, decided_at_us INTEGER,
        rank REAL GENERATED ALWAYS AS (-expected_loss)
    ) STRICT
    """,
    "CREATE INDEX cases_in_queue ON cases (rank, opened_at_us, case_id) WHERE status = 'open'",
    "CREATE INDEX cases_by_entity ON cases (use_case, entity, number) WHERE status = 'open'",
    """
    CREATE TABLE flags (
        number INTEGER PRIMARY KEY, event_id TEXT NOT NULL UNIQUE,
        case_id TEXT NOT NULL REFERENCES cases (case_id), decision BLOB NOT NULL
    ) STRICT
    """,
    "CREATE INDEX flags_by_case ON flags (case_id, number)",
    """
    CREATE TABLE outbox (
        number INTEGER PRIMARY KEY AUTOINCREMENT, identity TEXT NOT NULL UNIQUE, label BLOB NOT NULL,
        sent INTEGER NOT NULL DEFAULT 0
    ) STRICT
    """,
    "CREATE INDEX outbox_unsent ON outbox (number) WHERE sent = 0",
    """
    CREATE TABLE audit (
        number INTEGER PRIMARY KEY AUTOINCREMENT, case_id TEXT NOT NULL, at_us INTEGER NOT NULL, "by" TEXT,
        deed TEXT NOT NULL, event_id TEXT, verdict TEXT
    ) STRICT
    """,
    "CREATE INDEX audit_by_case ON audit (case_id, number)",
    """
    CREATE TABLE offsets (
        log TEXT NOT NULL, topic TEXT NOT NULL, number INTEGER NOT NULL, next INTEGER NOT NULL,
        PRIMARY KEY (log, topic, number)
    ) STRICT
    """,
)
TRIGGERS = (
    """
    CREATE TRIGGER audit_keeps_its_rows BEFORE DELETE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END
    """,
    """
    CREATE TRIGGER audit_keeps_its_words BEFORE UPDATE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END
    """,
)


def upgrade() -> None:
    """Take the step, in a file: stores in PostgreSQL begin with the next one."""
    if op.get_bind().dialect.name == "sqlite":
        for statement in (*TABLES, *TRIGGERS):
            op.execute(statement)
