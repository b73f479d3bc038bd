"""From past vectors and their labels to an artifact with its manifest: fit, stop, convert, calibrate, measure.

Days are split by time, never at random: what is learned on Monday has to hold on Friday. In order of time:

    | fit ........................ | gap (labels not in yet) | stop | calibrate |

The last part decides the calibration and the metrics; nothing was fitted or stopped on it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from models.contract import Matrix, Vector
from models.manifest import LOGIT_EPSILON, Calibration, Manifest, Parameter, SearchSummary
from models.onnx import OnnxModel, raw_probabilities
from models.onnx_export import export, to_float32
from models.profile import Profile, sketch
from stream.records import from_micros
from training.effective import CARD, Entities, effective_number, fraud_cards
from training.families import FAMILIES
from training.frame import TrainingFrame
from training.metrics import Labels, auc, average_precision, calibration_error, card_precision, days_of
from training.segments import metrics_by_segment, segments_of

PARITY_ROWS = 5_000
TIMED_ROWS = 300
BOTH_CLASSES = 2


class SplitDays(msgspec.Struct, frozen=True, kw_only=True):
    """How many of the last days do what. `gap` is how long labels take to come in."""

    gap: int = 7
    stop: int = 3
    calibrate: int = 4


class Trained(NamedTuple):
    """An artifact that is ready to be registered."""

    onnx_bytes: bytes
    manifest: Manifest


class NotEnoughToLearn(ValueError):
    """A part of the days has no rows of one class. A retry helps once there are more labels."""


def train(
    frame: TrainingFrame,
    family: str = "hist_gradient_boosting",
    *,
    created_at: datetime,
    name: str = "fraud",
    split: SplitDays | None = None,
    changes: Mapping[str, Parameter] | None = None,
    search: SearchSummary | None = None,
    git_revision: str | None = None,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> Trained:
    """Fit one family and bring it into the form that serves.

    Parameters
    ----------
    frame
        At least `gap + stop + calibrate + 1` days, with both classes in each part.
    family
        A key of `training.families.FAMILIES`.
    created_at
        Goes into the manifest, and into the version that the registry gives.
    changes
        Parameters of the family that are to differ from its defaults.
    search
        How they were found, for the manifest (`training.search`).
    on_stage
        Called with a few words as each stage begins, for showing progress.

    Raises
    ------
    NotEnoughToLearn
        When a part of the split lacks a class.
    ExportMismatch
        When the ONNX form does not answer as the estimator does.
    """
    if family not in FAMILIES:
        raise ValueError(f"model family {family!r} is unknown; use one of {', '.join(FAMILIES)}")
    X = to_float32(frame.X)  # the artifact compares float32 values: fit on the same ones
    fit, stop, calibrate = split_rows(frame, SplitDays() if split is None else split)
    # A feature that nobody has sent yet must not stop the others: as a constant it is never split on.
    X[:, np.isnan(X[fit]).all(axis=0)] = 0.0

    on_stage(f"fit {family} on {len(fit):,} rows")
    chosen = FAMILIES[family]
    estimator, parameters = chosen.fit((X[fit], frame.y[fit]), (X[stop], frame.y[stop]), changes or {})

    on_stage("convert to ONNX and compare")
    content, difference = export(estimator, with_nulls(X[calibrate][:PARITY_ROWS]))

    on_stage(f"calibrate and measure on {len(calibrate):,} rows")
    calibration = platt(raw_probabilities(content, X[calibrate]), frame.y[calibrate])
    last_us = int(frame.event_time_us.max())
    manifest = Manifest(
        name=name,
        created_at=created_at,
        family=family,
        feature_names=frame.feature_names,
        definition_hash=frame.definition_hash,
        window_start=from_micros(int(frame.event_time_us[fit].min())),
        window_end=from_micros(int(frame.event_time_us[fit].max())),
        label_cutoff=from_micros(last_us if frame.label_cutoff_us is None else frame.label_cutoff_us),
        git_revision=git_revision,
        parameters=parameters,
        calibration=calibration,
        max_onnx_difference=difference,
        reference=usual(frame, fit),
        search=search,
    )
    score = OnnxModel(content, manifest).score_many(X[calibrate])
    profile = profile_of(frame, fit, calibrate, score)
    return measured(content, manifest, frame, calibrate, score, len(fit), profile)


def measured(
    content: bytes,
    manifest: Manifest,
    frame: TrainingFrame,
    later: NDArray[np.intp],
    score: Vector,
    fitted: int,
    profile: Profile,
) -> Trained:
    """The artifact with all that its calibrated scores of the `later` rows say in its manifest, shape (len(later),)."""
    card, y = frame.card[later], frame.y[later]
    return Trained(
        content,
        msgspec.structs.replace(
            manifest,
            metrics=_metrics(frame, later, score, fitted),
            segments=metrics_by_segment(card, y, score, _segments(frame, later)),
            calibration_error=calibration_error(y, score),
            single_row_latency_us=_single_row_latency_us(OnnxModel(content, manifest), to_float32(frame.X[later])),
            profile=profile,
        ),
    )


def profile_of(
    frame: TrainingFrame, fit: NDArray[np.intp], later: NDArray[np.intp], score: Vector, member: str = "batch"
) -> Profile:
    """What was usual: the features of the rows that were fitted, and the scores of later ones."""
    return Profile(
        rows=len(fit),
        units=_units(frame, fit),
        fraud_cards=fraud_cards(frame.card[fit], frame.y[fit]),
        fraud_rate=float(np.mean(frame.y[fit])),
        features={name: sketch(frame.X[fit, place]) for place, name in enumerate(frame.feature_names)},
        measured_rows=len(later),
        measured_units=_units(frame, later),
        scores={member: sketch(score)},
    )


def _units(frame: TrainingFrame, rows: NDArray[np.intp]) -> dict[str, float]:
    if frame.records is None:
        _, of_card = np.unique(frame.card[rows], return_counts=True)
        return {CARD: effective_number(of_card)}
    records = frame.records[rows].tolist()
    fields = [field for field in records[0].__struct_fields__ if field.endswith("_id") and field != "event_id"]
    return Entities(records, fields).all_units()


def _segments(frame: TrainingFrame, rows: NDArray[np.intp]) -> dict[str, NDArray[np.bool_]]:
    return {} if frame.records is None else segments_of(frame.records[rows].tolist())


def usual(frame: TrainingFrame, rows: NDArray[np.intp]) -> dict[str, float]:
    """The median of each feature over legit rows; without those that were never known."""
    legit = frame.X[rows[frame.y[rows] == 0]]
    known = ~np.isnan(legit).all(axis=0)
    medians = np.nanmedian(legit[:, known], axis=0).tolist()
    return dict(zip((name for name, has in zip(frame.feature_names, known, strict=True) if has), medians, strict=True))


def split_rows(frame: TrainingFrame, split: SplitDays) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Which rows fit, stop and calibrate. Raises `NotEnoughToLearn` where one of them lacks a class."""
    day = days_of(frame.event_time_us)
    calibrate_from = int(day.max()) + 1 - split.calibrate
    stop_from = calibrate_from - split.stop
    parts = {
        "fit": day < stop_from - split.gap,
        "stop": (day >= stop_from) & (day < calibrate_from),
        "calibrate": day >= calibrate_from,
    }
    for part, rows in parts.items():
        if len(np.unique(frame.y[rows])) < BOTH_CLASSES:
            raise NotEnoughToLearn(
                f"the days to {part} have {int(frame.y[rows].sum())} fraud among {int(rows.sum())} rows, of "
                f"{int(day.max() - day.min()) + 1} days in all, of which the last {split.calibrate} calibrate, "
                f"{split.stop} before them stop and {split.gap} more wait for labels; take more days, or wait longer"
            )
    fit, stop, calibrate = (np.flatnonzero(rows) for rows in parts.values())
    return fit, stop, calibrate


def with_nulls(rows: Matrix) -> Matrix:
    """What an artifact is compared on: the rows, and again with each feature null in turn, and one row of nulls."""
    n_features = rows.shape[1]
    blanked = rows[np.arange(4 * n_features) % len(rows)].copy()
    blanked[np.arange(4 * n_features), np.arange(4 * n_features) % n_features] = np.nan
    return np.vstack([rows, blanked, np.full((1, n_features), np.nan)])


def platt(raw: Vector, y: Labels) -> Calibration:
    """The scaling that makes raw probabilities of these rows true of them, both of shape (n_rows,)."""
    p = np.clip(raw, LOGIT_EPSILON, 1.0 - LOGIT_EPSILON)
    fitted = LogisticRegression(C=1e6).fit(np.log(p / (1.0 - p)).reshape(-1, 1), y)
    slope, intercept = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    # A slope that is not positive would turn the order around: the model is useless, and the metrics shall say so.
    return Calibration(slope, intercept) if slope > 0.0 else Calibration()


def _metrics(frame: TrainingFrame, rows: NDArray[np.intp], score: Vector, fitted: int) -> dict[str, float | None]:
    y = frame.y[rows]
    return {
        "auc": auc(y, score),
        "average_precision": average_precision(y, score),
        "card_precision_100": card_precision(days_of(frame.event_time_us[rows]), frame.card[rows], score, y),
        "brier": float(np.mean((score - y) ** 2)),
        "fraud_rate": float(np.mean(y)),
        "mean_score": float(np.mean(score)),
        "fitted_rows": float(fitted),
        "measured_rows": float(len(rows)),
    }


def _single_row_latency_us(model: OnnxModel, rows: Matrix) -> float:
    took_ns = []
    for x in rows[np.arange(TIMED_ROWS) % len(rows)]:
        start = time.perf_counter_ns()
        model.score_one(x)
        took_ns.append(time.perf_counter_ns() - start)
    return float(np.median(took_ns)) / 1000.0
