"""From a fitted classifier to ONNX bytes, the difference measured: the one file that knows skl2onnx."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from skl2onnx import to_onnx
from skl2onnx.common import tree_ensemble
from skl2onnx.common.data_types import FloatTensorType

from models.contract import Matrix
from models.onnx import raw_probabilities

INPUT = "x"
OPSET = {"": 18, "ai.onnx.ml": 3}
MAX_DIFFERENCE = 1e-5


class Estimator(Protocol):
    """A fitted binary classifier in the manner of scikit-learn, with classes 0 and 1."""

    def predict_proba(self, X: Matrix) -> NDArray[np.float64]:
        """Probabilities of both classes, shape (n_rows, 2)."""


@runtime_checkable
class ConvertsItself(Protocol):
    """An estimator that is not scikit-learn's and knows its own ONNX form."""

    def onnx_bytes(self) -> bytes:
        """The artifact, with `INPUT` as its input."""


class Exported(NamedTuple):
    """The artifact, and the largest difference in probability to the estimator on the rows it was checked with."""

    content: bytes
    max_difference: float


class ExportMismatch(RuntimeError):
    """The ONNX model does not answer as the estimator does. A retry cannot help; it must not be served."""


def export(estimator: Estimator, rows: Matrix, max_difference: float = MAX_DIFFERENCE) -> Exported:
    """Convert a fitted classifier, then ask both the same rows.

    Parameters
    ----------
    estimator
        Fitted on values rounded to float32 (`to_float32`): otherwise a split can lie between a value and its rounding.
    rows
        Shape (n_rows, n_features), rounded likewise. Include rows with NaN if the model is to take them.
    max_difference
        The largest difference in probability that is let through.

    Raises
    ------
    ExportMismatch
        When the two differ by more, or one answers NaN where the other does not.
    """
    content = estimator.onnx_bytes() if isinstance(estimator, ConvertsItself) else _converted(estimator, rows.shape[1])
    difference = float(np.max(np.abs(raw_probabilities(content, rows) - estimator.predict_proba(rows)[:, 1])))
    if not difference <= max_difference:
        raise ExportMismatch(
            f"{type(estimator).__name__} and its ONNX form differ by {difference:g} on {len(rows)} rows, "
            f"allowed is {max_difference:g}; train on values rounded to float32, or on features of a smaller range"
        )
    return Exported(content, difference)


def _converted(estimator: Estimator, n_features: int) -> bytes:
    with _plain_attributes():
        model = to_onnx(
            estimator,
            initial_types=[(INPUT, FloatTensorType([None, n_features]))],
            options={"zipmap": False},
            target_opset=OPSET,
        )
    content: bytes = model.SerializeToString()
    return content


def to_float32(X: Matrix) -> Matrix:
    """The values as the artifact will see them: rounded to float32, kept as float64."""
    return X.astype(np.float32).astype(np.float64)


@contextmanager
def _plain_attributes() -> Iterator[None]:
    """Let skl2onnx 1.20 convert HistGradientBoosting under protobuf 7, and keep its thresholds exact.

    It hands numpy integers and booleans to integer attributes, which protobuf 7 refuses; and it rounds the thresholds
    of HistGradientBoosting to the nearest float32, which can lie above a value that should go right. Rounded down,
    `x <= threshold` holds for the same float32 values as before. Not for use in several threads at once.
    """
    original = tree_ensemble.add_node

    def add_node(*args: Any, **named: Any) -> None:
        pairs, is_classifier, tree, weight, node, feature, mode, value, left, right, *rest = args
        if not named["adjust_threshold_for_sklearn"] and mode == "BRANCH_LEQ":
            value = float32_at_most(float(value))
        named["nodes_missing_value_tracks_true"] = int(named.get("nodes_missing_value_tracks_true", 0))
        integers = (int(feature), mode, value, int(left), int(right))
        original(pairs, is_classifier, tree, weight, int(node), *integers, *rest, **named)

    tree_ensemble.add_node = add_node
    try:
        yield
    finally:
        tree_ensemble.add_node = original


def float32_at_most(value: float) -> float:
    """The largest float32 that is not above the value.

    >>> float32_at_most(0.1) <= 0.1 < float(np.nextafter(np.float32(float32_at_most(0.1)), np.float32(1)))
    True
    """
    with np.errstate(over="ignore"):  # beyond float32 is its largest value
        rounded = np.float32(value)
    # As float64: numpy would round the value to float32 first and find them equal.
    return float(rounded if float(rounded) <= value else np.nextafter(rounded, np.float32(-np.inf)))
