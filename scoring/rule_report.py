"""What a backtest found: how often a rule fires, how right it was, what it would have saved and harmed."""

from __future__ import annotations

from datetime import datetime

import msgspec


class Overlap(msgspec.Struct, frozen=True, kw_only=True):
    """How a rule lies to another one, or to an outcome: decisions of that one, and of both."""

    decisions: int
    both: int


class RuleReport(msgspec.Struct, frozen=True, kw_only=True):
    """One backtest of one rule over archived decisions.

    `since` and `until` are the first and last of the mature decisions, None where there is none. `immature` and
    `other_definition` count what was left out. Verdicts are of fired decisions; `unlabelled` ones have none, or
    `unknown`. Money is by currency, in its units. `outcomes` is by the decision's own outcome, with what fired of each;
    `rules` by the name of each other rule that is live or in shadow now.

    Saved is the amount of frauds that the rule would have stopped and that were let through, harmed that of good
    payments; for a rule that approves, saved are good payments that were stopped, and harmed frauds that it lets
    through. `changed` counts decisions whose outcome the rule would change.
    """

    name: str
    revision: int
    definition_hash: str
    label_delay_s: float
    since: datetime | None
    until: datetime | None
    decisions: int
    immature: int
    other_definition: int
    fired: int
    fraud: int
    legit: int
    unlabelled: int
    frauds: int
    changed: int
    saved: dict[str, float]
    harmed: dict[str, float]
    outcomes: dict[str, Overlap]
    rules: dict[str, Overlap]

    @property
    def precision(self) -> float | None:
        """Of what fired and has a verdict, the share that was fraud; None where nothing has one."""
        judged = self.fraud + self.legit
        return self.fraud / judged if judged else None

    @property
    def fired_rate(self) -> float | None:
        """Of all mature decisions, the share for which it fires; None without any."""
        return self.fired / self.decisions if self.decisions else None

    @property
    def recall(self) -> float | None:
        """Of the frauds that are known, the share for which it fires; None without any."""
        return self.fraud / self.frauds if self.frauds else None
