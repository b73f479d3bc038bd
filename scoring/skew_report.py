"""What a skew check found: the numbers that travel from the check to whoever shows them."""

from __future__ import annotations

from datetime import datetime

import msgspec


def skew_key(use_case: str) -> str:
    """The Redis key that holds the newest report on a use case, as JSON."""
    return f"skew:{use_case}:report"


class FeatureSkew(msgspec.Struct):
    """One feature: in how many vectors it was compared, and what was found. Approximate values are not compared."""

    compared: int = 0
    late: int = 0
    defects: int = 0
    approximate: int = 0

    @property
    def mismatch_rate(self) -> float | None:
        """The share of the compared values that differ, late arrivals and defects; None where none was compared."""
        return (self.late + self.defects) / self.compared if self.compared else None


class Example(msgspec.Struct):
    """One defect: the value that was served, and the value from what had arrived by then (null where unknown)."""

    event_id: str
    feature: str
    served: float | None
    recomputed: float | None


class SkewReport(msgspec.Struct):
    """What a check found. `skipped` says why decisions of the sample were not compared.

    `checked_at` is when the check ended, `took_s` how many seconds it took.
    """

    use_case: str
    definition_hash: str
    share: float
    decisions: int
    compared: int
    skipped: dict[str, int]
    features: dict[str, FeatureSkew]
    examples: list[Example]
    checked_at: datetime | None = None
    took_s: float = 0.0

    @property
    def defects(self) -> int:
        """Values that no late arrival explains."""
        return sum(one.defects for one in self.features.values())
