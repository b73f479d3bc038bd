"""The kinds of batch model, simplest first: one builder each, behind one table, and beside it what a search may try.

All of them take NaN, convert to ONNX, and are set for fraud at about 0.8%: no family reweights classes, so that the
probabilities stay near the true ones and calibration has little to correct.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, Self

from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from models.contract import Matrix
from models.manifest import Parameter
from training.lightgbm_trees import LightGbm
from training.metrics import Labels
from training.space import Between, Space

Parameters = dict[str, Parameter]


NOTHING: Space = MappingProxyType({})


class Estimator(Protocol):
    """A binary classifier in the manner of scikit-learn, with classes 0 and 1."""

    def fit(self, X: Matrix, y: Labels, **later: Any) -> Self:
        """Fit on rows of shape (n_rows, n_features); some take later rows by name."""

    def predict_proba(self, X: Matrix) -> Matrix:
        """Probabilities of both classes, shape (n_rows, 2)."""


class Family(NamedTuple):
    """How to build an estimator, and whether it can stop early by looking at later rows.

    `space` is what a search draws from; `size` says of two parameter sets which makes the simpler model: the smaller.
    """

    build: Callable[[Parameters], Estimator]
    defaults: Parameters
    stops_early: bool = False
    space: Space = NOTHING
    size: Callable[[Parameters], float] = lambda parameters: 0.0

    def fit(
        self, train: tuple[Matrix, Labels], later: tuple[Matrix, Labels], changes: Mapping[str, Any]
    ) -> tuple[Estimator, Parameters]:
        """Fit on `train`; `later` rows decide when to stop where the family can. Also gives the parameters used.

        Raises `ValueError` where the estimator has no such parameter, `MissingExtra` where its library is not there.
        """
        parameters = {**self.defaults, **changes}
        try:
            estimator = self.build(parameters)
        except TypeError as error:
            raise ValueError(f"a parameter cannot be set: {error}; usual are {', '.join(self.defaults)}") from None
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


def lightgbm(parameters: Parameters) -> Estimator:
    """Boosted trees again, by LightGBM (an optional extra): the same care for small leaves."""
    return LightGbm(parameters)


def _leaves(leaves: str, least_rows: str) -> Callable[[Parameters], float]:
    """The size of boosted trees: how many leaves, and how few rows may make one."""
    return lambda parameters: float(parameters[leaves] or 0) / float(parameters[least_rows] or 1)


LEARNING_RATE = Between(0.02, 0.2, log=True)
LEAVES = Between(7, 63, log=True, whole=True)
SMALL_LEAVES = Between(20, 300, log=True, whole=True)
SHRINKING = Between(0.1, 100.0, log=True)
SHARE_OF_FEATURES = Between(0.3, 1.0)

FAMILIES: dict[str, Family] = {
    "logistic_regression": Family(
        logistic_regression,
        {"C": 1.0, "max_iter": 1000},
        space={"C": Between(0.001, 100.0, log=True)},
        size=lambda parameters: float(parameters["C"] or 0),
    ),
    "random_forest": Family(
        random_forest,
        {"n_estimators": 100, "max_depth": 12, "min_samples_leaf": 5, "random_state": 0, "n_jobs": 1},
        space={
            "max_depth": Between(6, 20, whole=True),
            "min_samples_leaf": Between(2, 50, log=True, whole=True),
            "max_features": ("sqrt", 0.3, 0.5),
        },
        size=_leaves("max_depth", "min_samples_leaf"),
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
        space={
            "learning_rate": LEARNING_RATE,
            "max_leaf_nodes": LEAVES,
            "min_samples_leaf": SMALL_LEAVES,
            "l2_regularization": SHRINKING,
            "max_features": SHARE_OF_FEATURES,
        },
        size=_leaves("max_leaf_nodes", "min_samples_leaf"),
        stops_early=True,
    ),
    "lightgbm": Family(
        lightgbm,
        {
            "learning_rate": 0.05,
            "n_estimators": 300,
            "num_leaves": 15,
            "min_child_samples": 50,
            "reg_lambda": 1.0,
            "n_iter_no_change": 20,
            "random_state": 0,
        },
        space={
            "learning_rate": LEARNING_RATE,
            "num_leaves": LEAVES,
            "min_child_samples": SMALL_LEAVES,
            "reg_lambda": SHRINKING,
            "colsample_bytree": SHARE_OF_FEATURES,
        },
        size=_leaves("num_leaves", "min_child_samples"),
        stops_early=True,
    ),
}
