"""Which weights an ensemble should have, chosen on the earlier part of what was scored.

The rule: of the candidates, the one with the highest average precision on the earlier part, of several worlds the mean;
it replaces the incumbent only where the whole interval of its gain over it, by card, lies above zero. Nothing else is
looked at, so that the later part can show what the choice is worth. All candidates are judged on what the same members
said: a candidate's own analysts would have looked at somewhat other cards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.arms import combined
from models.contract import Vector
from models.ensemble import BATCH, FEEDBACK, FRAUD_WEIGHTS, EnsembleWeights, MemberWeight
from models.manifest import Interval
from training.card_draws import CardDraws, RankedRows, interval
from training.metrics import Labels, average_precision
from training.prequential import ONLINE

DRAWS = 200
FEEDBACK_WEIGHTS = (0.05, 0.1, 0.2, 0.3, 0.4)
ONLINE_WEIGHTS = (0.05, 0.1, 0.2, 0.3, 0.4)
ONLINE_CAP = 0.2
"""What bounds the online member's share where another member is missing; above it, its own weight does."""


def weights_of(feedback: float, online: float) -> EnsembleWeights:
    """The batch member has what the others leave."""
    members = {
        BATCH: MemberWeight(weight=round(1.0 - feedback - online, 4)),
        FEEDBACK: MemberWeight(weight=feedback),
        ONLINE: MemberWeight(weight=online, cap=max(ONLINE_CAP, online)),
    }
    shares = "/".join(f"{member.weight:g}" for member in members.values())
    return EnsembleWeights(version=shares, members=members)


CANDIDATES = tuple(weights_of(feedback, online) for feedback in FEEDBACK_WEIGHTS for online in ONLINE_WEIGHTS)


class Judged(NamedTuple):
    """Some scored rows: what each member said of them, whose they are, and what became of them."""

    members: Mapping[str, Vector]
    card: NDArray[Any]
    y: Labels

    def part(self, wanted: NDArray[np.bool_]) -> Judged:
        """The rows that are wanted, shape (n_rows,)."""
        return Judged({name: said[wanted] for name, said in self.members.items()}, self.card[wanted], self.y[wanted])


class Choice(NamedTuple):
    """The best candidate with its mean gain in average precision over the incumbent, and what is to be used."""

    best: EnsembleWeights
    gain: Interval
    chosen: EnsembleWeights


def choose(
    earlier: Sequence[Judged],
    candidates: Sequence[EnsembleWeights] = CANDIDATES,
    incumbent: EnsembleWeights = FRAUD_WEIGHTS,
) -> Choice:
    """Choose by the rule, from these rows alone: hand over the earlier ones, of one world or of several."""

    def worth(weights: EnsembleWeights) -> float:
        return float(np.mean([average_precision(one.y, combined(one.members, weights)) or 0.0 for one in earlier]))

    best = max(candidates, key=worth)
    gain = gain_over(earlier, best, incumbent)
    return Choice(best, gain, best if gain.low > 0.0 else incumbent)


def gain_over(worlds: Sequence[Judged], weights: EnsembleWeights, incumbent: EnsembleWeights) -> Interval:
    """What weights gain in average precision over others, the mean over worlds, with the interval by card."""
    values, drawn = zip(*(_gained(rows, weights, incumbent) for rows in worlds), strict=True)
    return interval(float(np.mean(values)), np.mean(drawn, axis=0))


def _gained(rows: Judged, weights: EnsembleWeights, incumbent: EnsembleWeights) -> tuple[float, NDArray[np.float64]]:
    draws = CardDraws(rows.card, DRAWS)
    ours, theirs = (RankedRows(draws.index, combined(rows.members, one), rows.y) for one in (weights, incumbent))

    def gained(counts: NDArray[np.int64]) -> float:
        return (ours.average_precision(counts) or 0.0) - (theirs.average_precision(counts) or 0.0)

    return gained(np.ones(len(draws.cards), dtype=np.int64)), np.array([gained(counts) for counts in draws])
