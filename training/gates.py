"""The gates before a promotion: each judges a trial by its bound, and says by how much it holds or does not.

The rule: a challenger is promoted that is better beyond chance at one of two things, the money it costs under the
policy and the cards that analysts find with it, and worse beyond chance at neither; to no part of the payments
markedly worse; whose probabilities can be believed; and that answers as what was trained, as fast as before, to the
features that are served. An equal model is not promoted: a change needs a reason. Where no champion serves, what
compares with one is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from training.bounds import BOUNDS, Bounds
from training.trial import SegmentTrial, Trial


class Verdict(NamedTuple):
    """What one gate said. `passed` is None where there was nothing to judge by."""

    gate: str
    passed: bool | None
    says: str

    def __str__(self) -> str:
        """One line."""
        return f"{'not judged' if self.passed is None else 'passed' if self.passed else 'FAILED'}: {self.says}"


Said = tuple[bool | None, str]


class Gate(NamedTuple):
    """One condition of a promotion: its name, what it asks, and how it judges."""

    name: str
    asks: str
    judge: Callable[[Trial, Bounds], Said]


class PromotionRefused(RuntimeError):
    """A gate failed and nothing was changed. A retry helps with another model, or with more labels."""

    def __init__(self, name: str, version: str, verdicts: Sequence[Verdict]) -> None:
        self.verdicts = tuple(verdicts)
        reasons = "; ".join(f"{one.gate}: {one.says}" for one in failed(verdicts))
        super().__init__(f"model {name} {version} is not promoted. {reasons}")


def judge(trial: Trial, bounds: Bounds = BOUNDS) -> list[Verdict]:
    """What every gate says of a trial, in their order."""
    return [Verdict(gate.name, *gate.judge(trial, bounds)) for gate in GATES]


def failed(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Those that stand in the way."""
    return [verdict for verdict in verdicts if verdict.passed is False]


def definition(trial: Trial, bounds: Bounds) -> Said:
    """Scorers refuse a model of other features; it would be champion and serve nobody."""
    ours, theirs = trial.serving_hash, trial.challenger.definition_hash
    if ours != theirs:
        return False, f"it was made for definition {theirs}, the features that are served are {ours}; train it again"
    return True, f"definition {ours}, as served"


def parity(trial: Trial, bounds: Bounds) -> Said:
    """What was measured when it was trained must be what answers now."""
    difference = trial.challenger.max_onnx_difference
    if difference is None:
        return False, "nobody measured how far its ONNX form is from the native model; add max_onnx_difference"
    relation = "at most" if difference <= bounds.onnx_difference else "more than"
    return (
        difference <= bounds.onnx_difference,
        f"ONNX differs from the native model by {difference:.1e}, {relation} {bounds.onnx_difference:.0e}",
    )


def latency(trial: Trial, bounds: Bounds) -> Said:
    """A slow model spends the budget of all others."""
    allowed = bounds.latency_limit_us
    compared = ""
    if trial.champion_latency_us is not None:
        allowed = min(allowed, max(bounds.latency_floor_us, bounds.latency_ratio * trial.champion_latency_us))
        compared = f", the champion {trial.champion_latency_us:.0f} us"
    return (
        trial.latency_us <= allowed,
        f"one row takes {trial.latency_us:.0f} us{compared}; allowed are {allowed:.0f} us",
    )


def answers(trial: Trial, bounds: Bounds) -> Said:
    """A number for every row: scorers leave out a model that has none, and say so in each decision."""
    if trial.measures is None:
        return _nothing(trial)
    if trial.unanswered:
        return False, f"it has no number for {trial.unanswered:,} of {trial.rows:,} rows; allowed is none"
    return True, f"a number for each of {trial.rows:,} rows"


def window(trial: Trial, bounds: Bounds) -> Said:
    """There must be enough later rows with final labels to say anything."""
    text = f"{trial.rows:,} rows with {trial.frauds} frauds on {trial.days} days, {trial.span}"
    if trial.measures is None:
        return False, f"{trial.unmeasured} ({text}); give rows of later days"
    if trial.frauds < bounds.least_frauds or trial.days < bounds.least_days:
        return False, f"{text}; at least {bounds.least_frauds} frauds on {bounds.least_days} days are needed"
    return True, text


def calibration(trial: Trial, bounds: Bounds) -> Said:
    """The policy takes the probability at its word."""
    if (found := trial.measures) is None:
        return _nothing(trial)
    allowed = min(bounds.calibration_error, bounds.calibration_share * trial.fraud_rate)
    excess = max(0.0, found.calibration_error - found.chance_error)
    return (
        excess <= allowed,
        f"its probabilities are off by {found.calibration_error:.5f} on average, {excess:.5f} more than by chance; "
        f"allowed are {allowed:.5f} at {trial.fraud_rate:.2%} fraud",
    )


def useful(trial: Trial, bounds: Bounds) -> Said:
    """It must tell frauds from other payments, beyond chance, and save money against no model at all."""
    if (found := trial.measures) is None:
        return _nothing(trial)
    return (
        found.average_precision.low > trial.fraud_rate and found.saved_to_none.value > 0.0,
        f"its average precision is {found.average_precision}, by guessing {trial.fraud_rate:.4g}; against no model it "
        f"saves {found.saved_to_none} per 1,000 events",
    )


def better(trial: Trial, bounds: Bounds) -> Said:
    """Better beyond chance, at one thing at least."""
    if trial.measures is None or (against := trial.measures.against) is None:
        return _nothing(trial)
    text = f"it saves {against.saved} per 1,000 events, its card precision is higher by {against.precision_gained}"
    return (
        against.saved.low > 0.0 or against.precision_gained.low > 0.0,
        f"{text}; one of the low ends must exceed 0",
    )


def cost(trial: Trial, bounds: Bounds) -> Said:
    """Not dearer beyond chance, even where it finds more cards."""
    if (found := trial.measures) is None or (against := found.against) is None:
        return _nothing(trial)
    text = f"it costs {found.cost:.4g} per 1,000 events, the champion {against.champion_cost:.4g}"
    return against.saved.high >= 0.0, f"{text}: it saves {against.saved}; the high end must not be below 0"


def card_precision(trial: Trial, bounds: Bounds) -> Said:
    """Not worse beyond chance at finding cards, even where it costs less."""
    if (found := trial.measures) is None or (against := found.against) is None:
        return _nothing(trial)
    return (
        against.precision_gained.high >= 0.0,
        f"card-precision@{bounds.cards_a_day} is {found.card_precision:.4g}, the champion's "
        f"{against.champion_precision:.4g}: gained {against.precision_gained}; the high end must not be below 0",
    )


def segments(trial: Trial, bounds: Bounds) -> Said:
    """Not markedly worse to any part of the payments."""
    if trial.measures is None or (against := trial.measures.against) is None:
        return _nothing(trial)
    judged = {name: part for name, part in against.segments.items() if part.frauds >= bounds.segment_frauds}
    worse = {name: part for name, part in judged.items() if _lost(part) > bounds.segment_loss and part.saved.high < 0.0}
    if worse:
        parts = "; ".join(
            f"'{name}' costs {_lost(part):.0%} more ({part.champion_cost:.4g} per 1,000 events, saved {part.saved})"
            for name, part in sorted(worse.items(), key=lambda item: -_lost(item[1]))
        )
        return False, f"{parts}; allowed are {bounds.segment_loss:.0%}"
    if not judged:
        return None, f"no part of the rows has {bounds.segment_frauds} frauds"
    name, part = max(judged.items(), key=lambda item: _lost(item[1]))
    return (
        True,
        f"of {len(judged)} parts '{name}' fares worst: {_lost(part):+.1%} cost; allowed are {bounds.segment_loss:.0%}",
    )


GATES: tuple[Gate, ...] = (
    Gate("definition", "made for the features that are served", definition),
    Gate("parity", "ONNX answers as the native model", parity),
    Gate("latency", "one row is not much slower than the champion's", latency),
    Gate("answers", "a number for every row", answers),
    Gate("window", "enough later rows with final labels", window),
    Gate("calibration", "probabilities that can be taken at their word", calibration),
    Gate("useful", "tells frauds from other payments, and saves money against no model", useful),
    Gate("better", "better than the champion beyond chance, in cost or in card precision", better),
    Gate("cost", "not dearer than the champion beyond chance", cost),
    Gate("card precision", "not worse at finding cards beyond chance", card_precision),
    Gate("segments", "no part of the payments much worse off", segments),
)


def _nothing(trial: Trial) -> Said:
    return None, trial.unmeasured or trial.note or "there is no champion"


def _lost(part: SegmentTrial) -> float:
    """What a part costs more with the challenger, as a share of what it costs with the champion."""
    if part.champion_cost == 0.0:
        return 0.0 if part.saved.value >= 0.0 else float("inf")
    return -part.saved.value / part.champion_cost
