"""Verdicts: given by one or by two, taken back while their labels wait, reversed afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import Connection, delete, func, select

from review.bulk import Bulk, Bulks
from review.case import Case, Deed, Status, label_of, source_of
from review.claims import Claims
from review.either import insert_on
from review.refusals import NeedsAnother, NotTheirs, TooLate
from review.tables import CASES, OUTBOX
from stream.records import MICROSECOND, Label, Verdict, encode, micros


class Before(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a verdict changed, as it was: what an undo restores."""

    status: Status
    verdict: Verdict | None = None
    decided_by: str | None = None
    decided_at_us: int | None = None
    proposed: Verdict | None = None
    proposed_by: str | None = None
    claimed_by: str | None = None
    snoozed_until_us: int = 0
    labels_after: int = 0


class Verdicts(Claims, Bulks):
    """Deciding. The labels of a verdict are in the outbox when it returns, and leave after `undo_s`."""

    def decide(self, case_id: str, verdict: Verdict, by: str, at: datetime, undo_s: float = 0.0) -> list[Label]:
        """Give a verdict; the labels of the case's events, which are in the outbox when this returns.

        Another verdict on a decided case reverses it. The same verdict again is only noted: it gives no labels, so a
        repeated request does no harm; to state it anew (against a later label of another source), reopen the case.
        Labels of a later verdict bear a later time than those before, whatever the clocks of two analysts say, and
        leave after them.

        Above the policy's `four_eyes_above` the first verdict only proposes: no labels, until another person gives the
        same. If they give another, the case is open again, without a proposal.

        Raises `UnknownCase`, `ClaimedBy`, `NeedsAnother`; `ValueError` for a name, a verdict or a time without a zone
        that a label cannot have.
        """
        source_of(by)
        with self.database.writing() as db:
            return self._decide(db, case_id, verdict, by, at, undo_s)

    def undo(self, case_id: str, by: str, at: datetime) -> Case:
        """Take back the last verdict, or a proposal: its labels never leave, and the case is as before, claim included,
        unless somebody else holds what was proposed by now.

        Raises `UnknownCase`; `TooLate` where the time is over, or the labels are leaving; `NotTheirs` for another's.
        """
        with self.database.writing() as db:
            return self._undo(db, case_id, by, at)

    def reopen(self, case_id: str, by: str, at: datetime) -> Case:
        """Put a decided case back into the queue; its labels stand until the next verdict. An open one stays.

        One that is proposed is open again, without the proposal. Raises `UnknownCase` and `ClaimedBy`.
        """
        source_of(by)
        with self.database.writing() as db:
            case = self._unclaimed(db, case_id, by, at)
            if case.status == "open":
                return case
            self._change(db, case_id, status="open", proposed=None, proposed_by=None, before=None, undo_until_us=None)
            self._note(db, case_id, "reopened", by, at)
            return self._one(db, case_id)

    def decide_many(
        self, case_ids: Sequence[str], verdict: Verdict, by: str, at: datetime, undo_s: float = 0.0
    ) -> Bulk:
        """The same verdict on up to 1,000 cases, in one transaction; what is refused is named and stops no other."""
        source_of(by)
        return self._many(case_ids, lambda db, case_id: self._decide(db, case_id, verdict, by, at, undo_s))

    def undo_many(self, case_ids: Sequence[str], by: str, at: datetime) -> Bulk:
        """Take back their last verdicts; what is refused is named and stops no other."""
        return self._many(case_ids, lambda db, case_id: self._undo(db, case_id, by, at))

    def _decide(
        self, db: Connection, case_id: str, verdict: Verdict, by: str, at: datetime, undo_s: float
    ) -> list[Label]:
        case = self._unclaimed(db, case_id, by, at)
        if case.status == "decided" and case.verdict == verdict:
            self._note(db, case_id, "confirmed", by, at, verdict=verdict)
            return []
        if self._wants_another(case):
            if case.status != "proposed":
                return self._propose(db, case, verdict, by, at, undo_s)
            if case.proposed_by == by:
                raise NeedsAnother(f"you proposed {case.proposed} for case {case_id}; somebody else must agree")
            if case.proposed != verdict:
                return self._disagree(db, case, verdict, by, at)
        return self._settle(db, case, verdict, by, at, undo_s)

    def _wants_another(self, case: Case) -> bool:
        above = self.policy.four_eyes_above
        return case.status == "proposed" or (above is not None and case.expected_loss > above)

    def _propose(
        self, db: Connection, case: Case, verdict: Verdict, by: str, at: datetime, undo_s: float
    ) -> list[Label]:
        label_of(self._decisions(db, case.case_id)[0], verdict, by, at)  # What a label cannot have is refused now.
        self._change(
            db,
            case.case_id,
            status="proposed",
            proposed=verdict,
            proposed_by=by,
            **_undoable(db, case, at, undo_s),
        )
        self._note(db, case.case_id, "proposed", by, at, verdict=verdict)
        return []

    def _disagree(self, db: Connection, case: Case, verdict: Verdict, by: str, at: datetime) -> list[Label]:
        label_of(self._decisions(db, case.case_id)[0], verdict, by, at)
        opened = {"status": "open", "proposed": None, "proposed_by": None, "before": None, "undo_until_us": None}
        self._change(db, case.case_id, claimed_by=None, claimed_until_us=0, **opened)
        self._note(db, case.case_id, "disagreed", by, at, verdict=verdict, detail=case.proposed_by)
        return []

    def _settle(
        self, db: Connection, case: Case, verdict: Verdict, by: str, at: datetime, undo_s: float
    ) -> list[Label]:
        decided_at = at if case.decided_at is None else max(at, case.decided_at + MICROSECOND)
        labels = [label_of(decision, verdict, by, decided_at) for decision in self._decisions(db, case.case_id)]
        waiting = select(func.max(OUTBOX.c.not_before_us)).where(OUTBOX.c.case_id == case.case_id, OUTBOX.c.sent == 0)
        until_us = max(micros(at + timedelta(seconds=undo_s)), db.execute(waiting).scalar() or 0)
        changed = _undoable(db, case, at, undo_s)
        shared = {"case_id": case.case_id, "decided_at_us": micros(decided_at), "not_before_us": until_us}
        rows = [{"identity": one.identity, "label": encode(one)} | shared for one in labels]
        db.execute(insert_on(db, OUTBOX).on_conflict_do_nothing(), rows)
        verdict_given = {"verdict": verdict, "decided_by": by, "decided_at_us": micros(decided_at)}
        rest = {"status": "decided", "proposed": None, "proposed_by": None, "snoozed_until_us": 0}
        self._change(db, case.case_id, **verdict_given, **rest, **changed)
        reverses = case.verdict not in (None, "unknown", verdict)
        deed: Deed = "reversed" if reverses else "decided"
        self._note(db, case.case_id, deed, by, at, verdict=verdict, detail=case.decided_by if reverses else None)
        return labels

    def _undo(self, db: Connection, case_id: str, by: str, at: datetime) -> Case:
        case = self._one(db, case_id, lock=True)
        content = db.execute(select(CASES.c.before).where(CASES.c.case_id == case_id)).scalar_one()
        if content is None or case.undo_until is None or at >= case.undo_until:
            raise TooLate(f"the verdict on case {case_id} can no longer be undone; another verdict reverses it")
        whose = case.proposed_by if case.status == "proposed" else case.decided_by
        if whose != by:
            raise NotTheirs(f"{whose} gave the last verdict on case {case_id}; another verdict reverses it")
        before = msgspec.json.decode(content, type=Before)
        if case.status == "decided":
            own = (OUTBOX.c.case_id == case_id, OUTBOX.c.number > before.labels_after)
            labels = select(OUTBOX.c.leaving, OUTBOX.c.sent).where(*own).with_for_update()
            if any(one.leaving or one.sent for one in db.execute(labels)):
                raise TooLate(f"the labels of case {case_id} are leaving; another verdict reverses them")
            db.execute(delete(OUTBOX).where(*own))
        columns = msgspec.structs.asdict(before)
        del columns["labels_after"]
        if case.holder(at) in (None, by):
            columns["claimed_until_us"] = 0 if before.claimed_by is None else self._idle_us(at)
        else:
            del columns["claimed_by"]  # Somebody has begun to look at what was proposed, and goes on.
        self._change(db, case_id, **columns, before=None, undo_until_us=None)
        undone = case.proposed if case.status == "proposed" else case.verdict
        self._note(db, case_id, "undone", by, at, verdict=undone)
        return self._one(db, case_id)


def _undoable(db: Connection, case: Case, at: datetime, undo_s: float) -> dict[str, object]:
    """The columns that release the case and keep what an undo needs, where there is time for one."""
    released: dict[str, object] = {"claimed_by": None, "claimed_until_us": 0}
    if undo_s <= 0.0:
        return released | {"before": None, "undo_until_us": None}
    last = db.execute(select(func.coalesce(func.max(OUTBOX.c.number), 0))).scalar_one()
    before = Before(
        status=case.status,
        verdict=case.verdict,
        decided_by=case.decided_by,
        decided_at_us=None if case.decided_at is None else micros(case.decided_at),
        proposed=case.proposed,
        proposed_by=case.proposed_by,
        claimed_by=case.holder(at),
        snoozed_until_us=0 if case.snoozed_until is None else micros(case.snoozed_until),
        labels_after=last,
    )
    until_us = micros(at + timedelta(seconds=undo_s))
    return released | {"before": msgspec.json.encode(before), "undo_until_us": until_us}
