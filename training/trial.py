"""A trial: what is measured of a challenger, and of the champion beside it, on later rows than either has learned from.

Both answer the same vectors, those that were served or replayed; labels are those that were known when they had
matured. The intervals are by card and paired: each draw has the same cards for both.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from models.contract import Matrix, Vector
from models.manifest import Interval, Manifest
from models.onnx import OnnxModel
from stream.records import from_micros, micros
from training.bounds import Bounds
from training.card_draws import CardDraws, CardRanks, interval
from training.frame import TrainingFrame
from training.metrics import calibration_error, chance_calibration_error, days_of
from training.policy_cost import PolicyCost
from training.segments import average_precision_interval, segments_of

PER_EVENTS = 1000.0
TIMED_ROWS = 200
TIMED_ROUNDS = 7
BOTH_CLASSES = 2


class SegmentTrial(NamedTuple):
    """One part of the rows: what the champion cost there, and what the challenger saves; per 1,000 events."""

    rows: int
    frauds: int
    champion_cost: float
    saved: Interval


class Against(NamedTuple):
    """Challenger against champion. `saved` is per 1,000 events; `precision_gained` is card precision, of 1."""

    champion_cost: float
    saved: Interval
    champion_precision: float
    precision_gained: Interval
    segments: dict[str, SegmentTrial]


class Measures(NamedTuple):
    """What the rows said. Costs are per 1,000 events, in the policy's currency.

    `chance_error` is the calibration error that chance alone would show. `saved_to_none` is against a model that says
    the fraud rate of everything.
    """

    cost: float
    card_precision: float
    average_precision: Interval
    calibration_error: float
    chance_error: float
    saved_to_none: Interval
    against: Against | None


@dataclass(frozen=True)
class Trial:
    """All that the gates look at. `champion` is None where there is none that could serve the same features.

    `measures` is None where nothing could be measured, and `unmeasured` says why. For `unanswered` rows the challenger
    has no number; as the champion's, they count as though it had said the fraud rate. `note` says what is worth knowing
    about the champion.
    """

    challenger: Manifest
    champion: Manifest | None
    serving_hash: str
    rows: int
    frauds: int
    days: int
    span: str
    latency_us: float
    champion_latency_us: float | None
    unanswered: int
    measures: Measures | None
    unmeasured: str = ""
    note: str = ""

    @property
    def fraud_rate(self) -> float:
        """The share of fraud among the rows; 0 without rows."""
        return self.frauds / self.rows if self.rows else 0.0


def hold_trial(
    frame: TrainingFrame,
    challenger: OnnxModel,
    champion: OnnxModel | None,
    costs: PolicyCost,
    bounds: Bounds,
) -> Trial:
    """Measure a challenger, and the champion if there is one, on the rows after both label cut-offs.

    `frame` has its records, and the definition hash of the features that are served. A champion of another definition
    is not asked: no scorer takes it.
    """
    note = ""
    if champion is not None and champion.manifest.definition_hash != frame.definition_hash:
        note = f"the champion {champion.version} is of definition {champion.manifest.definition_hash} and serves nobody"
        champion = None
    models = [model for model in (challenger, champion) if model is not None]
    cutoff = max(model.manifest.learned_until for model in models)
    later = frame.where(frame.event_time_us > micros(cutoff))
    latency = latencies_us(models, later.X)
    why = _unmeasurable(later, challenger)
    day = days_of(later.event_time_us)
    rows = len(later.y)
    scores = [] if why else [model.score_many(later.X) for model in models]
    unanswered = [int(np.count_nonzero(np.isnan(score))) for score in scores]
    if any(unanswered[1:]):
        note = f"the champion has no number for {unanswered[1]:,} rows"
    first, last = (
        (f"{from_micros(int(at(later.event_time_us))):%Y-%m-%d %H:%M}" for at in (min, max)) if rows else ("", "")
    )
    return Trial(
        challenger=challenger.manifest,
        champion=None if champion is None else champion.manifest,
        serving_hash=frame.definition_hash,
        rows=rows,
        frauds=int(np.count_nonzero(later.y)),
        days=len(np.unique(day)),
        span=f"{first} to {last}" if rows else f"after {cutoff:%Y-%m-%d %H:%M}",
        latency_us=latency[0],
        champion_latency_us=latency[1] if champion is not None else None,
        unanswered=unanswered[0] if unanswered else 0,
        measures=None if why else _measure(later, scores, costs, bounds),
        unmeasured=why,
        note=note,
    )


def latencies_us(models: list[OnnxModel], rows: Matrix) -> list[float]:
    """The median time of one row for each model, in this process: the quietest of several rounds, turn by turn."""
    width = len(models[0].manifest.feature_names)
    if not len(rows) or rows.shape[1] != width:
        rows = np.zeros((1, width))
    rows = np.ascontiguousarray(rows[np.arange(TIMED_ROWS) % len(rows)])
    rounds = [[_median_us(model, rows) for model in models] for _ in range(TIMED_ROUNDS)]
    return [min(one) for one in zip(*rounds, strict=True)]


def _median_us(model: OnnxModel, rows: Matrix) -> float:
    took_ns = []
    for x in rows:
        start = time.perf_counter_ns()
        model.score_one(x)
        took_ns.append(time.perf_counter_ns() - start)
    return float(np.median(took_ns)) / 1000.0


def _unmeasurable(frame: TrainingFrame, challenger: OnnxModel) -> str:
    """Why these rows say nothing of the challenger; empty where they do."""
    if challenger.manifest.feature_names != frame.feature_names:
        return "the challenger takes other features than the rows have"
    if len(np.unique(frame.y)) < BOTH_CLASSES:
        return f"of {len(frame.y):,} rows after the label cut-offs {int(np.count_nonzero(frame.y))} are fraud"
    return ""


def _measure(frame: TrainingFrame, said: list[Vector], costs: PolicyCost, bounds: Bounds) -> Measures:
    if frame.records is None:
        raise ValueError("the frame has no records to cost; collect it with them")
    records = frame.records.tolist()
    draws = CardDraws(frame.card, bounds.draws)
    guess = float(np.mean(frame.y))
    scores = [np.where(np.isnan(score), guess, score) for score in said]
    cost = [costs.of(records, score, frame.y) * PER_EVENTS for score in scores]
    no_model = costs.of(records, np.full(len(frame.y), guess), frame.y) * PER_EVENTS
    one = np.ones(len(frame.y))
    precision, gained = _precisions(frame, draws, scores, bounds)
    against = None
    if gained is not None:
        saved = cost[1] - cost[0]
        against = Against(
            champion_cost=float(cost[1].mean()),
            saved=draws.ratio(saved, one),
            champion_precision=precision[1],
            precision_gained=gained,
            segments=_by_segment(frame, records, draws, saved, cost[1], costs),
        )
    error = calibration_error(frame.y, scores[0])
    ranking = average_precision_interval(frame.card, frame.y, scores[0])
    assert error is not None  # there are rows,
    assert ranking is not None  # of both classes
    return Measures(
        cost=float(cost[0].mean()),
        card_precision=precision[0],
        average_precision=ranking,
        calibration_error=error,
        chance_error=chance_calibration_error(scores[0]),
        saved_to_none=draws.ratio(no_model - cost[0], one),
        against=against,
    )


def _precisions(
    frame: TrainingFrame, draws: CardDraws, scores: list[Vector], bounds: Bounds
) -> tuple[list[float], Interval | None]:
    """Each model's card precision, and what the first has more than the second."""
    day, k = days_of(frame.event_time_us), bounds.cards_a_day
    ranks = [CardRanks(day, draws, score, frame.y) for score in scores]
    each = np.ones(len(draws.cards), dtype=np.int64)
    precision = [rank.precision(each, k) for rank in ranks]
    if len(ranks) < 2:
        return precision, None
    drawn = np.array([ranks[0].precision(counts, k) - ranks[1].precision(counts, k) for counts in draws])
    return precision, interval(precision[0] - precision[1], drawn)


def _by_segment(
    frame: TrainingFrame, records: list[object], draws: CardDraws, saved: Vector, before: Vector, costs: PolicyCost
) -> dict[str, SegmentTrial]:
    found = {}
    for name, rows in segments_of(records, costs.policy).items():
        found[name] = SegmentTrial(
            rows=int(rows.sum()),
            frauds=int(np.count_nonzero(frame.y[rows])),
            champion_cost=float(before[rows].mean()),
            saved=draws.ratio(np.where(rows, saved, 0.0), rows.astype(np.float64)),
        )
    return found
