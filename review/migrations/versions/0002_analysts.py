"""What analysts work with: ranks, claims, snoozes, proposals, traits, search terms, notes, evidence, views, undo."""

from __future__ import annotations

from typing import Any

from alembic import op
from sqlalchemy import Connection, text

from review.case import Case, is_gravest, joined_by, opened_by
from review.nearest import packed
from review.precision import leader_of
from review.review_policy import ReviewPolicy
from review.tables import append_only
from review.terms import terms_of
from review.traits import traits_of
from stream.records import Decision, decode, micros

revision = "0002"
down_revision = "0001"

OLD = ("flags", "cases", "outbox", "audit", "offsets")
TABLES = (
    """
    CREATE TABLE cases (
        number {number}, case_id {words} NOT NULL, use_case {words} NOT NULL, entity {words} NOT NULL,
        event_id {words} NOT NULL, merchant_id {words} NOT NULL, opened_at_us {whole} NOT NULL,
        due_at_us {whole} NOT NULL, outcome {words} NOT NULL, score {real} NOT NULL, amount {real} NOT NULL,
        currency {words} NOT NULL, expected_loss {real} NOT NULL, loss_ranked {real} NOT NULL, rank {real} NOT NULL,
        reasons {bytes} NOT NULL, rules {bytes} NOT NULL, led_by {words} NOT NULL, event_count {whole} NOT NULL,
        sampled {whole} DEFAULT 0 NOT NULL, status {words} NOT NULL, verdict {words}, decided_by {words},
        decided_at_us {whole}, proposed {words}, proposed_by {words}, claimed_by {words},
        claimed_until_us {whole} DEFAULT 0 NOT NULL, assigned_to {words},
        snoozed_until_us {whole} DEFAULT 0 NOT NULL, undo_until_us {whole}, "before" {bytes},
        CONSTRAINT cases_status_is_known CHECK (status IN ('open', 'proposed', 'decided')),
        CONSTRAINT cases_verdict_is_known CHECK (verdict IN ('fraud', 'legit', 'unknown')),
        CONSTRAINT cases_proposed_is_known CHECK (proposed IN ('fraud', 'legit', 'unknown')),
        CONSTRAINT cases_case_id_is_unique UNIQUE (case_id)
    ) {strict}
    """,
    "CREATE INDEX cases_by_decision ON cases (decided_at_us, case_id) WHERE status = 'decided'",
    "CREATE INDEX cases_by_entity ON cases (use_case, entity, status, number)",
    """
    CREATE INDEX cases_in_queue ON cases
        (status, rank, case_id, snoozed_until_us, due_at_us, expected_loss,
        outcome, use_case, claimed_until_us, claimed_by, assigned_to)
    """,
    """
    CREATE TABLE flags (
        number {number}, event_id {words} NOT NULL, case_id {words} NOT NULL, decision {bytes} NOT NULL,
        CONSTRAINT flags_event_id_is_unique UNIQUE (event_id),
        CONSTRAINT flags_case_id_is_known FOREIGN KEY(case_id) REFERENCES cases (case_id)
    ) {strict}
    """,
    "CREATE INDEX flags_by_case ON flags (case_id, number)",
    """
    CREATE TABLE traits (
        kind {words} NOT NULL, value {words} NOT NULL, case_id {words} NOT NULL,
        CONSTRAINT traits_pkey PRIMARY KEY (kind, value, case_id),
        CONSTRAINT traits_case_id_is_known FOREIGN KEY(case_id) REFERENCES cases (case_id)
    ) {keyed}
    """,
    "CREATE INDEX traits_by_case ON traits (case_id, kind, value)",
    """
    CREATE TABLE terms (
        term {words} NOT NULL, case_id {words} NOT NULL,
        CONSTRAINT terms_pkey PRIMARY KEY (term, case_id),
        CONSTRAINT terms_case_id_is_known FOREIGN KEY(case_id) REFERENCES cases (case_id)
    ) {keyed}
    """,
    "CREATE INDEX terms_by_case ON terms (case_id, term)",
    """
    CREATE TABLE vectors (
        case_id {words} NOT NULL, definition_hash {words} NOT NULL, vector {bytes} NOT NULL,
        CONSTRAINT vectors_pkey PRIMARY KEY (case_id),
        CONSTRAINT vectors_case_id_is_known FOREIGN KEY(case_id) REFERENCES cases (case_id)
    ) {strict}
    """,
    """
    CREATE TABLE outbox (
        number {counted}, identity {words} NOT NULL, label {bytes} NOT NULL, case_id {words} DEFAULT '' NOT NULL,
        decided_at_us {whole} DEFAULT 0 NOT NULL, not_before_us {whole} DEFAULT 0 NOT NULL,
        leaving {whole} DEFAULT 0 NOT NULL, sent {whole} DEFAULT 0 NOT NULL,
        CONSTRAINT outbox_identity_is_unique UNIQUE (identity)
    ) {strict}
    """,
    "CREATE INDEX outbox_by_case ON outbox (case_id, number)",
    "CREATE INDEX outbox_unsent ON outbox (number) WHERE sent = 0",
    """
    CREATE TABLE audit (
        number {counted}, case_id {words} NOT NULL, at_us {whole} NOT NULL, "by" {words}, deed {words} NOT NULL,
        event_id {words}, verdict {words}, detail {words}
    ) {strict}
    """,
    "CREATE INDEX audit_by_case ON audit (case_id, number)",
    """
    CREATE TABLE notes (
        number {counted}, case_id {words} NOT NULL, at_us {whole} NOT NULL, "by" {words} NOT NULL,
        text {words} NOT NULL,
        CONSTRAINT notes_case_id_is_known FOREIGN KEY(case_id) REFERENCES cases (case_id)
    ) {strict}
    """,
    "CREATE INDEX notes_by_case ON notes (case_id, number)",
    """
    CREATE TABLE evidence (
        number {counted}, case_id {words} NOT NULL, at_us {whole} NOT NULL, "by" {words} NOT NULL,
        url {words} NOT NULL, title {words} NOT NULL,
        CONSTRAINT evidence_case_id_is_known FOREIGN KEY(case_id) REFERENCES cases (case_id)
    ) {strict}
    """,
    "CREATE INDEX evidence_by_case ON evidence (case_id, number)",
    """
    CREATE TABLE saved_views (
        owner {words} NOT NULL, name {words} NOT NULL, filter {bytes} NOT NULL, shared {whole} NOT NULL,
        CONSTRAINT saved_views_pkey PRIMARY KEY (owner, name)
    ) {strict}
    """,
    """
    CREATE TABLE facts (
        name {words} NOT NULL, value {bytes} NOT NULL,
        CONSTRAINT facts_pkey PRIMARY KEY (name)
    ) {strict}
    """,
    """
    CREATE TABLE offsets (
        log {words} NOT NULL, topic {words} NOT NULL, number {whole} NOT NULL, next {whole} NOT NULL,
        CONSTRAINT offsets_pkey PRIMARY KEY (log, topic, number)
    ) {strict}
    """,
)
SQLITE = {
    "number": "INTEGER NOT NULL PRIMARY KEY",
    "counted": "INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT",
    "whole": "INTEGER",
    "words": "TEXT",
    "real": "REAL",
    "bytes": "BLOB",
    "strict": "STRICT",
    "keyed": "WITHOUT ROWID, STRICT",
}
POSTGRESQL = {
    "number": "BIGSERIAL PRIMARY KEY",
    "counted": "BIGSERIAL PRIMARY KEY",
    "whole": "BIGINT",
    "words": 'VARCHAR COLLATE "C"',
    "real": "DOUBLE PRECISION",
    "bytes": "BYTEA",
    "strict": "",
    "keyed": "",
}
KEPT = {
    "outbox": "number, identity, label, sent",
    "audit": 'number, case_id, at_us, "by", deed, event_id, verdict',
    "offsets": "log, topic, number, next",
    "flags": "number, event_id, case_id, decision",
}
SAME = (
    "number, case_id, use_case, entity, event_id, opened_at_us, outcome, score, amount, currency, expected_loss, "
    "reasons, rules, event_count, status, verdict, decided_by, decided_at_us"
)


def upgrade() -> None:
    """Take the step. What cases are linked, found and compared by is made of their decisions."""
    db = op.get_bind()
    on_sqlite = db.dialect.name == "sqlite"
    if on_sqlite:
        _put_aside()
    for statement in TABLES:
        op.execute(statement.format(**(SQLITE if on_sqlite else POSTGRESQL)))
    for statement in append_only("audit")[db.dialect.name]:
        op.execute(statement)
    if on_sqlite:
        _take_over(db)


def _put_aside() -> None:
    for index in ("cases_in_queue", "cases_by_entity", "flags_by_case", "outbox_unsent", "audit_by_case"):
        op.execute(f"DROP INDEX {index}")
    for trigger in ("audit_keeps_its_rows", "audit_keeps_its_words"):
        op.execute(f"DROP TRIGGER {trigger}")
    for table in OLD:
        op.execute(f"ALTER TABLE {table} RENAME TO old_{table}")


def _take_over(db: Connection) -> None:
    new = "merchant_id, due_at_us, loss_ranked, rank, led_by"
    same = f"INSERT INTO cases ({SAME}, {new}) SELECT {SAME}, '', 0, expected_loss, 0.0, 'rules' FROM old_cases"
    op.execute(f"{same} ORDER BY number")
    for table, columns in KEPT.items():
        op.execute(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM old_{table} ORDER BY rowid")
    policy = ReviewPolicy()
    for case_id, loss in db.execute(text("SELECT case_id, expected_loss FROM cases ORDER BY number")).all():
        _complete(db, policy, case_id, loss)
    db.execute(
        text(
            "UPDATE outbox SET (case_id, decided_at_us) = (SELECT c.case_id, coalesce(c.decided_at_us, 0) FROM flags f "
            "JOIN cases c ON c.case_id = f.case_id WHERE f.event_id = json_extract(CAST(label AS TEXT), '$.event_id')) "
            "WHERE EXISTS (SELECT 1 FROM flags WHERE event_id = json_extract(CAST(label AS TEXT), '$.event_id'))"
        )
    )
    for table in OLD:
        op.execute(f"DROP TABLE old_{table}")


def _complete(db: Connection, policy: ReviewPolicy, case_id: str, loss: float) -> None:
    flags = text("SELECT decision FROM flags WHERE case_id = :case_id ORDER BY number")
    contents: list[bytes] = list(db.execute(flags, {"case_id": case_id}).scalars())
    decisions: list[Decision] = [decode(content, Decision) for content in contents]
    if not decisions:
        return
    case: Case = opened_by(decisions[0], policy)
    gravest = decisions[0]
    for decision in decisions[1:]:
        gravest = decision if is_gravest(case, decision) else gravest
        case = joined_by(case, decision, policy)
    due_at_us = micros(case.due_at)
    changed = {
        "merchant_id": case.merchant_id,
        "due_at_us": due_at_us,
        "rank": policy.rank(loss, due_at_us),
        "led_by": leader_of(gravest),
    }
    columns = ", ".join(f"{name} = :{name}" for name in changed)
    db.execute(text(f"UPDATE cases SET {columns} WHERE case_id = :case_id"), changed | {"case_id": case_id})
    links = [{"kind": kind, "value": value} for kind, value in {pair for one in decisions for pair in traits_of(one)}]
    words = [{"term": term} for term in {term for one in decisions for term in terms_of(one, case_id)}]
    vector = {"definition_hash": gravest.definition_hash, "vector": packed(gravest.vector)}
    put: dict[str, list[dict[str, Any]]] = {"traits": [*links], "terms": [*words], "vectors": [vector]}
    for table, rows in put.items():
        names = ["case_id", *rows[0]]
        marks = ", ".join(f":{name}" for name in names)
        db.execute(
            text(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})"),
            [row | {"case_id": case_id} for row in rows],
        )
