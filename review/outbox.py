"""The outbox: labels that wait until their verdict can no longer be undone, and then leave for the log."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import bindparam, case, func, or_, select, update

from review.case_rows import CaseRows
from review.tables import OUTBOX
from stream.records import Label, decode, micros


class Labels(NamedTuple):
    """Of a verdict: how many labels have not begun to leave, how many are on their way, how many are on the topic."""

    held: int
    waiting: int
    sent: int


class Outbox(CaseRows):
    """Labels on their way to the log."""

    def unsent(self, limit: int, now: datetime) -> list[Label]:
        """Labels that are due and have not been marked as sent, in the order of their verdicts.

        From now on no undo takes these back: they are noted as leaving before the caller has them. So clocks that
        differ can let an undo come too late, but never a label leave that was undone.
        """
        due = (OUTBOX.c.sent == 0, or_(OUTBOX.c.not_before_us <= micros(now), OUTBOX.c.leaving == 1))
        found = (
            select(OUTBOX.c.number, OUTBOX.c.label, OUTBOX.c.leaving).where(*due).order_by(OUTBOX.c.number).limit(limit)
        )
        with self.database.reading() as db:
            rows = db.execute(found).all()
        if any(not row.leaving for row in rows):
            with self.database.writing() as db:
                rows = db.execute(found.with_for_update()).all()
                numbers = [{"of": row.number} for row in rows]
                if numbers:
                    db.execute(update(OUTBOX).where(OUTBOX.c.number == bindparam("of")).values(leaving=1), numbers)
        return [decode(row.label, Label) for row in rows]

    def mark_sent(self, labels: Sequence[Label]) -> None:
        """These labels are in the log. Call it only after they were appended: marked too early, they can be lost."""
        if not labels:
            return
        marked = update(OUTBOX).where(OUTBOX.c.identity == bindparam("of")).values(sent=1)
        with self.database.writing() as db:
            db.execute(marked, [{"of": one.identity} for one in labels])

    def labels(self, case_id: str) -> Labels:
        """Where the labels of a case's last verdict are; none before the first verdict."""
        of_case = OUTBOX.c.case_id == case_id
        last = select(func.max(OUTBOX.c.decided_at_us)).where(of_case).scalar_subquery()
        kind = case((OUTBOX.c.sent == 1, "sent"), (OUTBOX.c.leaving == 1, "waiting"), else_="held").label("kind")
        statement = (
            select(kind, func.count().label("number")).where(of_case, OUTBOX.c.decided_at_us == last).group_by("kind")
        )
        with self.database.reading() as db:
            counts = {row.kind: row.number for row in db.execute(statement)}
        return Labels(counts.get("held", 0), counts.get("waiting", 0), counts.get("sent", 0))
