"""From the rows of logged slates to a ranker with its manifest: fit, stop, convert, measure.

Slates are split by time, whole slates together:

    | fit ......................... | stop | measure |

The last part decides the metrics; nothing was fitted or stopped on it. A score is how probable an action is at a place
that is looked at: above the logged click rate, and not calibrated to it. Trees are few and small: one call ranks a
hundred candidates, and each tree is walked a hundred times.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from models.contract import Matrix
from models.manifest import Manifest, Parameter
from models.onnx import OnnxModel
from models.onnx_export import export, to_float32
from stream.records import from_micros
from training.batch import PARITY_ROWS, NotEnoughToLearn, Trained, profile_of, usual, with_nulls
from training.frame import TrainingFrame
from training.metrics import auc, average_precision
from training.slate_rows import ETA, Floats, SlateRows, ndcg, weights
from training.trial import latencies_us

NAME = "ranker"
FAMILY = "hist_gradient_boosting"
BLEND = "cross_blend"
"""The feature that ranks where there is no model: what a ranker has to beat."""
DEFAULTS: dict[str, Parameter] = {
    "learning_rate": 0.1,
    "max_iter": 50,
    "max_leaf_nodes": 15,
    "max_bins": 63,  # weighted rows: scikit-learn asks for a weighted percentile at each edge of each feature
    "min_samples_leaf": 50,
    "l2_regularization": 1.0,
    "n_iter_no_change": 10,
    "random_state": 0,
}
RISING = ("_share", "_nearness")
"""Ends of the names of cross features by which a better item is never ranked lower: what a source says of it."""
CANDIDATES = 100
TIMED_ROUNDS = 30


class SlateSplit(msgspec.Struct, frozen=True, kw_only=True):
    """Which share of the slates, the last ones, stop the fit and measure it."""

    stop: float = 0.1
    measure: float = 0.2

    def __post_init__(self) -> None:
        if not (0.0 < self.stop < 1.0 and 0.0 < self.measure < 1.0 and self.stop + self.measure < 1.0):
            raise ValueError(f"stop {self.stop} and measure {self.measure} are shares that leave some slates to fit")


class Parts(NamedTuple):
    """Rows that fit, stop and measure."""

    fit: NDArray[np.intp]
    stop: NDArray[np.intp]
    measure: NDArray[np.intp]


def fit_ranker(
    rows: SlateRows,
    *,
    created_at: datetime,
    name: str = NAME,
    split: SlateSplit | None = None,
    changes: Mapping[str, Parameter] | None = None,
    eta: float = ETA,
    ignored: Collection[str] = (),
    git_revision: str | None = None,
) -> Trained:
    """Fit a ranker and bring it into the form that serves.

    Parameters
    ----------
    rows
        Vectors as they were served, float32 or not; slates that nobody acted on teach too.
    changes
        Parameters of scikit-learn's `HistGradientBoostingClassifier` that are to differ from `DEFAULTS`.
    eta
        How steeply attention falls with the place; 0 gives every place the same weight.
    ignored
        Features that stay in the vector and that the model does not look at.

    Raises
    ------
    NotEnoughToLearn
        When a part of the split lacks rows that were acted on, or others.
    ExportMismatch
        When the ONNX form does not answer as the estimator does.
    """
    X = to_float32(rows.X)
    group = rows.groups()
    parts = split_slates(rows, group, split or SlateSplit())
    # A feature that nobody has sent yet must not stop the others: as a constant it is never split on.
    X[:, np.isnan(X[parts.fit]).all(axis=0) | np.isin(rows.feature_names, list(ignored))] = 0.0
    weight = weights(rows, eta)
    parameters = {**DEFAULTS, **(changes or {})}
    rising = [int(name.startswith("cross_") and name.endswith(RISING)) for name in rows.feature_names]
    estimator = HistGradientBoostingClassifier(early_stopping=True, monotonic_cst=rising, **parameters).fit(
        X[parts.fit],
        rows.y[parts.fit],
        sample_weight=weight[parts.fit],
        X_val=X[parts.stop],
        y_val=rows.y[parts.stop],
        sample_weight_val=weight[parts.stop],
    )
    content, difference = export(estimator, with_nulls(X[parts.measure][:PARITY_ROWS]))
    frame = TrainingFrame(rows.X, rows.y, rows.at_us, rows.slate, rows.feature_names, rows.definition_hash)
    manifest = Manifest(
        name=name,
        created_at=created_at,
        family=FAMILY,
        feature_names=rows.feature_names,
        definition_hash=rows.definition_hash,
        window_start=from_micros(int(rows.at_us[parts.fit].min())),
        window_end=from_micros(int(rows.at_us[parts.fit].max())),
        label_cutoff=from_micros(int(rows.at_us.max())),
        git_revision=git_revision,
        parameters={**parameters, "eta": eta},
        max_onnx_difference=difference,
        reference=usual(frame, parts.fit),
    )
    model = OnnxModel(content, manifest)
    later = rows.X[parts.measure]
    score = model.score_many(later)
    metrics = _metrics(rows, group, weight, parts, score)
    metrics["hundred_rows_us"] = hundred_rows_us(model, later)
    manifest = msgspec.structs.replace(
        manifest,
        metrics=metrics,
        single_row_latency_us=latencies_us([model], to_float32(later))[0],
        profile=profile_of(frame, parts.fit, parts.measure, score, member=name),
    )
    return Trained(content, manifest)


def split_slates(rows: SlateRows, group: NDArray[np.int64], split: SlateSplit) -> Parts:
    """Which rows fit, stop and measure. Raises `NotEnoughToLearn` where one of them has only one kind of rows."""
    slates = int(group.max()) + 1 if len(group) else 0
    measure_from = slates - round(slates * split.measure)
    stop_from = measure_from - round(slates * split.stop)
    parts = Parts(
        np.flatnonzero(group < stop_from),
        np.flatnonzero((group >= stop_from) & (group < measure_from)),
        np.flatnonzero(group >= measure_from),
    )
    for part, places in parts._asdict().items():
        acted = int(np.count_nonzero(rows.y[places]))
        if not 0 < acted < len(places):
            raise NotEnoughToLearn(
                f"the slates to {part} have {acted} rows that were acted on among {len(places)}, of {slates} slates in "
                f"all, of which {split.measure:.0%} measure and {split.stop:.0%} before them stop; take more slates"
            )
    return parts


def _metrics(
    rows: SlateRows, group: NDArray[np.int64], weight: Floats, parts: Parts, score: Floats
) -> dict[str, float | None]:
    places = parts.measure
    y = rows.y[places]
    gain = np.where(y != 0, weight[places], 0.0)
    metrics = {
        "auc": auc(y, score),
        "average_precision": average_precision(y, score),
        "ndcg_10": ndcg(group[places], score, gain),
        "log_loss": _log_loss(y, score),
        "click_rate": float(np.mean(y != 0)),
        "mean_score": float(np.mean(score)),
        "fitted_rows": float(len(parts.fit)),
        "measured_rows": float(len(places)),
        "measured_slates": float(len(np.unique(group[places]))),
    }
    if (blend := blend_of(rows)) is not None:
        metrics["ndcg_10_blend"] = ndcg(group[places], blend[places], gain)
    return metrics


def blend_of(rows: SlateRows) -> Floats | None:
    """What the rows were ranked by where there is no model; None where that is not among their features."""
    if BLEND not in rows.feature_names:
        return None
    return np.nan_to_num(rows.X[:, rows.feature_names.index(BLEND)], nan=-np.inf)


def _log_loss(y: NDArray[np.int8], score: Floats) -> float:
    p = np.clip(score, 1e-7, 1.0 - 1e-7)
    return float(-np.mean(np.where(y != 0, np.log(p), np.log(1.0 - p))))


def hundred_rows_us(model: OnnxModel, rows: Matrix) -> float:
    """The median time of one call over a hundred candidates."""
    asked = rows[np.arange(CANDIDATES) % len(rows)].astype(np.float32)
    took_ns = []
    for _ in range(TIMED_ROUNDS):
        start = time.perf_counter_ns()
        model.score_many(asked)  # type: ignore[arg-type]
        took_ns.append(time.perf_counter_ns() - start)
    return float(np.median(took_ns)) / 1000.0
