"""Curves of an evaluation: calibration by bins of equal mass, and precision by recall."""

from __future__ import annotations

import numpy as np

from training.card_draws import CardDraws, interval
from training.evaluation_report import CalibrationBin, CurvePoint
from training.metrics import Labels, Scores

BINS = 15
CURVE_POINTS = 200


def calibration_curve(draws: CardDraws, label: Labels, score: Scores, bins: int = BINS) -> list[CalibrationBin]:
    """From the lowest scores to the highest, bins of about equal mass; equal scores stay together.

    The intervals of the fraud rates are by card.
    """
    order = np.argsort(score, kind="stable")
    rising = score[order]
    edges = np.linspace(0, len(rising), min(bins, len(rising)), endpoint=False).astype(np.int64)
    # An edge within a tie moves to where the tie begins, or one score would be in two bins.
    edges = np.unique(np.searchsorted(rising, rising[edges], side="left"))
    place = np.empty(len(rising), dtype=np.intp)
    place[order] = np.searchsorted(edges, np.arange(len(rising)), side="right") - 1
    is_fraud = (label != 0).astype(np.float64)
    n_bins = len(edges)
    rows, frauds, said = (np.bincount(place, weights, n_bins) for weights in (None, is_fraud, score))
    drawn = []
    for counts in draws:
        there = counts[draws.index].astype(np.float64)
        mass = np.bincount(place, there, n_bins)
        drawn.append(np.bincount(place, there * is_fraud, n_bins) / np.where(mass > 0.0, mass, np.nan))
    rates = np.array(drawn).reshape(-1, n_bins)
    return [
        CalibrationBin(
            rows=int(rows[bin_]),
            frauds=int(frauds[bin_]),
            mean_score=float(said[bin_] / rows[bin_]),
            fraud_rate=interval(float(frauds[bin_] / rows[bin_]), rates[~np.isnan(rates[:, bin_]), bin_]),
        )
        for bin_ in range(n_bins)
    ]


def precision_curve(label: Labels, score: Scores, points: int = CURVE_POINTS) -> list[CurvePoint]:
    """Precision by recall, at so many thresholds at most; empty without frauds."""
    if not np.count_nonzero(label):
        return []
    order = np.argsort(-score, kind="stable")
    falling = score[order]
    last = np.append(np.flatnonzero(np.diff(falling)), len(falling) - 1)
    caught = np.cumsum(label[order] != 0)[last]
    recall, precision = caught / caught[-1], caught / (last + 1.0)
    # Of the thresholds with one recall, the first is the best; of those that are left, some evenly by recall.
    rises = np.flatnonzero(np.diff(caught, prepend=0))
    if len(rises) > points:
        rises = np.unique(rises[np.linspace(0, len(rises) - 1, points).astype(np.int64)])
    return [CurvePoint(float(recall[at]), float(precision[at])) for at in rises]
