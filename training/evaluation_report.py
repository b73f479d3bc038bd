"""What an evaluation found: the numbers that travel to the page, the JSON file and the metrics."""

from __future__ import annotations

from datetime import datetime

import msgspec

from models.manifest import Interval


class MemberFigures(msgspec.Struct, frozen=True, kw_only=True):
    """How good one member's scores were, of the rows to which it said something.

    `card_precision` is at `cards_a_day`, the mean over days; `card_precision_limit` is that of a perfect
    score. `chance_error` is the calibration error that chance alone would show. `policy_cost` is what the policy's
    choices by this member alone would have cost, per 1,000 events. None: a class is missing.
    """

    rows: int
    frauds: int
    mean_score: float
    auc: Interval | None
    average_precision: Interval | None
    card_precision: Interval
    card_precision_limit: float
    calibration_error: float
    chance_error: float
    policy_cost: Interval


class CalibrationBin(msgspec.Struct, frozen=True):
    """Events of neighbouring scores: what was said on average, and how many were fraud."""

    rows: int
    frauds: int
    mean_score: float
    fraud_rate: Interval


class CurvePoint(msgspec.Struct, frozen=True):
    """One threshold: which share of the frauds lies above it, and which share of what lies above is fraud."""

    recall: float
    precision: float


class DayFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One day (UTC) of mature events. Costs are per 1,000 events; `expected_cost` is None where none was recorded."""

    day: str
    rows: int
    frauds: int
    mean_score: float
    auc: float | None
    card_precision: float
    card_precision_limit: float
    expected_cost: float | None
    realised_cost: float
    approved: int
    reviewed: int
    declined: int


class PartFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One part of the rows, by the score of all members. Costs are per 1,000 events."""

    rows: int
    frauds: int
    mean_score: float
    fraud_rate: Interval
    average_precision: Interval | None
    realised_cost: Interval


class CostFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What decisions cost per 1,000 events, in the policy's currency.

    `expected` is what was expected of them when they were made, over `expected_rows` (None: nowhere recorded);
    `realised` what they cost by the labels; `approve_all` what approving everything would have; `saved` the difference
    of the two.
    """

    realised: Interval
    expected: Interval | None
    expected_rows: int
    approve_all: Interval
    saved: Interval


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """One evaluation. `source` says of what; `notes` what to know before believing it.

    Of `decisions` in the span, `mature` count, `assumed` of them as legit without a label; `immature` are too young for
    their labels to be final at `as_of`, `unlabelled` are old enough and nobody said what they were.
    """

    use_case: str
    source: str
    made_at: datetime
    as_of: datetime
    label_delay_s: float | None
    first: datetime
    last: datetime
    decisions: int
    mature: int
    immature: int
    unlabelled: int
    assumed: int
    frauds: int
    cards: int
    cards_a_day: int
    draws: int
    versions: dict[str, dict[str, int]]
    policies: dict[str, int]
    costed_by: str
    members: dict[str, MemberFigures]
    costs: CostFigures
    calibration: dict[str, list[CalibrationBin]]
    curves: dict[str, list[CurvePoint]]
    days: list[DayFigures]
    parts: dict[str, PartFigures]
    notes: list[str]
