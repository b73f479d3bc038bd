"""Scores as they were given at the time, beside what became known: what an evaluation is made of.

Nothing is scored again. From an archive these are the decisions themselves; `training/prequential.py` makes the same of
a file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.records import Decision, micros
from training.matured import Fates
from training.metrics import Labels, Scores
from training.replay import objects

ALL = "all"
"""The score of all members together, as the models gave it: without what rules added."""


@dataclass(frozen=True)
class JudgedRows:
    """Mature events in the order of their times.

    `scores` are by member, of shape (n_rows,) with NaN where a member said nothing; `ALL` is always there. `outcome` is
    what was done, `expected_cost` what that was expected to cost then (NaN: not known), in the policy's currency.
    `versions` counts the rows of each version of each member, `policies` those of each version of the policy.
    """

    y: Labels
    event_time_us: NDArray[np.int64]
    card: NDArray[Any]
    records: NDArray[Any]
    scores: dict[str, Scores]
    outcome: NDArray[Any]
    expected_cost: Scores
    versions: dict[str, dict[str, int]]
    policies: dict[str, int]
    fates: Fates

    def __len__(self) -> int:
        return len(self.y)

    def heard(self, member: str) -> JudgedRows:
        """The rows to which a member said something."""
        rows = ~np.isnan(self.scores[member])
        if rows.all():
            return self
        return replace(
            self,
            y=self.y[rows],
            event_time_us=self.event_time_us[rows],
            card=self.card[rows],
            records=self.records[rows],
            scores={name: score[rows] for name, score in self.scores.items()},
            outcome=self.outcome[rows],
            expected_cost=self.expected_cost[rows],
        )


def judged_rows(rows: Sequence[tuple[Decision, bool]], fates: Fates) -> JudgedRows:
    """From decisions and whether each was fraud."""
    decisions = [decision for decision, _ in rows]
    members = sorted({member for one in decisions for member in one.scores})
    versions = {
        member: dict(Counter(one.scores[member].version for one in decisions if member in one.scores))
        for member in members
    }
    scores = {ALL: _column([one.score - one.score_added if one.scores else np.nan for one in decisions])}
    for member in members:
        scores[member] = _column([one.scores[member].score if member in one.scores else np.nan for one in decisions])
    return JudgedRows(
        y=np.array([is_fraud for _, is_fraud in rows], dtype=np.int8),
        event_time_us=np.array([micros(one.event_timestamp) for one in decisions], dtype=np.int64),
        card=objects([one.record.card_id for one in decisions]),
        records=objects([one.record for one in decisions]),
        scores=scores,
        outcome=objects([one.outcome for one in decisions]),
        expected_cost=_column([one.expected_cost.get(one.outcome, np.nan) for one in decisions]),
        versions=versions,
        policies=dict(Counter(one.policy_version for one in decisions)),
        fates=fates,
    )


def _column(values: Sequence[float]) -> Scores:
    return np.array(values, dtype=np.float64)
