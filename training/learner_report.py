"""The learner's bounds, counts and numbers."""

from __future__ import annotations

import msgspec

from training.metrics import DAY_US


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """How much the learner keeps.

    A decision is kept for `max_age_us` behind the newest event and while it is among the latest `decisions`, labelled
    or not (a reversal needs it again); labels that came before their decision, while among the latest `early`.
    """

    max_age_us: int = 90 * DAY_US
    decisions: int = 500_000
    early: int = 100_000
    labelled: int = 100_000


class Counters(msgspec.Struct, kw_only=True):
    """What happened to records since the file was made, and how many wait now.

    `confirmed`: the same verdict once more, from another source or at another time. `outdated`: another verdict, but
    older than the one that holds. `duplicate`: the very same record again. `expired`: too old or too many to wait.
    `kept_*` number the arrivals; the bounds are counted by them.
    """

    learned: int = 0
    reversed: int = 0
    confirmed: int = 0
    outdated: int = 0
    duplicate: int = 0
    unknown: int = 0
    skipped_definition: int = 0
    refused: int = 0
    expired: int = 0
    waiting: int = 0
    early: int = 0
    kept_decisions: int = 0
    kept_early: int = 0
    kept_labelled: int = 0


class MemberMetrics(msgspec.Struct, frozen=True):
    """How good one member's logged scores were, over the latest labelled events (None: one class is missing)."""

    labelled: int
    auc: float | None
    average_precision: float | None


class LearnerReport(msgspec.Struct, frozen=True, kw_only=True):
    """The learner's state in numbers: for the dashboard and for alerts."""

    name: str
    version: str
    ready: bool
    fraud_rate: float | None
    metrics: dict[str, MemberMetrics]
    counters: Counters
