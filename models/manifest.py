"""What is kept beside an artifact: where it comes from, how good it was and how to read its scores."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.profile import Profile

Parameter = float | int | str | bool | None

LOGIT_EPSILON = 1e-7  # float32 rounds closer probabilities to 0 or 1, whose logit is infinite


def log_odds(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """The logits of probabilities, any shape; of 0 and 1, those of the nearest that float32 can tell from them."""
    p = np.clip(probabilities, LOGIT_EPSILON, 1.0 - LOGIT_EPSILON)
    logits: NDArray[np.float64] = np.log(p / (1.0 - p))
    return logits


class Calibration(msgspec.Struct, frozen=True):
    """Platt scaling: `sigmoid(slope * logit(p) + intercept)`. The default changes nothing.

    Source: J. Platt, "Probabilistic outputs for support vector machines", 1999, on the logit instead of the margin.
    """

    slope: float = 1.0
    intercept: float = 0.0

    @property
    def is_identity(self) -> bool:
        """Whether applying it would change nothing."""
        return self.slope == 1.0 and self.intercept == 0.0

    def apply(self, probability: float) -> float:
        """The calibrated probability in [0, 1]; NaN stays NaN.

        >>> Calibration().apply(0.25)
        0.25
        >>> round(Calibration(slope=1.0, intercept=math.log(3)).apply(0.25), 6)
        0.5
        """
        if math.isnan(probability) or self.is_identity:
            return probability
        p = min(max(probability, LOGIT_EPSILON), 1.0 - LOGIT_EPSILON)
        z = self.slope * math.log(p / (1.0 - p)) + self.intercept
        # Each form is exact on its side of zero and cannot overflow.
        return 1.0 / (1.0 + math.exp(-z)) if z >= 0.0 else (e := math.exp(z)) / (1.0 + e)

    def apply_many(self, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        """The same of many at once, to the last digits: shape (n,) to shape (n,)."""
        if self.is_identity:
            return probabilities
        z = self.slope * log_odds(probabilities) + self.intercept
        e = np.exp(-np.abs(z))  # at most 1, whatever the sign
        scaled: NDArray[np.float64] = np.where(z >= 0.0, 1.0, e) / (1.0 + e)
        return scaled


class Interval(msgspec.Struct, frozen=True):
    """A figure, and between which two it would lie in 95 of 100 samples of as many cards."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """The figure and its interval, to four digits.

        >>> str(Interval(1.388e-17, -0.25, 0.5))
        '0 (-0.25 to 0.5)'
        """
        # What is left of two equal sums is no figure.
        value, low, high = (round(one, 12) for one in (self.value, self.low, self.high))
        return f"{value:.4g} ({low:.4g} to {high:.4g})"


class SegmentMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """How good a model was on one part of the rows. `average_precision` is None where a class is missing."""

    rows: int
    frauds: int
    mean_score: float
    average_precision: Interval | None = None


class SearchSummary(msgspec.Struct, frozen=True, kw_only=True):
    """How the parameters were chosen: the `objective` of the best of the `trials` on `folds` of earlier days.

    `default_value` is what the family's defaults had there. `ended` is what ended the search: `trials` or `time` of
    its budget, or `interrupted`.
    """

    objective: str
    value: float
    default_value: float
    trials: int
    folds: int
    families: tuple[str, ...]
    seed: int
    ended: str


NEVER = datetime(1970, 1, 1, tzinfo=UTC)


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of one version of one model.

    `window_start` to `window_end` are the event times of the rows it was fitted on; labels that became known after
    `label_cutoff` were not used. `metrics` are measured on later days than those it was fitted on (None: not
    defined there), `segments` the same by parts of the rows; `calibration_error` is that of
    `training.metrics.calibration_error`. `max_onnx_difference` is the largest difference in probability between the
    library's own answer and the artifact's; None where nobody measured it. `single_row_latency_us` is a median.
    `reference` is what is usual for each feature: the median of legit rows. `profile` is what later rows are held
    against for drift, `search` how the parameters were found; None where nobody made one. `simulated`: the rows that it
    was fitted on are made up, and what it serves are none of them. An empty `version` is filled
    in by the registry. Manifests of earlier versions lack the later fields and load all the same.
    """

    name: str
    version: str = ""
    created_at: datetime
    family: str = ""
    feature_names: tuple[str, ...]
    definition_hash: str
    window_start: datetime
    window_end: datetime
    label_cutoff: datetime
    git_revision: str | None = None
    parameters: dict[str, Parameter] = {}
    metrics: dict[str, float | None] = {}
    segments: dict[str, SegmentMetrics] = {}
    calibration: Calibration = Calibration()
    calibration_error: float | None = None
    max_onnx_difference: float | None = None
    single_row_latency_us: float = 0.0
    reference: dict[str, float] = {}
    profile: Profile | None = None
    search: SearchSummary | None = None
    simulated: bool = False

    @property
    def learned_until(self) -> datetime:
        """Rows of after this moment it has not learned from; where it was fitted on made-up events, of any."""
        return NEVER if self.simulated else max(self.label_cutoff, self.window_end)

    def to_json(self) -> bytes:
        """The manifest as it is stored, indented for people."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2)

    @classmethod
    def from_json(cls, content: bytes) -> Manifest:
        """Read a stored manifest. Raises `msgspec.ValidationError` when it is not one."""
        return msgspec.json.decode(content, type=cls)
