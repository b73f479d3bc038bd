"""What widgets say: read-only, for people who have no account, so no analyst's name, reason or note is in it."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Literal

import msgspec
from sqlalchemy import func, select

from review.case_store import CaseStore
from review.interval import Z, wilson
from review.series_growth import grown
from review.series_history import SeriesHistory
from review.tables import CASES
from stream.records import from_micros

EVENTS_SHOWN = 30
SPAN_S = {"hour": 3600.0, "day": 86400.0, "week": 7 * 86400.0}
STEP_S = {"hour": 60, "day": 3600, "week": 3600}
RATES = ("outcome_per_s.review", "outcome_per_s.decline", "events_per_s")
ARM_OF = {"trending": "trending", "explored": "random"}
"""Sources of what was shown that are arms of their own; whatever else there is comes from the models."""
Arm = Literal["model", "trending", "random"]
ARMS: tuple[Arm, ...] = ("model", "trending", "random")


class Scored(msgspec.Struct, frozen=True, kw_only=True):
    """One flagged event of the entity."""

    at: datetime
    score: float
    outcome: str
    amount: float
    currency: str


class EntityRisk(msgspec.Struct, frozen=True, kw_only=True):
    """An entity's cases by how they stand, and its newest flagged events, the oldest first."""

    kind: Literal["entity-risk"] = "entity-risk"
    as_of: datetime
    entity: str
    use_case: str
    open: int
    fraud: int
    legit: int
    unknown: int
    gravest_open_score: float | None
    events: list[Scored]


class Flags(msgspec.Struct, frozen=True, kw_only=True):
    """The flags of one minute or hour; None where nobody looked."""

    at: datetime
    review: float | None
    decline: float | None


class FlagTrend(msgspec.Struct, frozen=True, kw_only=True):
    """Flags over time, and their share of all events."""

    kind: Literal["flag-trend"] = "flag-trend"
    as_of: datetime
    span: str
    step_s: int
    flags: float
    share: float | None
    steps: list[Flags]


class ArmClicks(msgspec.Struct, frozen=True, kw_only=True):
    """What was shown from one arm and acted on; the share with its 95 % interval, None where nothing was shown."""

    arm: Arm
    shown: int
    acted: int
    share: float | None
    low: float | None
    high: float | None


class Lift(msgspec.Struct, frozen=True, kw_only=True):
    """How many times as often as `over` the models' items were acted on, with the 95 % interval."""

    over: Arm
    times: float
    low: float
    high: float


class RecommendationLift(msgspec.Struct, frozen=True, kw_only=True):
    """Click-through of the models beside what was trending and what was drawn to explore.

    Places differ: what is drawn to explore stands where exploration puts it. It is what was seen, no experiment.
    """

    kind: Literal["recommendation-lift"] = "recommendation-lift"
    as_of: datetime
    span: str
    arms: list[ArmClicks]
    lifts: list[Lift]


Content = EntityRisk | FlagTrend | RecommendationLift


def entity_risk(cases: CaseStore, use_case: str, entity: str, now: datetime) -> EntityRisk:
    """What is known of an entity; of one that was never flagged, that there is nothing."""
    own = (CASES.c.use_case == use_case, CASES.c.entity == entity)
    counted = select(CASES.c.status, CASES.c.verdict, func.count(), func.max(CASES.c.score)).where(*own)
    newest = select(CASES.c.case_id).where(*own).order_by(CASES.c.number.desc()).limit(1)
    with cases.database.reading() as db:
        rows = db.execute(counted.group_by(CASES.c.status, CASES.c.verdict)).all()
        case_id = db.execute(newest).scalar()
    waiting = [(count, score) for status, _, count, score in rows if status != "decided"]
    decided = {verdict: count for status, verdict, count, _ in rows if status == "decided"}
    timeline = cases.timeline(case_id, EVENTS_SHOWN) if case_id else []
    return EntityRisk(
        as_of=now,
        entity=entity,
        use_case=use_case,
        open=sum(count for count, _ in waiting),
        fraud=decided.get("fraud", 0),
        legit=decided.get("legit", 0),
        unknown=decided.get("unknown", 0),
        gravest_open_score=max((score for _, score in waiting), default=None),
        events=[
            Scored(
                at=one.event_timestamp,
                score=one.score,
                outcome=one.outcome,
                amount=one.record.amount,
                currency=one.record.currency,
            )
            for one in timeline
        ],
    )


def flag_trend(history: SeriesHistory | None, span: str, now: datetime) -> FlagTrend:
    """Flags a minute or hour, from the dashboard's series; nothing where nobody collects them."""
    step_s, now_s = STEP_S[span], now.timestamp()
    last = int(now_s // step_s)
    first = last - int(SPAN_S[span] // step_s) + 1
    sums: dict[tuple[int, str], tuple[float, int]] = {}
    if history is not None:
        found = history.columns(RATES, first * step_s - 1e-3, now_s)
        for name in RATES:
            for at_s, value in zip(found.at_s, found.values[name], strict=True):
                if value is not None:
                    total, count = sums.get((int(at_s // step_s), name), (0.0, 0))
                    sums[int(at_s // step_s), name] = (total + value, count + 1)

    def number(step: int, name: str) -> float | None:
        total, count = sums.get((step, name), (0.0, 0))
        # The step that is under way has had less time.
        length_s = min(step_s, now_s - step * step_s)
        return total / count * length_s if count else None

    steps = []
    for step in range(first, last + 1):
        review, decline, events = (number(step, name) for name in RATES)
        if events is not None:  # An outcome that never was has no series yet.
            review, decline = review or 0.0, decline or 0.0
        steps.append(Flags(at=from_micros(step * step_s * 1_000_000), review=review, decline=decline))
    flags = sum((one.review or 0.0) + (one.decline or 0.0) for one in steps)
    events = sum(number(step, "events_per_s") or 0.0 for step in range(first, last + 1))
    share = flags / events if events > 0.0 else None
    return FlagTrend(as_of=now, span=span, step_s=step_s, flags=flags, share=share, steps=steps)


def recommendation_lift(history: SeriesHistory | None, span: str, now: datetime) -> RecommendationLift:
    """What was shown and acted on, by arm; nothing where nobody collects it."""
    now_s = now.timestamp()
    since_s = now_s - SPAN_S[span]
    shown, acted = (
        ({}, {})
        if history is None
        else (_by_arm(grown(history, f"source_{what}_total", since_s, now_s)) for what in ("shown", "acted"))
    )
    arms = [_clicks(arm, round(shown.get(arm, 0.0)), round(acted.get(arm, 0.0))) for arm in ARMS]
    lifts = [lift for other in arms[1:] if (lift := lift_of(arms[0], other)) is not None]
    return RecommendationLift(as_of=now, span=span, arms=arms, lifts=lifts)


def lift_of(model: ArmClicks, other: ArmClicks) -> Lift | None:
    """The ratio of two shares with its interval, straight on the logarithm; None while either has no click."""
    if not model.acted or not other.acted:
        return None
    times = (model.acted / model.shown) / (other.acted / other.shown)
    variance = 1 / model.acted - 1 / model.shown + 1 / other.acted - 1 / other.shown
    factor = math.exp(Z * math.sqrt(max(variance, 0.0)))
    return Lift(over=other.arm, times=times, low=times / factor, high=times * factor)


def _by_arm(by_source: dict[str, float]) -> dict[str, float]:
    found: dict[str, float] = {}
    for source, value in by_source.items():
        arm = ARM_OF.get(source, "model")
        found[arm] = found.get(arm, 0.0) + value
    return found


def _clicks(arm: Arm, shown: int, acted: int) -> ArmClicks:
    acted = min(acted, shown)
    share, low, high = wilson(acted, shown) or (None, None, None)
    return ArmClicks(arm=arm, shown=shown, acted=acted, share=share, low=low, high=high)
