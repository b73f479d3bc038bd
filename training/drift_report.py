"""What a look for drift found."""

from __future__ import annotations

from datetime import datetime

import msgspec


class Measured(msgspec.Struct, frozen=True):
    """One measure of one subject. `value` is None where there was too little to judge; above `limit` it is drift.

    A fraud rate's value is a ratio, and below `1 / limit` it is drift too.
    """

    measure: str
    subject: str
    value: float | None
    limit: float
    alarm: bool
    says: str


class DriftReport(msgspec.Struct, frozen=True, kw_only=True):
    """One look: the newest events against the profile of a version. `mature` and `frauds` are of those with labels."""

    use_case: str
    version: str
    made_at: datetime
    first: datetime
    last: datetime
    rows: int
    cards: int
    mature: int
    frauds: int
    measured: list[Measured]
    notes: list[str]

    @property
    def alarms(self) -> list[Measured]:
        """What drifted."""
        return [one for one in self.measured if one.alarm]
