"""The handbook's own models on its fifteen features, which our engine computes; and what was published of them.

XGBoost, the fifth row of the table, is left out: it is no dependency of ours. Published: chapter 3, "Baseline fraud
detection system"; the means over four folds in chapters 5 and 7.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from bench.figures import Figure, Figures
from bench.handbook_features import COLUMNS
from bench.handbook_protocol import Fold, Quality, judged_rows, quality, training_rows
from bench.handbook_rows import Rows

FEATURES = tuple(COLUMNS.values())
TOLERANCE = 0.005
MEASURES = {"auc": "AUC", "average_precision": "AP", "card_precision": "CP@100"}
BASELINES: dict[str, Callable[[], Any]] = {
    "logistic regression": lambda: LogisticRegression(random_state=0),
    "decision tree, depth 2": lambda: DecisionTreeClassifier(max_depth=2, random_state=0),
    "decision tree": lambda: DecisionTreeClassifier(random_state=0),
    "random forest": lambda: RandomForestClassifier(random_state=0, n_jobs=2),
}
PUBLISHED = {
    "logistic regression": Quality(0.871, 0.606, 0.291),
    "decision tree, depth 2": Quality(0.763, 0.496, 0.241),
    "decision tree": Quality(0.788, 0.309, 0.243),
    "random forest": Quality(0.867, 0.658, 0.287),
    "XGBoost": Quality(0.862, 0.639, 0.273),
}
PUBLISHED_MEANS = {
    "decision tree": Quality(0.797, 0.579, 0.284),
    "logistic regression": Quality(0.868, 0.623, 0.297),
    "random forest": Quality(0.870, 0.678, 0.299),
    "XGBoost": Quality(0.869, 0.687, 0.303),
    "neural network": Quality(0.876, 0.675, 0.303),
    "convolutional network": Quality(0.872, 0.599, 0.288),
    "LSTM": Quality(0.876, 0.665, 0.297),
    "LSTM with attention": Quality(0.874, 0.667, 0.295),
}


def best(table: dict[str, Quality]) -> Quality:
    """Of each measure the best of any row: more than one model reached."""
    return Quality(*(max(column) for column in zip(*table.values(), strict=True)))


def baseline(rows: Rows, fold: Fold, name: str) -> Quality:
    """One model of the handbook on one fold, scaled by its training week as in the handbook."""
    train, judged = training_rows(rows, fold), judged_rows(rows, fold)
    fitted = make_pipeline(StandardScaler(), BASELINES[name]()).fit(rows.vectors(train, FEATURES), rows.y[train])
    return quality(rows, judged, fitted.predict_proba(rows.vectors(judged, FEATURES))[:, 1])


def baseline_figures(found: dict[str, Quality]) -> Figures:
    """Each measure, and beside it how far it is from what was published: beyond `TOLERANCE` the budget is missed."""
    figures: Figures = {}
    for name, ours in found.items():
        for measure, short in MEASURES.items():
            value, published = getattr(ours, measure), getattr(PUBLISHED[name], measure)
            figures[f"baseline, {name}, {short}"] = Figure(value, "", None, "higher", f"published {published:.3f}")
            figures[f"baseline, {name}, {short}: difference"] = Figure(
                abs(value - published), "absolute", TOLERANCE, "lower"
            )
    return figures
