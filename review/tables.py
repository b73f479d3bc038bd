"""The tables of cases, in the one catalogue of tables that every part of the review room adds its own to."""

from __future__ import annotations

from typing import Any

from sqlalchemy import DDL, CheckConstraint, Column, ForeignKey, Index, MetaData, Table, event, text

from review.columns import BYTES, FLOAT, MICROS, NUMBER, Words

METADATA = MetaData(
    naming_convention={
        "ix": "%(table_name)s_by_%(column_0_N_name)s",
        "uq": "%(table_name)s_%(column_0_N_name)s_is_unique",
        "ck": "%(table_name)s_%(constraint_name)s",
        "fk": "%(table_name)s_%(column_0_name)s_is_known",
        "pk": "%(table_name)s_pkey",
    }
)

STRICT: dict[str, Any] = {"sqlite_strict": True}
WITHOUT_ROWID: dict[str, Any] = {"sqlite_strict": True, "sqlite_with_rowid": False}

# `number` is the order of arrival. `rank` is the place in the queue, the greatest first; `loss_ranked` is the loss that
# it was made of. `before` is what an undo restores until `undo_until_us`.
CASES = Table(
    "cases",
    METADATA,
    Column("number", NUMBER, primary_key=True, autoincrement=True),
    Column("case_id", Words, nullable=False, unique=True),
    Column("use_case", Words, nullable=False),
    Column("entity", Words, nullable=False),
    Column("event_id", Words, nullable=False),
    Column("merchant_id", Words, nullable=False),
    Column("opened_at_us", MICROS, nullable=False),
    Column("due_at_us", MICROS, nullable=False),
    Column("outcome", Words, nullable=False),
    Column("score", FLOAT, nullable=False),
    Column("amount", FLOAT, nullable=False),
    Column("currency", Words, nullable=False),
    Column("expected_loss", FLOAT, nullable=False),
    Column("loss_ranked", FLOAT, nullable=False),
    Column("rank", FLOAT, nullable=False),
    Column("reasons", BYTES, nullable=False),
    Column("rules", BYTES, nullable=False),
    Column("led_by", Words, nullable=False),
    Column("event_count", NUMBER, nullable=False),
    Column("sampled", NUMBER, nullable=False, server_default=text("0")),
    Column("status", Words, nullable=False),
    Column("verdict", Words),
    Column("decided_by", Words),
    Column("decided_at_us", MICROS),
    Column("proposed", Words),
    Column("proposed_by", Words),
    Column("claimed_by", Words),
    Column("claimed_until_us", MICROS, nullable=False, server_default=text("0")),
    Column("assigned_to", Words),
    Column("snoozed_until_us", MICROS, nullable=False, server_default=text("0")),
    Column("undo_until_us", MICROS),
    Column("before", BYTES),
    CheckConstraint("status IN ('open', 'proposed', 'decided')", name="status_is_known"),
    CheckConstraint("verdict IN ('fraud', 'legit', 'unknown')", name="verdict_is_known"),
    CheckConstraint("proposed IN ('fraud', 'legit', 'unknown')", name="proposed_is_known"),
    **STRICT,
)
_c = CASES.c
# What a filter looks at, so that no row of the table is read for a case that is not on the page.
_FILTERED = (
    _c.snoozed_until_us,
    _c.due_at_us,
    _c.expected_loss,
    _c.outcome,
    _c.use_case,
    _c.claimed_until_us,
    _c.claimed_by,
    _c.assigned_to,
)
# A page of the queue in its order; and what a search finds, case by case.
Index("cases_in_queue", _c.status, _c.rank, _c.case_id, *_FILTERED)
Index("cases_found", _c.case_id, _c.status, _c.rank, *_FILTERED)
Index("cases_by_entity", _c.use_case, _c.entity, _c.status, _c.number, _c.case_id)
_decided, _sampled = _c.status == "decided", _c.sampled == 1
# With the status, though there is but one: SQLite would take any index that begins with it.
Index(
    "cases_by_decision",
    _c.status,
    _c.decided_at_us,
    _c.case_id,
    *_FILTERED,
    _c.verdict,
    _c.sampled,
    _c.led_by,
    _c.decided_by,
    _c.opened_at_us,
    sqlite_where=_decided,
    postgresql_where=_decided,
)
Index(
    "cases_sampled",
    _c.sampled,
    _c.opened_at_us,
    _c.status,
    _c.verdict,
    sqlite_where=_sampled,
    postgresql_where=_sampled,
)

FLAGS = Table(
    "flags",
    METADATA,
    Column("number", NUMBER, primary_key=True, autoincrement=True),
    Column("event_id", Words, nullable=False, unique=True),
    Column("case_id", Words, ForeignKey("cases.case_id"), nullable=False),
    Column("decision", BYTES, nullable=False),
    **STRICT,
)
Index("flags_by_case", FLAGS.c.case_id, FLAGS.c.number)

# What cases have in common: `kind` is one of `review.traits.KINDS`.
TRAITS = Table(
    "traits",
    METADATA,
    Column("kind", Words, primary_key=True),
    Column("value", Words, primary_key=True),
    Column("case_id", Words, ForeignKey("cases.case_id"), primary_key=True),
    **WITHOUT_ROWID,
)
Index("traits_by_case", TRAITS.c.case_id, TRAITS.c.kind, TRAITS.c.value)

# What a search finds closed cases by: lower-case words of ids, each of which begins at a place where people begin to
# read. Those of cases that wait are in `review.waiting_word_tables`, and in stores of older versions also here.
TERMS = Table(
    "terms",
    METADATA,
    Column("term", Words, primary_key=True),
    Column("case_id", Words, ForeignKey("cases.case_id"), primary_key=True),
    **WITHOUT_ROWID,
)
Index("terms_by_case", TERMS.c.case_id, TERMS.c.term)

# The vector of a case's gravest event: float32, NaN where unknown.
VECTORS = Table(
    "vectors",
    METADATA,
    Column("case_id", Words, ForeignKey("cases.case_id"), primary_key=True),
    Column("definition_hash", Words, nullable=False),
    Column("vector", BYTES, nullable=False),
    **STRICT,
)

# `leaving` was set before a label was given to the log: from then on no undo may take it back.
OUTBOX = Table(
    "outbox",
    METADATA,
    Column("number", NUMBER, primary_key=True, autoincrement=True),
    Column("identity", Words, nullable=False, unique=True),
    Column("label", BYTES, nullable=False),
    Column("case_id", Words, nullable=False, server_default=text("''")),
    Column("decided_at_us", MICROS, nullable=False, server_default=text("0")),
    Column("not_before_us", MICROS, nullable=False, server_default=text("0")),
    Column("leaving", NUMBER, nullable=False, server_default=text("0")),
    Column("sent", NUMBER, nullable=False, server_default=text("0")),
    sqlite_autoincrement=True,
    **STRICT,
)
Index("outbox_unsent", OUTBOX.c.number, sqlite_where=OUTBOX.c.sent == 0, postgresql_where=OUTBOX.c.sent == 0)
Index("outbox_by_case", OUTBOX.c.case_id, OUTBOX.c.number)

AUDIT = Table(
    "audit",
    METADATA,
    Column("number", NUMBER, primary_key=True, autoincrement=True),
    Column("case_id", Words, nullable=False),
    Column("at_us", MICROS, nullable=False),
    Column("by", Words),
    Column("deed", Words, nullable=False),
    Column("event_id", Words),
    Column("verdict", Words),
    Column("detail", Words),
    sqlite_autoincrement=True,
    **STRICT,
)
Index("audit_by_case", AUDIT.c.case_id, AUDIT.c.number)
_reversed = AUDIT.c.deed == "reversed"
Index(
    "audit_reversed",
    AUDIT.c.deed,
    AUDIT.c.at_us,
    AUDIT.c.detail,
    sqlite_where=_reversed,
    postgresql_where=_reversed,
)

NOTES = Table(
    "notes",
    METADATA,
    Column("number", NUMBER, primary_key=True, autoincrement=True),
    Column("case_id", Words, ForeignKey("cases.case_id"), nullable=False),
    Column("at_us", MICROS, nullable=False),
    Column("by", Words, nullable=False),
    Column("text", Words, nullable=False),
    sqlite_autoincrement=True,
    **STRICT,
)
Index("notes_by_case", NOTES.c.case_id, NOTES.c.number)

EVIDENCE = Table(
    "evidence",
    METADATA,
    Column("number", NUMBER, primary_key=True, autoincrement=True),
    Column("case_id", Words, ForeignKey("cases.case_id"), nullable=False),
    Column("at_us", MICROS, nullable=False),
    Column("by", Words, nullable=False),
    Column("url", Words, nullable=False),
    Column("title", Words, nullable=False),
    sqlite_autoincrement=True,
    **STRICT,
)
Index("evidence_by_case", EVIDENCE.c.case_id, EVIDENCE.c.number)

VIEWS = Table(
    "saved_views",
    METADATA,
    Column("owner", Words, primary_key=True),
    Column("name", Words, primary_key=True),
    Column("filter", BYTES, nullable=False),
    Column("shared", NUMBER, nullable=False),
    **STRICT,
)

# What the store itself must remember: the secret of the audit sample, the policy that ranks were made by.
FACTS = Table(
    "facts", METADATA, Column("name", Words, primary_key=True), Column("value", BYTES, nullable=False), **STRICT
)

OFFSETS = Table(
    "offsets",
    METADATA,
    Column("log", Words, primary_key=True),
    Column("topic", Words, primary_key=True),
    Column("number", NUMBER, primary_key=True, autoincrement=False),
    Column("next", NUMBER, nullable=False),
    **STRICT,
)


def keep_append_only(table: Table) -> None:
    """No row of this table is ever changed or deleted, whoever asks, from its creation on."""
    for database, statements in append_only(table.name).items():
        for statement in statements:
            ddl = DDL(statement.replace("%", "%%"))  # type: ignore[no-untyped-call]
            event.listen(table, "after_create", ddl.execute_if(dialect=database))


def append_only(table: str) -> dict[str, tuple[str, ...]]:
    """The statements that keep a table append-only, by database; for migrations."""
    words = f"the {table.replace('_', ' ')} is append-only"
    return {
        "sqlite": (
            f"CREATE TRIGGER {table}_keeps_its_rows BEFORE DELETE ON {table} BEGIN SELECT RAISE(ABORT, '{words}'); END",
            f"CREATE TRIGGER {table}_keeps_its_words BEFORE UPDATE ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{words}'); END",
        ),
        "postgresql": (
            f"CREATE FUNCTION {table}_is_append_only() RETURNS trigger LANGUAGE plpgsql "
            f"AS $$ BEGIN RAISE EXCEPTION '{words}' USING ERRCODE = 'integrity_constraint_violation'; END $$",
            f"CREATE TRIGGER {table}_keeps_its_rows BEFORE DELETE OR UPDATE OR TRUNCATE ON {table} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION {table}_is_append_only()",
        ),
    }


keep_append_only(AUDIT)
