"""The learner's bounds, counts and numbers."""

from __future__ import annotations

from typing import Literal

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


Why = Literal["null spike", "drift", "twin", "person"]


class Freeze(msgspec.Struct, frozen=True):
    """Why the learner stands still: in short and in words, from what event time on (microseconds), and who said so
    where that was a person."""

    why: Why
    says: str
    at_us: int
    by: str = ""


class TwinReport(msgspec.Struct, frozen=True):
    """The learner beside the copy of its weights that does not learn: mean log losses on the same labels."""

    version: str
    labels: int
    frauds: int
    log_loss: float
    twin_log_loss: float


class Counters(msgspec.Struct, kw_only=True):
    """What happened to records since the file was made, and how many wait now.

    `confirmed`: the same verdict once more, from another source or at another time. `outdated`: another verdict, but
    older than the one that holds. `duplicate`: the very same record again. `expired`: too old or too many to wait.
    `frozen`: came while the learner stood still, measured and not learned. `broken`: not learned, since the vector was
    scored within a spike of nulls. `kept_*` number the arrivals; the bounds are counted by them.
    """

    learned: int = 0
    reversed: int = 0
    confirmed: int = 0
    outdated: int = 0
    duplicate: int = 0
    unknown: int = 0
    skipped_definition: int = 0
    frozen: int = 0
    broken: int = 0
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
    frozen: list[Freeze] = []
    twin: TwinReport | None = None
