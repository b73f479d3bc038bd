"""Evaluation that does not lie: mature events only, the scores as they were given, exact figures, intervals by card."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from models.manifest import Interval
from stream.records import Outcome, from_micros
from training.card_draws import CardDraws, CardRanks, RankedRows, interval
from training.evaluation_curves import calibration_curve, precision_curve
from training.evaluation_report import CostFigures, DayFigures, Evaluation, MemberFigures, PartFigures
from training.judged_rows import ALL, JudgedRows
from training.metrics import (
    DAY_US,
    Scores,
    auc,
    calibration_error,
    card_precision_by_day,
    chance_calibration_error,
    days_of,
)
from training.policy_cost import PolicyCost
from training.segments import average_precision_interval, segments_of

PER_EVENTS = 1000.0
CARDS_A_DAY = 100
FEW_FRAUDS = 30
APPROVE: Outcome = "approve"


def evaluate(
    rows: JudgedRows,
    costs: PolicyCost,
    *,
    use_case: str,
    source: str,
    made_at: datetime,
    label_delay_s: float | None = None,
    cards_a_day: int = CARDS_A_DAY,
    draws: int = 200,
    notes: list[str] | None = None,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> Evaluation:
    """All figures of mature rows. Raises `ValueError` where there are none."""
    if not len(rows):
        raise ValueError("no event has matured; wait for labels, or take an earlier span")
    sampled = CardDraws(rows.card, draws)
    realised = costs.came(rows.records.tolist(), rows.outcome.tolist(), rows.y) * PER_EVENTS
    members, calibration, curves = {}, {}, {}
    for member in rows.scores:
        heard = rows.heard(member)
        if not len(heard):
            continue
        on_stage(f"measuring {member}")
        own = sampled if len(heard) == len(rows) else CardDraws(heard.card, draws)
        members[member] = _member(heard, member, own, costs, cards_a_day)
        calibration[member] = calibration_curve(own, heard.y, heard.scores[member])
        curves[member] = precision_curve(heard.y, heard.scores[member])
    on_stage("measuring parts")
    frauds = int(np.count_nonzero(rows.y))
    return Evaluation(
        use_case=use_case,
        source=source,
        made_at=made_at,
        as_of=from_micros(rows.fates.as_of_us),
        label_delay_s=label_delay_s,
        first=from_micros(int(rows.event_time_us.min())),
        last=from_micros(int(rows.event_time_us.max())),
        decisions=rows.fates.decisions,
        mature=rows.fates.mature,
        immature=rows.fates.immature,
        unlabelled=rows.fates.unlabelled,
        assumed=rows.fates.assumed,
        frauds=frauds,
        cards=len(sampled.cards),
        cards_a_day=cards_a_day,
        draws=draws,
        versions=rows.versions,
        policies=rows.policies,
        costed_by=costs.policy.version,
        members=members,
        costs=_costs(rows, costs, sampled, realised),
        calibration=calibration,
        curves=curves,
        days=_days(rows, realised, cards_a_day),
        parts=_parts(rows, costs, sampled, realised),
        notes=[*(notes or []), *_notes(rows, costs, frauds)],
    )


def card_precision_limits(day: NDArray[np.int64], rows: JudgedRows, k: int) -> dict[int, float]:
    """What a perfect score would have reached, by day. Less than another's on a day when it had caught them before."""
    return card_precision_by_day(day, rows.card, rows.y.astype(np.float64), rows.y, k)


def _member(rows: JudgedRows, member: str, draws: CardDraws, costs: PolicyCost, k: int) -> MemberFigures:
    score, day = rows.scores[member], days_of(rows.event_time_us)
    ranked, ranks = RankedRows(draws.index, score, rows.y), CardRanks(day, draws, score, rows.y)
    each = np.ones(len(draws.cards), dtype=np.int64)
    error = calibration_error(rows.y, score)
    assert error is not None  # there are rows
    cost = costs.of(rows.records.tolist(), score, rows.y) * PER_EVENTS
    drawn = [(ranked.auc(counts), ranked.average_precision(counts), ranks.precision(counts, k)) for counts in draws]
    return MemberFigures(
        rows=len(rows),
        frauds=int(np.count_nonzero(rows.y)),
        mean_score=float(score.mean()),
        auc=_interval(ranked.auc(each), [one[0] for one in drawn]),
        average_precision=_interval(ranked.average_precision(each), [one[1] for one in drawn]),
        card_precision=interval(ranks.precision(each, k), np.array([one[2] for one in drawn])),
        card_precision_limit=float(np.mean(list(card_precision_limits(day, rows, k).values()))),
        calibration_error=error,
        chance_error=chance_calibration_error(score),
        policy_cost=draws.ratio(cost, np.ones(len(rows))),
    )


def _interval(value: float | None, drawn: list[float | None]) -> Interval | None:
    return None if value is None else interval(value, np.array([one for one in drawn if one is not None]))


def _costs(rows: JudgedRows, costs: PolicyCost, draws: CardDraws, realised: Scores) -> CostFigures:
    one = np.ones(len(rows))
    approved = costs.came(rows.records.tolist(), [APPROVE] * len(rows), rows.y) * PER_EVENTS
    recorded = ~np.isnan(rows.expected_cost)
    expected = np.nan_to_num(rows.expected_cost) * PER_EVENTS
    return CostFigures(
        realised=draws.ratio(realised, one),
        expected=draws.ratio(expected, recorded.astype(np.float64)) if recorded.any() else None,
        expected_rows=int(recorded.sum()),
        approve_all=draws.ratio(approved, one),
        saved=draws.ratio(approved - realised, one),
    )


def _days(rows: JudgedRows, realised: Scores, k: int) -> list[DayFigures]:
    day = days_of(rows.event_time_us)
    score = rows.scores[ALL]
    # Where no member answered, nothing was said: such rows are last, and count in no mean.
    said = np.where(np.isnan(score), -1.0, score)
    precision = card_precision_by_day(day, rows.card, said, rows.y, k)
    limits = card_precision_limits(day, rows, k)
    figures = []
    for today in np.unique(day).tolist():
        at = np.flatnonzero(day == today)
        expected, heard = rows.expected_cost[at], at[~np.isnan(score[at])]
        outcomes = rows.outcome[at].tolist()
        figures.append(
            DayFigures(
                day=f"{datetime.fromtimestamp(today * DAY_US / 1e6, UTC):%Y-%m-%d}",
                rows=len(at),
                frauds=int(np.count_nonzero(rows.y[at])),
                mean_score=float(score[heard].mean()) if len(heard) else 0.0,
                auc=auc(rows.y[heard], score[heard]),
                card_precision=precision[today],
                card_precision_limit=limits[today],
                expected_cost=None if np.isnan(expected).all() else float(np.nanmean(expected)) * PER_EVENTS,
                realised_cost=float(realised[at].mean()),
                approved=outcomes.count(APPROVE),
                reviewed=outcomes.count("review"),
                declined=outcomes.count("decline"),
            )
        )
    return figures


def _parts(rows: JudgedRows, costs: PolicyCost, draws: CardDraws, realised: Scores) -> dict[str, PartFigures]:
    parts = {}
    is_fraud = (rows.y != 0).astype(np.float64)
    score = rows.scores[ALL]
    heard = ~np.isnan(score)
    for name, within in sorted(segments_of(rows.records.tolist(), costs.policy).items()):
        here = within.astype(np.float64)
        ranked = within & heard
        parts[name] = PartFigures(
            rows=int(within.sum()),
            frauds=int(is_fraud[within].sum()),
            mean_score=float(score[ranked].mean()) if ranked.any() else 0.0,
            fraud_rate=draws.ratio(is_fraud * here, here),
            average_precision=average_precision_interval(rows.card[ranked], rows.y[ranked], score[ranked])
            if ranked.any()
            else None,
            realised_cost=draws.ratio(realised * here, here),
        )
    return parts


def _notes(rows: JudgedRows, costs: PolicyCost, frauds: int) -> list[str]:
    notes = []
    if frauds < FEW_FRAUDS:
        notes.append(f"Only {frauds} frauds have matured: every figure rests on a handful of cards.")
    if set(rows.policies) - {costs.policy.version}:
        others = ", ".join(sorted(set(rows.policies) - {costs.policy.version}))
        notes.append(f"Decisions were made by {others}; what they cost is counted by {costs.policy.version}.")
    unheard = int(np.isnan(rows.scores[ALL]).sum())
    if unheard:
        notes.append(f"To {unheard:,} mature events no model answered: they count in costs, not for any member.")
    if rows.fates.assumed:
        notes.append(f"{rows.fates.assumed:,} mature events without a label count as legit.")
    if rows.fates.unlabelled:
        notes.append(f"{rows.fates.unlabelled:,} events are old enough and have no verdict: they are left out.")
    notes.append(
        "Intervals hold for other cards in the same days: what strikes all cards at once, such as an attack on one "
        "merchant, is in every draw."
    )
    return notes
