"""The gates of a ranker: whether it may rank instead of the one that does, or instead of the blend where none does.

It is judged on slates later than all that either learned from, by the order it would have put their items in: what was
acted on counts by the inverse of how likely its place was looked at. An equal ranker is not promoted. The trap: only
items that were shown are judged; what a ranker would have shown instead is for `training.off_policy`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from models.manifest import Interval
from models.onnx import OnnxModel
from stream.records import from_micros, micros
from training.bounds import BOUNDS, Bounds
from training.card_draws import CardDraws
from training.gates import Verdict
from training.ranker_fit import BLEND, blend_of, hundred_rows_us
from training.slate_rows import ETA, Floats, SlateRows, discounted_gains, weights

LEAST_SLATES = 100
"""With an action in them: fewer are a matter of luck."""
LATENCY_LIMIT_US = 1000.0
"""Of one call over a hundred candidates: a fifth of what 100,000 items may take at the 99th percentile."""


class RankerContest(NamedTuple):
    """A new ranker, the one that ranks (None: the blend), the definition that is served, and logged slates."""

    candidate: OnnxModel
    champion: OnnxModel | None
    serving_hash: str
    rows: SlateRows
    eta: float = ETA


def judge_ranker(contest: RankerContest, bounds: Bounds = BOUNDS) -> list[Verdict]:
    """What each gate says, in their order; all but those that failed are passed, or had nothing to judge by."""
    manifest = contest.candidate.manifest
    verdicts = [_definition(contest)]
    if verdicts[0].passed is False:
        return verdicts
    difference = manifest.max_onnx_difference
    verdicts.append(
        Verdict(
            "parity",
            difference is not None and difference <= bounds.onnx_difference,
            f"ONNX differs from the native model by {difference}; allowed are {bounds.onnx_difference:.0e}",
        )
    )
    rows = later_rows(contest)
    took_us = hundred_rows_us(contest.candidate, rows.X if len(rows.y) else np.zeros((1, len(manifest.feature_names))))
    text = f"a hundred rows take {took_us:.0f} us; allowed are {LATENCY_LIMIT_US:.0f} us"
    verdicts.append(Verdict("latency", took_us <= LATENCY_LIMIT_US, text))
    return [*verdicts, *_judged(contest, rows)]


def later_rows(contest: RankerContest) -> SlateRows:
    """The rows of slates that neither ranker has learned from, stopped on or was measured by."""
    models = [model for model in (contest.candidate, _champion(contest)) if model is not None]
    cutoff_us = max(micros(model.manifest.label_cutoff) for model in models)
    return contest.rows.where(contest.rows.at_us > cutoff_us)


def _champion(contest: RankerContest) -> OnnxModel | None:
    # One of another definition ranks nobody: the blend does.
    champion = contest.champion
    return champion if champion is not None and champion.manifest.definition_hash == contest.serving_hash else None


def _definition(contest: RankerContest) -> Verdict:
    ours, theirs = contest.serving_hash, contest.candidate.manifest.definition_hash
    if ours != theirs or contest.rows.definition_hash != ours:
        says = f"it was made for definition {theirs}, the features that are served are {ours}; train it again"
        return Verdict("definition", False, says)
    return Verdict("definition", True, f"definition {ours}, as served")


def _judged(contest: RankerContest, rows: SlateRows) -> list[Verdict]:
    group = rows.groups()
    acted = len(np.unique(group[rows.y != 0]))
    since = f"{from_micros(int(rows.at_us.min())):%Y-%m-%d %H:%M}" if len(rows.y) else "the cut-off"
    text = f"{acted} slates with an action since {since}; at least {LEAST_SLATES} are needed"
    window = Verdict("window", acted >= LEAST_SLATES, text)
    if not window.passed:
        return [window]
    score = contest.candidate.score_many(rows.X)
    missing = int(np.count_nonzero(~np.isfinite(score)))
    answers = Verdict("answers", missing == 0, f"no number for {missing} of {len(score):,} rows; allowed is none")
    champion = _champion(contest)
    other = blend_of(rows) if champion is None else champion.score_many(rows.X)
    if missing or other is None:
        says = "it has no number for some rows" if missing else f"there is no champion, and no {BLEND!r} to beat"
        return [window, answers, Verdict("better", None, says)]
    gained = gain_over(rows, score, np.nan_to_num(other, nan=-np.inf), contest.eta)
    name = "the blend" if champion is None else f"the champion {champion.version}"
    text = f"nDCG@10 is higher than that of {name} by {gained}; the low end must exceed 0"
    return [window, answers, Verdict("better", gained.low > 0.0, text)]


def gain_over(rows: SlateRows, score: Floats, other: Floats, eta: float = ETA) -> Interval:
    """How much higher the nDCG@10 of one score is than that of another, with its interval by slate."""
    group = rows.groups()
    gain = np.where(rows.y != 0, weights(rows, eta), 0.0)
    ours, theirs, best = (discounted_gains(group, one, gain) for one in (score, other, gain))
    return CardDraws(np.arange(len(best)), BOUNDS.draws).ratio(ours - theirs, best)
