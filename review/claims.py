"""Who is at which case: one at a time, until the verdict, a release, or as long as they do something."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, or_

from review.case import Case, source_of
from review.case_filter import QueueFilter
from review.case_order import conditions, first_named, free, in_order
from review.case_queue import EVERY, CaseQueue
from review.case_sources import sources_of
from review.refusals import NotOpen
from review.tables import CASES
from stream.records import micros


class Claims(CaseQueue):
    """Claims are in force for the policy's `claim_idle_s` since their analyst last did something."""

    def claim(self, case_id: str, by: str, now: datetime) -> Case:
        """Take a case: nobody else may decide it. Of two at once one gets it.

        Raises `UnknownCase`, `ClaimedBy`, and `NotOpen` for one that is decided.
        """
        source_of(by)
        with self.database.writing() as db:
            case = _undecided(self._unclaimed(db, case_id, by, now))
            if case.holder(now) != by:
                self._note(db, case_id, "claimed", by, now)
            return self._held(db, case_id, by, now)

    def take_over(self, case_id: str, by: str, now: datetime) -> Case:
        """Take a case from whoever is at it, as leads may; the audit says from whom. One that nobody is at is claimed.

        What the other does to it from then on is refused. Raises `UnknownCase`, and `NotOpen` for one that is decided.
        """
        source_of(by)
        with self.database.writing() as db:
            holder = _undecided(self._one(db, case_id, lock=True)).holder(now)
            if holder is None:
                self._note(db, case_id, "claimed", by, now)
            elif holder != by:
                self._note(db, case_id, "taken_over", by, now, detail=holder)
            return self._held(db, case_id, by, now)

    def claim_next(self, by: str, now: datetime, filter: QueueFilter = EVERY) -> Case | None:
        """Take the first case of a filter that nobody is at and that is assigned to nobody else; None without one.

        Two who ask at once get two cases, and neither waits for the other. A case they proposed is for somebody else.
        """
        source_of(by)
        c = CASES.c
        with self.database.writing() as db:
            wanted = [free(None, micros(now)), c.status != "decided", or_(c.proposed_by.is_(None), c.proposed_by != by)]
            if filter.assigned_to is None:
                wanted.append(or_(c.assigned_to.is_(None), c.assigned_to == by))
            sources = sources_of(db, filter)
            if sources and filter.status != "decided":
                found = first_named(db, sources, [*conditions(filter, now, by), *wanted], None, 1, lock=True)
                case_id = found[0] if found else None
            else:
                statement = in_order(sources, filter, now, by).where(*wanted).limit(1)
                case_id = db.execute(statement.with_for_update(skip_locked=True, of=CASES)).scalar()
            if case_id is None:
                return None
            self._note(db, case_id, "claimed", by, now)
            return self._held(db, case_id, by, now)

    def touch(self, case_id: str, by: str, now: datetime) -> Case:
        """Their claim goes on, also one that was idle for too long if nobody took the case. Without a claim, nothing.

        Raises `UnknownCase` and `ClaimedBy`.
        """
        with self.database.writing() as db:
            case = self._unclaimed(db, case_id, by, now)
            if case.claimed_by == by:
                self._change(db, case_id, claimed_until_us=self._idle_us(now))
            return self._one(db, case_id)

    def release(self, case_id: str, by: str, now: datetime) -> Case:
        """Give a case back. One that they do not hold stays as it is. Raises `UnknownCase`."""
        with self.database.writing() as db:
            case = self._one(db, case_id, lock=True)
            if case.claimed_by == by:
                self._change(db, case_id, claimed_by=None, claimed_until_us=0)
                self._note(db, case_id, "released", by, now)
            return self._one(db, case_id)

    def _held(self, db: Connection, case_id: str, by: str, now: datetime) -> Case:
        self._change(db, case_id, claimed_by=by, claimed_until_us=self._idle_us(now))
        return self._one(db, case_id)

    def _idle_us(self, now: datetime) -> int:
        return micros(now + timedelta(seconds=self.policy.claim_idle_s))


def _undecided(case: Case) -> Case:
    if case.status == "decided":
        raise NotOpen(f"case {case.case_id} is {case.verdict} by {case.decided_by}; reopen it, or give another verdict")
    return case
