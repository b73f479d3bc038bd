"""The one file that knows LightGBM, an optional extra: boosted trees that stop early and turn into ONNX exactly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.class_weight import compute_class_weight

from models.contract import Matrix
from models.lightgbm_onnx import booster_onnx
from models.manifest import Parameter
from training.extras import MissingExtra
from training.metrics import Labels

ALSO = frozenset({"scale_pos_weight", "extra_trees", "feature_fraction_bynode", "max_bin", "path_smooth"})
"""Of LightGBM's further parameters, those that may be given; it would only warn of a misspelt one. `is_unbalance` is
not: what it weighs by stays within LightGBM, so that the later rows could not weigh as the fitted ones do."""


class LightGbm:
    """A binary classifier in the manner of scikit-learn. The same rows give the same trees: one thread, and a seed.

    Parameters
    ----------
    parameters
        Of `lightgbm.LGBMClassifier`, those in `ALSO`, and `n_iter_no_change`: how many trees without a gain on the
        later rows end the fit.

    Raises
    ------
    MissingExtra
        When LightGBM is not installed.
    TypeError
        When a parameter is unknown, as scikit-learn does.
    """

    def __init__(self, parameters: Mapping[str, Parameter]) -> None:
        try:
            from lightgbm import LGBMClassifier
        except ImportError as error:
            raise MissingExtra("LightGBM", "lightgbm") from error
        given = dict(parameters)
        self._patience = given.pop("n_iter_no_change", None)
        self._weight, self._class_weight = given.get("scale_pos_weight"), given.get("class_weight")
        if given.get("is_unbalance"):
            raise TypeError("'is_unbalance' would weigh the fitted rows alone; give class_weight='balanced'")
        if unknown := set(given) - set(LGBMClassifier().get_params()) - ALSO:
            raise TypeError(f"LGBMClassifier got an unexpected keyword argument {min(unknown)!r}")
        self._classifier = LGBMClassifier(**given, verbosity=-1, n_jobs=1, deterministic=True, force_row_wise=True)

    def fit(self, X: Matrix, y: Labels, **later: Any) -> Self:
        """Fit on rows of shape (n_rows, n_features); `X_val` and `y_val` are the later rows."""
        from lightgbm import early_stopping

        watched: dict[str, Any] = {}
        if self._patience is not None and later:
            stop = early_stopping(int(self._patience), verbose=False)
            watched = {"eval_X": later["X_val"], "eval_y": later["y_val"], "callbacks": [stop]}
            # The later rows weigh as those that are fitted: otherwise the first tree would look best.
            watched["eval_sample_weight"] = [self._weights(y)[np.asarray(later["y_val"], dtype=np.intp)]]
        self._classifier.fit(X, y, **watched)
        return self

    def predict_proba(self, X: Matrix) -> Matrix:
        """Probabilities of both classes, shape (n_rows, 2)."""
        # Its trees: asked through the classifier, it would warn of missing column names.
        positive = np.asarray(self._classifier.booster_.predict(X, num_iteration=self._trees), dtype=np.float64)
        return np.column_stack([1.0 - positive, positive])

    def onnx_bytes(self) -> bytes:
        """The same classifier in ONNX."""
        return booster_onnx(self._classifier.booster_.dump_model(num_iteration=self._trees))

    def _weights(self, y: Labels) -> NDArray[np.float64]:
        """What a legit and a fraudulent row weigh where these are fitted."""
        of_class: NDArray[np.float64] = compute_class_weight(self._class_weight, classes=np.array([0, 1]), y=y)
        of_class[1] *= 1.0 if self._weight is None else self._weight
        return of_class

    @property
    def _trees(self) -> int:
        """Up to where it was best; -1: all of them."""
        return int(self._classifier.best_iteration_ or -1)
