"""The gates of a feedback model: lighter than a promotion's, since it is made several times a day and weighs little.

Its ranking is judged by the newest verdicts, which neither it nor the present one has learned, among good payments
of all traffic that it has not learned; its probabilities by a sample of all traffic, and each gate says how many of its
rows were fitted. What is judged is what serves: it is not fitted again on the rows that judged.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.onnx import OnnxModel
from training.bounds import BOUNDS, Bounds
from training.card_draws import CardDraws, Counts, RankedRows, interval
from training.feedback import spread
from training.frame import TrainingFrame
from training.gates import Verdict, definition, latency, parity
from training.metrics import calibration_error, chance_calibration_error
from training.trial import Trial, latencies_us

LEAST_COVERED = 0.9
"""Of the mature decisions, how many must have a label: those that analysts chose alone are no sample of all."""
LEAST_LIFT = 2.0
"""Times the fraud rate that its average precision must be: guessing has just that rate."""
MEAN_RATIO = 1.5
"""Its mean score may be so many times the fraud rate of all traffic, or that part of it."""
DRAWS = 300
BESIDE = 2_000
"""Good payments of all traffic, beside which the verdicts are ranked: those that analysts saw may be few."""
LEAST_BESIDE = 200
"""Where fewer good payments were not fitted, it is ranked beside fitted ones too."""


class Contest(NamedTuple):
    """A new feedback model, the present one (None: none that serves), and the rows that judge them.

    `verdicts` are the newest, empty where there is no present one; `covered` is of the population. `fitted`, shape
    (n_rows,), says on which rows of `population`, in the order of their times, the candidate was fitted.
    """

    candidate: OnnxModel
    present: OnnxModel | None
    serving_hash: str
    verdicts: TrainingFrame
    population: TrainingFrame
    fitted: NDArray[np.bool_]
    covered: float


def judge_feedback(contest: Contest, bounds: Bounds = BOUNDS) -> list[Verdict]:
    """What each gate says, in their order."""
    trial = _trial(contest)
    return [
        Verdict("definition", *definition(trial, bounds)),
        Verdict("parity", *parity(trial, bounds)),
        Verdict("latency", *latency(trial, bounds)),
        Verdict("population", *population(contest)),
        Verdict("calibration", *calibration(contest, bounds)),
        Verdict("useful", *useful(contest)),
        Verdict("verdicts", *verdicts(contest)),
    ]


def population(contest: Contest) -> tuple[bool, str]:
    """Probabilities that were learned on what somebody chose are true of that alone."""
    text = f"{contest.covered:.1%} of the mature decisions have a label"
    if contest.covered < LEAST_COVERED:
        return False, f"{text}, {LEAST_COVERED:.0%} are needed; where only frauds are reported, give --unlabelled legit"
    return True, text


def calibration(contest: Contest, bounds: Bounds) -> tuple[bool, str]:
    """True of all traffic: each probability within what chance explains, and their mean near the fraud rate."""
    y, score = contest.population.y, contest.candidate.score_many(contest.population.X)
    rate, mean = float(np.mean(y)), float(np.mean(score))
    error = calibration_error(y, score)
    excess = max(0.0, (1.0 if error is None else error) - chance_calibration_error(score))
    allowed = min(bounds.calibration_error, bounds.calibration_share * rate)
    return (
        excess <= allowed and rate / MEAN_RATIO <= mean <= rate * MEAN_RATIO,
        f"on {_rows(contest.fitted)} its mean score is {mean:.5f} at {rate:.5f} fraud, its probabilities are off by "
        f"{excess:.5f} more than by chance; allowed are a mean within {MEAN_RATIO:g} times and {allowed:.5f}",
    )


def useful(contest: Contest) -> tuple[bool, str]:
    """On rows of all traffic whose cards it had not seen it must find more frauds than guessing does."""
    metrics = contest.candidate.manifest.metrics
    found, rate = metrics.get("average_precision"), metrics.get("fraud_rate")
    if found is None or rate is None:
        return False, "its average precision was not measured"
    return found >= LEAST_LIFT * rate, f"its average precision is {found:.3f} at {rate:.3%} fraud"


def verdicts(contest: Contest) -> tuple[bool | None, str]:
    """Not worse than the present one beyond chance at telling the frauds among the newest verdicts."""
    if contest.present is None:
        return None, "there is no present model"
    judged = contest.verdicts
    usual = good_beside(contest)
    X = np.vstack([judged.X, contest.population.X[usual]])
    y = np.concatenate([judged.y, contest.population.y[usual]])
    card = np.concatenate([judged.card, contest.population.card[usual]])
    draws = CardDraws(card, DRAWS)
    ranked = [RankedRows(draws.index, model.score_many(X), y) for model in (contest.candidate, contest.present)]

    def both(counts: Counts) -> tuple[float, float] | None:
        ours, theirs = (one.average_precision(counts) for one in ranked)
        return None if ours is None or theirs is None else (ours, theirs)

    found = both(np.ones(len(draws.cards), dtype=np.int64))
    if found is None:
        return False, f"of the newest {len(judged.y)} verdicts none is fraud"
    ours, theirs = found
    drawn = [pair[0] - pair[1] for counts in draws if (pair := both(counts)) is not None]
    gained = interval(ours - theirs, np.array(drawn))
    return (
        gained.high >= 0.0,
        f"on the newest {len(judged.y)} verdicts, {int(np.count_nonzero(judged.y))} fraud, beside "
        f"{_rows(contest.fitted[usual])} of good payments its average precision is {ours:.3f} and the present one's "
        f"{theirs:.3f}: higher by {gained}; the high end must not be below 0",
    )


def good_beside(contest: Contest) -> NDArray[np.intp]:
    """The places of good payments of the population, evenly over its time: of those that were not fitted, if enough."""
    good = np.flatnonzero(contest.population.y == 0)
    unseen = good[~contest.fitted[good]]
    chosen = unseen if len(unseen) >= LEAST_BESIDE else good
    places: NDArray[np.intp] = chosen[spread(len(chosen), BESIDE)]
    return places


def _rows(fitted: NDArray[np.bool_]) -> str:
    return f"{len(fitted):,} rows ({int(fitted.sum()):,} of them fitted)"


def _trial(contest: Contest) -> Trial:
    """As the gates of a promotion want it, as far as they are asked."""
    present = contest.present
    latency_us = latencies_us([contest.candidate, *([] if present is None else [present])], contest.population.X)
    return Trial(
        challenger=contest.candidate.manifest,
        champion=None if present is None else present.manifest,
        serving_hash=contest.serving_hash,
        rows=0,
        frauds=0,
        days=0,
        span="",
        latency_us=latency_us[0],
        champion_latency_us=None if present is None else latency_us[1],
        unanswered=0,
        measures=None,
    )
