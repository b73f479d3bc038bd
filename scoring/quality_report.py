"""Headlines of the newest evaluation and of the newest look for drift, as they travel to whoever shows them."""

from __future__ import annotations

from datetime import datetime

import msgspec


def evaluation_key(use_case: str) -> str:
    """The Redis key that holds the newest evaluation's headline, as JSON."""
    return f"evaluation:{use_case}:headline"


def drift_key(use_case: str) -> str:
    """The Redis key that holds the newest drift report's headline, as JSON."""
    return f"drift:{use_case}:headline"


class Spread(msgspec.Struct, frozen=True):
    """A figure with its interval."""

    value: float
    low: float
    high: float


class EvaluationHeadline(msgspec.Struct, frozen=True, kw_only=True):
    """`figures` are by name, then by member. Costs are per 1,000 events, in the policy's currency."""

    use_case: str
    made_at: datetime
    as_of: datetime
    mature: int
    immature: int
    unlabelled: int
    frauds: int
    figures: dict[str, dict[str, Spread]]
    realised_cost: Spread
    expected_cost: Spread | None
    approve_all_cost: Spread


class DriftHeadline(msgspec.Struct, frozen=True, kw_only=True):
    """`measures` are by name (such as `psi`), then by subject (such as a feature); `alarms` counts by measure."""

    use_case: str
    version: str
    made_at: datetime
    rows: int
    measures: dict[str, dict[str, float]]
    alarms: dict[str, int]
