"""What was just done, said at the foot of the next page with the way back, as long as there is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from review.case import AuditEntry, Case
from review.case_store import CaseStore
from review.person import Person
from review.refusals import UnknownCase
from review.web.wording import ago

UNDO = "/review/undo"


class Toast(msgspec.Struct, frozen=True, kw_only=True):
    """`said` of all `ids`, of which `case` is the first; `action` with `form` takes it back, where there is one."""

    ids: tuple[str, ...]
    case: Case
    said: str
    left_s: float
    whole_s: float
    action: str
    form: Mapping[str, str]


def toast_of(cases: CaseStore, person: Person, done: Sequence[str], now: datetime, undo_s: float) -> Toast | None:
    """What this person did to these cases a moment ago. They were done together, so the first speaks for all."""
    if not done:
        return None
    try:
        case = cases.case(done[0])
    except UnknownCase:
        return None
    if case.status in ("decided", "proposed"):
        by = case.proposed_by if case.status == "proposed" else case.decided_by
        if case.undo_until is None or case.undo_until <= now or by != person.name:
            return None
        said = f"{case.proposed} proposed" if case.status == "proposed" else str(case.verdict)
        left_s = (case.undo_until - now).total_seconds()
        action, form = UNDO, {"ids": ",".join(done)}
    else:
        deeds = [entry for entry in cases.audit(case.case_id) if entry.deed in ("snoozed", "woken", "assigned")]
        left_s = undo_s - (now - deeds[-1].at).total_seconds() if deeds else 0.0
        if left_s <= 0.0 or deeds[-1].by != person.name:
            return None
        taken_back = _taken_back(case, deeds, now)
        if taken_back is None:
            return None
        said, action, form = taken_back
        action = action if len(done) == 1 else ""
    return Toast(ids=tuple(done), case=case, said=said, left_s=left_s, whole_s=undo_s, action=action, form=form)


def _taken_back(case: Case, deeds: Sequence[AuditEntry], now: datetime) -> tuple[str, str, dict[str, str]] | None:
    """A snooze or an assignment in words, and the form that takes it back; they can be taken back at any time."""
    path = f"/review/cases/{case.case_id}"
    if deeds[-1].deed == "snoozed" and case.snoozed_until is not None:
        return f"snoozed, back {ago(case.snoozed_until, now)}", f"{path}/wake", {}
    if deeds[-1].deed == "assigned" and case.assigned_to is not None:
        before = [entry.text or "" for entry in deeds if entry.deed == "assigned"][-2:-1]
        return f"given to {case.assigned_to}", f"{path}/assign", {"to": before[0] if before else ""}
    return None
