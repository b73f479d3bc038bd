"""All that the page of one case shows, read in one go."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from review.case import AuditEntry, Case
from review.case_store import CaseStore
from review.outbox import Labels
from review.person import Person
from review.web.amount_chart import AmountChart, amount_chart
from review.web.deed_words import said_of
from review.web.reason_bars import Bar, bar
from review.web.travel import PlaceMap, Step, place_map, steps
from stream.records import Decision, Reason

TIMELINE_LIMIT = 200
AUDIT_LIMIT = 500


class Why(NamedTuple):
    """One reason in words, and what there is to compare by eye."""

    reason: Reason
    bar: Bar | None


@dataclass(frozen=True)
class CaseView:
    """A case as `person` sees it at one moment. `gravest` is the decision whose score and reasons the case shows."""

    case: Case
    holder: str | None
    is_mine: bool
    is_snoozed: bool
    gravest: Decision | None
    why: list[Why]
    timeline: list[Decision]
    chart: AmountChart | None
    places: PlaceMap | None
    travelled: dict[str, Step]
    labels: Labels
    notes: list[object]
    evidence: list[object]
    audit: list[tuple[AuditEntry, str]]
    undo_left_s: float

    @property
    def id(self) -> str:
        """The case's."""
        return self.case.case_id


def case_view(cases: CaseStore, case_id: str, person: Person, now: datetime) -> CaseView:
    """Read a case and what surrounds it. Raises `UnknownCase`."""
    case = cases.case(case_id)
    timeline = cases.timeline(case_id, TIMELINE_LIMIT)
    holder = case.holder(now)
    undo_left_s = 0.0
    if case.undo_until is not None and case.decided_by == person.name:
        undo_left_s = max(0.0, (case.undo_until - now).total_seconds())
    return CaseView(
        case=case,
        holder=holder,
        is_mine=holder == person.name,
        is_snoozed=case.is_snoozed(now),
        gravest=cases.decision(case),
        why=[Why(reason, bar(reason)) for reason in case.reasons],
        timeline=timeline[::-1],
        chart=amount_chart(timeline, case.events),
        places=place_map(timeline, case.events),
        travelled=steps(timeline),
        labels=cases.labels(case_id),
        notes=list(cases.notes(case_id)),
        evidence=list(cases.evidence(case_id)),
        audit=[(entry, said_of(entry)) for entry in reversed(cases.audit(case_id, AUDIT_LIMIT))],
        undo_left_s=undo_left_s,
    )
