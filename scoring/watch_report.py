"""What the watcher found of models beside the champion: the numbers that travel from it to whoever shows them."""

from __future__ import annotations

from datetime import datetime

import msgspec


def watch_key(use_case: str) -> str:
    """The Redis key that holds the newest report on a use case, as JSON."""
    return f"watch:{use_case}:report"


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One of two models on the same events. None: nothing to say it of.

    `quantiles` are of the score of all members, by name (`p50`). `alert_rate` is the share that the policy would not
    approve; `expected_cost` what that was expected to cost by the model's own probability. The others are over mature
    labels: of the alerts how many were fraud, of the frauds how many were alerts, and what the outcomes cost. Costs are
    per 1,000 events, in the policy's currency.
    """

    quantiles: dict[str, float]
    alert_rate: float
    expected_cost: float
    precision: float | None = None
    recall: float | None = None
    average_precision: float | None = None
    cost: float | None = None


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """A version against the champion on the events that the champion answered.

    `outcomes` counts by the champion's outcome, then by the other's; both are the policy's alone, without rules,
    budgets and draws. `agreement` is the share on the diagonal. `psi` is between the two distributions of scores.
    """

    version: str
    champion: str
    rows: int
    first: datetime
    last: datetime
    psi: float
    agreement: float
    outcomes: dict[str, dict[str, int]]
    labelled: int
    frauds: int
    its: Side
    champions: Side


class GroupFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What one group of decisions showed. `alerts_labelled` are alerts with a mature label."""

    version: str
    events: int
    entities: int
    alert_rate: float | None
    unanswered_rate: float | None
    p99_ms: float | None
    alerts_labelled: int
    precision: float | None


class Finding(msgspec.Struct, frozen=True):
    """What one band says. `out` is None where there is too little to judge by."""

    band: str
    out: bool | None
    says: str


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """A version under watch: the canary against the champion, or a new champion against the one before."""

    alias: str
    version: str
    against: str
    since: datetime
    its: GroupFigures
    others: GroupFigures
    findings: list[Finding]

    @property
    def out(self) -> list[Finding]:
        """The bands that it has left."""
        return [one for one in self.findings if one.out]


class LastRollback(msgspec.Struct, frozen=True):
    """When and why a version was taken back without a person."""

    at: datetime
    alias: str
    version: str
    why: str


class WatchReport(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. `skipped` counts decisions that a version could not score, by version and reason.

    `rollbacks` counts those without a person, by alias. `acts` says whether the watcher may roll back.
    """

    use_case: str
    made_at: datetime
    champion: str | None
    canary: str | None
    canary_share: int
    acts: bool
    decisions: int
    comparisons: list[Comparison]
    skipped: dict[str, dict[str, int]]
    watched: list[Watched]
    rollbacks: dict[str, int]
    last_rollback: LastRollback | None = None
    problems: dict[str, str] = {}
