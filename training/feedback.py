"""The feedback member: a small model of what analysts found lately, long before all labels of those days are in.

Analysts look at what scored high, so among their verdicts fraud is common and ordinary payments are rare. What is
learned there ranks well and says far too much of all traffic. Hence two kinds of rows:

    verdicts    recent, looked at by an analyst: what is new is in them
    population  all traffic, old enough that its labels are final: what is usual is in it, and how rare fraud is

The model is fitted on both. It is calibrated and measured on the population alone, each row by a model that has not
seen its card: the same few rows would flatter whoever was fitted on them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from models.contract import Matrix, Vector
from models.ensemble import FEEDBACK
from models.manifest import Manifest, Parameter
from models.onnx_export import export, to_float32
from stream.records import from_micros
from training.batch import (
    BOTH_CLASSES,
    PARITY_ROWS,
    NotEnoughToLearn,
    Trained,
    measured,
    platt,
    profile_of,
    usual,
    with_nulls,
)
from training.families import FAMILIES, Estimator, Family, Parameters
from training.frame import TrainingFrame
from training.metrics import Labels

FEWEST = 20
"""Frauds among the verdicts, and of each class in the population: below it a slope is a guess. Good payments may be
missing among the verdicts, where analysts see little else than fraud: the population has them."""
BACKGROUND = 3_000
"""Most rows of the population that are fitted, evenly over its time: enough to know what is usual. On a week of the
Fraud Detection Handbook's data that followed, average precision was 0.63 without them, 0.74 with 3,000 and 0.74 with
20,000; the fewer they are, the more a verdict counts."""
FOLDS = 5


def small_boosted_trees(parameters: Parameters) -> Estimator:
    """A few shallow trees without early stopping: there are too few rows to set some aside.

    Measured as above they had an average precision of 0.74, logistic regression 0.67.
    """
    return HistGradientBoostingClassifier(early_stopping=False, **parameters)  # type: ignore[no-any-return]


FEEDBACK_FAMILIES = {
    "small_boosted_trees": Family(
        small_boosted_trees,
        {
            "learning_rate": 0.1,
            "max_iter": 80,
            "max_leaf_nodes": 8,
            "min_samples_leaf": 20,
            "l2_regularization": 1.0,
            "random_state": 0,
        },
    ),
    "logistic_regression": FAMILIES["logistic_regression"],
}
"""Those that a few hundred rows can teach."""


def train_feedback(
    verdicts: TrainingFrame,
    population: TrainingFrame,
    *,
    created_at: datetime,
    name: str,
    family: str = "small_boosted_trees",
    changes: Mapping[str, Parameter] | None = None,
    background: int = BACKGROUND,
    beside: NDArray[np.intp] | None = None,
    git_revision: str | None = None,
) -> Trained:
    """Fit on what analysts said, and bring it into the form that serves all traffic.

    Parameters
    ----------
    verdicts
        Recent events that an analyst looked at, each with the last verdict.
    population
        Events of all traffic whose labels are final, also of those that nobody looked at. Its share of fraud is the
        one that the scores will have. An event may be in both.
    background
        How many rows of the population are fitted beside the verdicts.
    beside
        The places of these rows, where the caller chose them (`background_of`).

    Raises
    ------
    NotEnoughToLearn
        When a class is missing or too rare; says which.
    ExportMismatch
        When the ONNX form does not answer as the estimator does.
    """
    if family not in FEEDBACK_FAMILIES:
        raise ValueError(f"model family {family!r} is unknown; use one of {', '.join(FEEDBACK_FAMILIES)}")
    if (verdicts.definition_hash, verdicts.feature_names) != (population.definition_hash, population.feature_names):
        raise ValueError(
            f"the verdicts are of definition {verdicts.definition_hash} and the population of "
            f"{population.definition_hash}; collect both with the same features"
        )
    _enough(verdicts.y, population.y)
    taken = background_of(population, background) if beside is None else beside
    X = to_float32(np.vstack([verdicts.X, population.X[taken]]))
    y = np.concatenate([verdicts.y, population.y[taken]])
    card = np.concatenate([verdicts.card, population.card[taken]])

    chosen = FEEDBACK_FAMILIES[family]
    parameters = {**chosen.defaults, **(changes or {})}

    def fit(X: Matrix, y: Labels) -> Estimator:
        # A feature that nobody has sent yet must not stop the others: as a constant it is never split on.
        return chosen.build(parameters).fit(np.where(np.isnan(X).all(axis=0), 0.0, X), y)

    with threadpool_limits(1):  # more are slower for so few rows, and take from whoever scores on this machine
        raw = _unseen(fit, X, y, _folds(card), to_float32(population.X), _folds(population.card))
        content, difference = export(fit(X, y), with_nulls(X[:PARITY_ROWS]))
    calibration = platt(raw, population.y)
    score = calibration.apply_many(raw)
    every = np.arange(len(population.y))
    manifest = Manifest(
        name=name,
        created_at=created_at,
        family=family,
        feature_names=verdicts.feature_names,
        definition_hash=verdicts.definition_hash,
        window_start=from_micros(int(verdicts.event_time_us.min())),
        window_end=from_micros(int(verdicts.event_time_us.max())),
        label_cutoff=from_micros(_cutoff_us(verdicts)),
        git_revision=git_revision,
        parameters={**parameters, "verdicts": len(verdicts.y), "background": len(taken)},
        calibration=calibration,
        max_onnx_difference=difference,
        reference=usual(population, every),
    )
    profile = profile_of(population, every, every, score, FEEDBACK)
    return measured(content, manifest, population, every, score, len(y), profile)


def _cutoff_us(frame: TrainingFrame) -> int:
    return int(frame.event_time_us.max()) if frame.label_cutoff_us is None else frame.label_cutoff_us


def _enough(verdicts: Labels, population: Labels) -> None:
    found, frauds = int(np.count_nonzero(verdicts)), int(np.count_nonzero(population))
    if found < FEWEST:
        raise NotEnoughToLearn(
            f"of {len(verdicts)} verdicts {found} are fraud, and {FEWEST} are needed; wait for more, "
            "or look further back"
        )
    if min(frauds, len(population) - frauds) < FEWEST:
        raise NotEnoughToLearn(
            f"the mature population has {frauds} frauds among {len(population)} labelled rows, and {FEWEST} of each "
            "class are needed; wait for labels, or look further back"
        )


def background_of(population: TrainingFrame, most: int = BACKGROUND) -> NDArray[np.intp]:
    """The places of at most so many rows, evenly over their time."""
    places: NDArray[np.intp] = np.argsort(population.event_time_us, kind="stable")[spread(len(population.y), most)]
    return places


def spread(rows: int, most: int) -> NDArray[np.intp]:
    """Places of at most `most` rows, evenly apart."""
    return np.unique(np.linspace(0, rows - 1, min(rows, most)).astype(np.intp)) if most else np.empty(0, np.intp)


def _folds(card: NDArray[Any]) -> NDArray[np.int64]:
    """The same fold for all rows of a card, in either kind of rows."""
    return np.array([crc32(str(one).encode()) % FOLDS for one in card], dtype=np.int64)


def _unseen(
    fit: Callable[[Matrix, Labels], Estimator],
    X: Matrix,
    y: Labels,
    fold: NDArray[np.int64],
    later: Matrix,
    later_fold: NDArray[np.int64],
) -> Vector:
    """Raw probabilities of the `later` rows, each by a model fitted without the fold that its card is in."""
    raw = np.empty(len(later))
    for held_out in range(FOLDS):
        kept, asked = fold != held_out, later_fold == held_out
        if len(np.unique(y[kept])) < BOTH_CLASSES:
            raise NotEnoughToLearn("the frauds are all of a few cards; wait for verdicts on more of them")
        if asked.any():
            raw[asked] = fit(X[kept], y[kept]).predict_proba(later[asked])[:, 1]
    return raw
