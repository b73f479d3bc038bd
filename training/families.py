"""The kinds of batch model: one builder each, behind one table.

All of them take NaN, convert to ONNX, and are set for fraud at about 0.8%: no family reweights classes, so that the
probabilities stay near the true ones and calibration has little to correct.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, Self

from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from models.contract import Matrix
from models.manifest import Parameter
from training.metrics import Labels

Parameters = dict[str, Parameter]


class Estimator(Protocol):
    """A binary classifier in the manner of scikit-learn, with classes 0 and 1."""

    def fit(self, X: Matrix, y: Labels, **later: Any) -> Self:
        """Fit on rows of shape (n_rows, n_features); some take later rows by name."""

    def predict_proba(self, X: Matrix) -> Matrix:
        """Probabilities of both classes, shape (n_rows, 2)."""


class Family(NamedTuple):
    """How to build an estimator, and whether it can stop early by looking at later rows."""

    build: Callable[[Parameters], Estimator]
    defaults: Parameters
    stops_early: bool = False

    def fit(
        self, train: tuple[Matrix, Labels], later: tuple[Matrix, Labels], changes: Mapping[str, Any]
    ) -> tuple[Estimator, Parameters]:
        """Fit on `train`; `later` rows decide when to stop where the family can. Also gives the parameters used."""
        parameters = {**self.defaults, **changes}
        estimator = self.build(parameters)
        held_out: dict[str, Any] = {"X_val": later[0], "y_val": later[1]} if self.stops_early else {}
        return estimator.fit(*train, **held_out), parameters


def logistic_regression(parameters: Parameters) -> Estimator:
    """Median for nulls, standard scaling, logistic regression: the baseline that any other has to beat."""
    imputer = SimpleImputer(strategy="median", keep_empty_features=True)
    return make_pipeline(imputer, StandardScaler(), LogisticRegression(**parameters))  # type: ignore[no-any-return]


def random_forest(parameters: Parameters) -> Estimator:
    """Median for nulls, then a forest. The imputer is needed: skl2onnx loses where its trees send NaN."""
    imputer = SimpleImputer(strategy="median", keep_empty_features=True)
    return make_pipeline(imputer, RandomForestClassifier(**parameters))  # type: ignore[no-any-return]


def hist_gradient_boosting(parameters: Parameters) -> Estimator:
    """Boosted trees, which learn where NaN goes and stop when the later days stop improving.

    At 0.8% positives a leaf of few rows has hardly any hessian and its value explodes: leaves are large and shrunk.
    """
    return HistGradientBoostingClassifier(early_stopping=True, **parameters)  # type: ignore[no-any-return]


FAMILIES: dict[str, Family] = {
    "logistic_regression": Family(logistic_regression, {"C": 1.0, "max_iter": 1000}),
    "random_forest": Family(
        random_forest, {"n_estimators": 100, "max_depth": 12, "min_samples_leaf": 5, "random_state": 0, "n_jobs": 1}
    ),
    "hist_gradient_boosting": Family(
        hist_gradient_boosting,
        {
            "learning_rate": 0.05,
            "max_iter": 300,
            "max_leaf_nodes": 15,
            "min_samples_leaf": 50,
            "l2_regularization": 1.0,
            "n_iter_no_change": 20,
            "random_state": 0,
        },
        stops_early=True,
    ),
}
