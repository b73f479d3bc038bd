"""What a model's probabilities would have cost under the policy, now that it is known what was fraud."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.contract import Vector
from scoring.policy import Policy, PolicyChoice
from scoring.policy_budget import OwnBudget
from scoring.policy_costs import Expected, LetThrough, expected_costs
from scoring.policy_file import load_policy
from stream.records import Outcome
from training.metrics import Labels
from training.segments import segment_of


class PolicyCost:
    """The policy alone: as many analysts as it takes, nothing let through, no rules, no other members.

    Analysts' minutes still cost what the policy says. So two models differ only by what they say.
    """

    def __init__(self, path: Path, source: type[Any]) -> None:
        # The key makes the draws of who is let through; here nobody is.
        self.policy: Policy = load_policy(path, source, key="gates")
        self.policy.let_through, self.policy.budget = LetThrough(), OwnBudget(None)
        self._costs = {"default": self.policy.default, **{one.name: one.costs for one in self.policy.segments}}

    def of(self, records: Sequence[Any], probability: Vector, label: Labels) -> Vector:
        """The cost of each row's cheapest outcome by the model, shape (n_rows,), in the policy's currency."""
        choices = self.choices(records, probability)
        return self.came(records, [choice.outcome for choice in choices], label)

    def choices(self, records: Sequence[Any], probability: Vector) -> list[PolicyChoice]:
        """What the policy would choose for each row."""
        return [self.policy.choose(record, p) for record, p in zip(records, probability.tolist(), strict=True)]

    def came(self, records: Sequence[Any], outcomes: Sequence[Outcome], label: Labels) -> Vector:
        """What outcomes cost now that it is known what was fraud, shape (n_rows,); a review finds what reviews do."""
        rates = self.policy.currency_rates
        costs = []
        for record, outcome, is_fraud in zip(records, outcomes, label.tolist(), strict=True):
            amount = record.amount * rates.get(record.currency, 1.0) if rates else record.amount
            # At the probability 0 or 1, an expected cost is the one that came.
            expected: Expected = expected_costs(self._costs[segment_of(self.policy, record)], float(is_fraud), amount)
            costs.append(getattr(expected, outcome))
        return np.array(costs, dtype=np.float64)
