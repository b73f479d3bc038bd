"""What becomes of a verdict: it waits while it can be taken back, reaches the topic, and is learned."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

import msgspec

from review.case import Case
from review.outbox import Labels
from review.ports import Lessons
from review.series_history import SeriesHistory

METRIC = "log_loss.live"
LOOKED_AT_FOR = timedelta(minutes=10)
BEFORE_S = 3600.0
Stage = Literal["held", "leaving", "arrived", "learned"]
STAGES: tuple[Stage, ...] = ("held", "leaving", "arrived", "learned")


class VerdictLife(msgspec.Struct, frozen=True, kw_only=True):
    """How far a case's last verdict is.

    `learned` of the case's `events` have their verdict in the learner; None where nobody can say. `before` and `after`
    are the learner's log loss when the verdict was given and now: its labels are among those which moved it, not the
    only ones. `is_moving`: a page should look again.
    """

    stage: Stage
    labels: int
    events: int
    learned: int | None
    teaches: bool
    before: float | None
    after: float | None
    is_moving: bool

    def is_past(self, stage: Stage) -> bool:
        """Whether it has been there."""
        return STAGES.index(self.stage) >= STAGES.index(stage)


def life_of(
    case: Case, labels: Labels, lessons: Lessons | None, history: SeriesHistory | None, now: datetime
) -> VerdictLife | None:
    """The life of a decided case's verdict; None for another, and where it gave no labels."""
    total = labels.held + labels.waiting + labels.sent
    if case.status != "decided" or case.decided_at is None or case.verdict is None or not total:
        return None
    teaches = case.verdict != "unknown"
    stage: Stage = "arrived"
    if labels.held and case.undo_until is not None and case.undo_until > now:
        stage = "held"
    elif labels.held + labels.waiting:
        stage = "leaving"
    learned = None
    if stage == "arrived" and teaches and lessons is not None:
        learned = lessons.learned(case.events, case.verdict, case.decided_at)
        stage = "learned" if learned is not None and learned >= total else stage
    before, after = _moved(history, case.decided_at)
    is_fresh = now - case.decided_at < LOOKED_AT_FOR
    return VerdictLife(
        stage=stage,
        labels=total,
        events=len(case.events),
        learned=learned,
        teaches=teaches,
        before=before,
        after=after if stage == "learned" or (stage == "arrived" and learned is None) else None,
        is_moving=is_fresh and stage != "learned" and (teaches or stage != "arrived"),
    )


def _moved(history: SeriesHistory | None, at: datetime) -> tuple[float | None, float | None]:
    if history is None:
        return None, None
    points = history.since(METRIC, at.timestamp() - BEFORE_S)
    earlier = [point.value for point in points if point.at_s <= at.timestamp()]
    later = [point.value for point in points if point.at_s > at.timestamp()]
    return (earlier[-1] if earlier else None), (later[-1] if later else None)
