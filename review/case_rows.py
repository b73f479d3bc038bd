"""Cases as rows: reading them, locking one to change it, and noting in the audit what was done."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, RowMapping, Select, bindparam, insert, select, text, update

from review.case import AuditEntry, Case, Deed
from review.engine import Database
from review.refusals import ClaimedBy, UnknownCase
from review.review_policy import ReviewPolicy
from review.tables import AUDIT, CASES, EVIDENCE, FLAGS, NOTES
from stream.records import Reason, Verdict, from_micros, micros

_COLUMNS = (
    "case_id use_case entity event_id merchant_id opened_at_us due_at_us outcome score amount currency expected_loss "
    "rank reasons rules status verdict decided_by decided_at_us proposed proposed_by claimed_by claimed_until_us "
    "assigned_to snoozed_until_us undo_until_us"
)
COLUMNS = tuple(CASES.c[name] for name in _COLUMNS.split())
_TIMES = ("opened_at", "due_at", "decided_at", "undo_until")
_ENDS = ("claimed_until", "snoozed_until")

_reasons = msgspec.json.Decoder(tuple[Reason, ...])
_rules = msgspec.json.Decoder(tuple[str, ...])
_EVENTS = (
    select(FLAGS.c.case_id, FLAGS.c.event_id)
    .where(FLAGS.c.case_id.in_(bindparam("case_ids", expanding=True)))
    .order_by(FLAGS.c.number)
)
_CHANGE = update(CASES).where(CASES.c.case_id == bindparam("of_case"))
_NOTE = insert(AUDIT)
_IN_TURN = text(f"SELECT pg_advisory_xact_lock({0x61756469})")


class CaseRows:
    """What every part of the store stands on. Any number of threads may use it at once."""

    def __init__(self, database: Database, policy: ReviewPolicy) -> None:
        self.database = database
        self.policy = policy

    def _found(self, db: Connection, statement: Select[Any]) -> list[Case]:
        """The cases of rows with `COLUMNS`, in their order. Within a transaction, so that each is whole."""
        rows = db.execute(statement).mappings().all()
        events: dict[str, list[str]] = {row["case_id"]: [] for row in rows}
        if events:
            for case_id, event_id in db.execute(_EVENTS, {"case_ids": list(events)}):
                events[case_id].append(event_id)
        return [_case(row, events[row["case_id"]]) for row in rows]

    def _one(self, db: Connection, case_id: str, lock: bool = False) -> Case:
        """One case, locked until the transaction ends if it is to be changed. Raises `UnknownCase`."""
        statement = select(*COLUMNS).where(CASES.c.case_id == case_id)
        found = self._found(db, statement.with_for_update() if lock else statement)
        if not found:
            raise UnknownCase(f"there is no case {case_id!r}; 'headrace review list' shows those that are open")
        return found[0]

    def _unclaimed(self, db: Connection, case_id: str, by: str, at: datetime) -> Case:
        """One case, locked, that nobody else is at. Raises `UnknownCase` and `ClaimedBy`."""
        case = self._one(db, case_id, lock=True)
        holder = case.holder(at)
        if holder is not None and holder != by and case.claimed_until is not None:
            raise ClaimedBy(case_id, holder, case.claimed_until)
        return case

    def _change(self, db: Connection, case_id: str, **columns: Any) -> None:
        db.execute(_CHANGE.values(**columns), {"of_case": case_id})

    def _note(
        self,
        db: Connection,
        case_id: str,
        deed: Deed,
        by: str | None,
        at: datetime,
        verdict: Verdict | None = None,
        detail: str | None = None,
    ) -> None:
        """Add to the audit. `detail` names people, times and numbers, never an entity: the audit outlives them."""
        add_to_audit(db, [noted(case_id, deed, by, at, verdict=verdict, detail=detail)])


def noted(
    case_id: str,
    deed: Deed,
    by: str | None,
    at: datetime,
    event_id: str | None = None,
    verdict: Verdict | None = None,
    detail: str | None = None,
) -> dict[str, Any]:
    """A row of the audit."""
    row = {"case_id": case_id, "at_us": micros(at), "by": by, "deed": deed}
    return row | {"event_id": event_id, "verdict": verdict, "detail": detail}


def add_to_audit(db: Connection, rows: list[dict[str, Any]]) -> None:
    """Add rows whose numbers follow the order in which transactions end: who reads on from a number misses none.

    PostgreSQL gives numbers when a row is added; so from then on, until its end, no other transaction adds any. Call it
    after every row is locked that the transaction will change, so that nobody waits for somebody who waits for them.
    """
    if db.dialect.name == "postgresql":
        db.execute(_IN_TURN)
    db.execute(_NOTE, rows)


def entries(
    db: Connection, condition: ColumnElement[bool], limit: int | None = None, newest: int | None = None
) -> list[tuple[int, AuditEntry]]:
    """The audit's entries with their numbers, in order, with the words of notes and the titles of evidence.

    The first of them up to a limit, or the `newest` so many.
    """
    columns = [AUDIT.c[name] for name in ("number", "case_id", "at_us", "by", "deed", "event_id", "verdict", "detail")]
    chosen = select(*columns).where(condition)
    if newest is None:
        rows = db.execute(chosen.order_by(AUDIT.c.number).limit(limit)).all()
    else:
        rows = db.execute(chosen.order_by(AUDIT.c.number.desc()).limit(newest)).all()[::-1]
    words = _words(db, rows)
    return [
        (
            number,
            AuditEntry(
                case_id=case_id,
                at=from_micros(at_us),
                by=by,
                deed=deed,
                event_id=event_id,
                verdict=verdict,
                text=words.get((deed, detail), None if deed in ("noted", "evidence") else detail),
            ),
        )
        for number, case_id, at_us, by, deed, event_id, verdict, detail in rows
    ]


def _words(db: Connection, rows: Sequence[Any]) -> dict[tuple[str, str], str]:
    """What notes and evidence say, by the deed and the number that the audit has of them, unless erased."""
    found: dict[tuple[str, str], str] = {}
    for deed, column in (("noted", NOTES.c.text), ("evidence", EVIDENCE.c.title)):
        numbers = [int(row.detail) for row in rows if row.deed == deed]
        if numbers:
            statement = select(column.table.c.number, column).where(column.table.c.number.in_(numbers))
            found |= {(deed, str(number)): text for number, text in db.execute(statement)}
    return found


def _case(row: RowMapping, events: list[str]) -> Case:
    columns = dict(row)
    for name in _TIMES:
        at_us = columns.pop(f"{name}_us")
        columns[name] = None if at_us is None else from_micros(at_us)
    for name in _ENDS:
        columns[name] = from_micros(at_us) if (at_us := columns.pop(f"{name}_us")) else None
    columns["reasons"] = _reasons.decode(columns["reasons"])
    columns["rules"] = _rules.decode(columns["rules"])
    return Case(events=tuple(events), **columns)


def figures(case: Case) -> dict[str, Any]:
    """The columns that change when another event joins."""
    return {
        "event_id": case.event_id,
        "merchant_id": case.merchant_id,
        "due_at_us": micros(case.due_at),
        "outcome": case.outcome,
        "score": case.score,
        "amount": case.amount,
        "currency": case.currency,
        "expected_loss": case.expected_loss,
        "loss_ranked": case.expected_loss,
        "rank": case.rank,
        "reasons": msgspec.json.encode(case.reasons),
        "rules": msgspec.json.encode(case.rules),
        "event_count": len(case.events),
        "snoozed_until_us": 0 if case.snoozed_until is None else micros(case.snoozed_until),
    }
