"""Decided cases as examples, to look for rules in: each case's gravest event and whether it was fraud."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Select, select

from review.case_store import CaseStore
from review.rule_facts import Example
from review.tables import CASES, FLAGS
from stream.records import Decision, Verdict, decode

EXAMPLES_LIMIT = 2000


def examples_of(cases: CaseStore, case_ids: Sequence[str]) -> list[Example]:
    """These cases as far as they are decided as fraud or legit and were not erased; at most `EXAMPLES_LIMIT`."""
    return _read(cases, _judged("fraud", "legit").where(CASES.c.case_id.in_(list(case_ids)[:EXAMPLES_LIMIT])))


def newest_examples(cases: CaseStore, verdict: Verdict, limit: int = EXAMPLES_LIMIT) -> list[Example]:
    """The cases that were decided so last."""
    newest = CASES.c.decided_at_us.desc(), CASES.c.case_id.desc()
    return _read(cases, _judged(verdict).order_by(*newest).limit(min(limit, EXAMPLES_LIMIT)))


def _judged(*verdicts: Verdict) -> Select[str, bytes]:
    join = FLAGS.c.event_id == CASES.c.event_id
    chosen = select(CASES.c.verdict, FLAGS.c.decision).select_from(CASES).join(FLAGS, join)
    return chosen.where(CASES.c.status == "decided", CASES.c.verdict.in_(verdicts))


def _read(cases: CaseStore, statement: Select[str, bytes]) -> list[Example]:
    with cases.database.reading() as db:
        rows = db.execute(statement).all()
    return [Example(decode(content, Decision), verdict == "fraud") for verdict, content in rows]
