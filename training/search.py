"""Parameters by random search, judged as the model will be: on days that come after those it was fitted on.

The days that calibrate and measure are cut off first and never looked at. What is left is split as `training.batch`
splits, once for each fold, and the folds move back in time:

    | fit ............ | gap | stop | judge | calibrate (not seen) |
    | fit .... | gap | stop | judge |

A trial's value is the mean over the folds. The first trial of each family has its defaults, so that what is chosen
was at least as good there. Where values are as good as equal, the simpler model is chosen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import msgspec
import numpy as np

from models.contract import Matrix, Vector
from models.manifest import Parameter, SearchSummary
from models.onnx_export import to_float32
from training.batch import NotEnoughToLearn, SplitDays, split_rows
from training.families import FAMILIES
from training.frame import TrainingFrame
from training.metrics import Labels, auc, average_precision, card_precision, days_of
from training.space import draw

AS_GOOD = 0.001
"""Values that are no further apart are as good as equal: other days would order them otherwise."""
FOLDS = 2

Ended = Literal["trials", "time", "interrupted"]
Changes = dict[str, Parameter]

OBJECTIVES: dict[str, Callable[[TrainingFrame, Vector], float | None]] = {
    "average_precision": lambda frame, score: average_precision(frame.y, score),
    "auc": lambda frame, score: auc(frame.y, score),
    "card_precision_100": lambda frame, score: card_precision(days_of(frame.event_time_us), frame.card, score, frame.y),
}


@dataclass(frozen=True)
class Budget:
    """How much may be tried: so many trials, so many seconds, or whichever ends first."""

    trials: int | None = None
    time_s: float | None = None

    def __post_init__(self) -> None:
        if self.trials is None and self.time_s is None:
            raise ValueError("a search without a budget never ends; give trials or time_s")
        for name, value in (("trials", self.trials), ("time_s", self.time_s)):
            if value is not None and value <= 0:
                raise ValueError(f"the budget's {name} is {value}; give more than 0")


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One set of parameters and how good it was, in each fold and on average."""

    number: int
    family: str
    changes: Changes
    folds: tuple[float, ...]
    value: float
    took_s: float


class Fold(NamedTuple):
    """Rows to fit and to stop on, and later ones that judge."""

    fit: tuple[Matrix, Labels]
    stop: tuple[Matrix, Labels]
    X: Matrix
    judged: TrainingFrame


class Search(NamedTuple):
    """Every trial in its order, and the one that is chosen; `summary` goes into the manifest."""

    trials: list[Trial]
    best: Trial
    summary: SearchSummary


def search(
    frame: TrainingFrame,
    family: str | Sequence[str] = "hist_gradient_boosting",
    budget: Budget | None = None,
    *,
    split: SplitDays | None = None,
    objective: str = "average_precision",
    changes: Mapping[str, Parameter] | None = None,
    folds: int = FOLDS,
    seed: int = 0,
    on_trial: Callable[[Trial, Trial], None] = lambda trial, best: None,
    clock: Callable[[], float] = time.monotonic,
) -> Search:
    """Try parameters until the budget is spent. The same seed tries the same ones in the same order.

    Ctrl-C ends it as the budget does, once there is a trial. After that:
    `train(frame, found.best.family, changes=found.best.changes, search=found.summary, ...)`.

    Parameters
    ----------
    frame, split
        As `training.batch.train` gets them.
    family
        One or several keys of `training.families.FAMILIES`, which then take turns.
    budget
        20 trials by default. No trial begins of which there is not time for another as slow as the slowest yet; only
        the first is never left out.
    objective
        A key of `OBJECTIVES`; greater is better.
    changes
        Parameters that are fixed, whatever is drawn.
    folds
        How many at most: as many as have both classes in each part.
    on_trial
        Called after each trial with it and the best so far.

    Raises
    ------
    NotEnoughToLearn
        When not even one fold has both classes in each part.
    """
    families = (family,) if isinstance(family, str) else tuple(family)
    if unknown := [name for name in families if name not in FAMILIES]:
        raise ValueError(f"model family {unknown[0]!r} is unknown; use one of {', '.join(FAMILIES)}")
    if objective not in OBJECTIVES:
        raise ValueError(f"objective {objective!r} is unknown; use one of {', '.join(OBJECTIVES)}")
    budget = Budget(trials=20) if budget is None else budget
    judges = folds_of(frame, SplitDays() if split is None else split, folds)
    begun, trials, ended = clock(), list[Trial](), "trials"
    try:
        while budget.trials is None or len(trials) < budget.trials:
            slowest = max((trial.took_s for trial in trials), default=0.0)
            if trials and budget.time_s is not None and clock() - begun + slowest > budget.time_s:
                ended = "time"
                break
            started = clock()
            name, drawn = parameters_of(len(trials), families, seed)
            tried = {**drawn, **(changes or {})}
            values = tuple(_value(name, tried, fold, objective) for fold in judges)
            mean = float(np.mean(values))
            number = len(trials)
            trials.append(
                Trial(number=number, family=name, changes=tried, folds=values, value=mean, took_s=clock() - started)
            )
            on_trial(trials[-1], best_of(trials))
    except KeyboardInterrupt:
        if not trials:
            raise
        ended = "interrupted"
    best = best_of(trials)
    summary = SearchSummary(
        objective=objective,
        value=best.value,
        default_value=next(trial.value for trial in trials if trial.family == best.family),
        trials=len(trials),
        folds=len(judges),
        families=families,
        seed=seed,
        ended=ended,
    )
    return Search(trials, best, summary)


def folds_of(frame: TrainingFrame, split: SplitDays, most: int) -> list[Fold]:
    """The folds, latest first, of all days but those that calibrate. Raises `NotEnoughToLearn` where there is none."""
    day = days_of(frame.event_time_us)
    found: list[Fold] = []
    for number in range(1, most + 1):
        before = day < int(day.max()) + 1 - number * split.calibrate
        try:
            if not before.any():
                raise NotEnoughToLearn("no days are left")
            found.append(_fold(frame.where(before), split))
        except NotEnoughToLearn as error:
            if not found:
                raise NotEnoughToLearn(f"a search judges on the days before those that calibrate: {error}") from None
            break
    return found


def parameters_of(number: int, families: Sequence[str], seed: int) -> tuple[str, Changes]:
    """What a trial tries: each family's defaults first, then draws that do not depend on how many trials there are."""
    name = families[number % len(families)]
    if number < len(families):
        return name, {}
    return name, draw(FAMILIES[name].space, np.random.default_rng([seed, number]))


def best_of(trials: Sequence[Trial]) -> Trial:
    """The best trial; of those as good as it, the simplest, and of those the first."""
    most = max(trial.value for trial in trials)
    order = list(FAMILIES)

    def simplicity(trial: Trial) -> tuple[int, float]:
        family = FAMILIES[trial.family]
        return order.index(trial.family), family.size({**family.defaults, **trial.changes})

    return min((trial for trial in trials if trial.value >= most - AS_GOOD), key=simplicity)


def _fold(frame: TrainingFrame, split: SplitDays) -> Fold:
    fit, stop, judge = split_rows(frame, split)
    X = to_float32(frame.X)
    # As in training: a feature that nobody has sent yet must not stop the others.
    X[:, np.isnan(X[fit]).all(axis=0)] = 0.0
    chosen = np.zeros(len(frame.y), dtype=np.bool_)
    chosen[judge] = True
    return Fold((X[fit], frame.y[fit]), (X[stop], frame.y[stop]), X[judge], frame.where(chosen))


def _value(family: str, changes: Changes, fold: Fold, objective: str) -> float:
    estimator, _ = FAMILIES[family].fit(fold.fit, fold.stop, changes)
    value = OBJECTIVES[objective](fold.judged, estimator.predict_proba(fold.X)[:, 1])
    assert value is not None, "a fold has both classes"
    return value
