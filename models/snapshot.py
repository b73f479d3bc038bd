"""The online model as scorers hold it: weights that travel as JSON, and an immutable numpy form that scores.

Apart from `models/online.py`, so that a scorer need not import River.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np

from models.contract import Matrix, Vector
from models.online_settings import SCALED_LIMIT, OnlineSettings

__all__ = [
    "ALIVE_EXPIRY_MS",
    "LOGIT_LIMIT",
    "SCALED_LIMIT",
    "VALUE_LIMIT",
    "InvalidWeights",
    "OnlineSettings",
    "OnlineSnapshot",
    "OnlineWeights",
    "alive_key",
    "kept_weights_key",
    "report_key",
    "sigmoid",
    "true_probability",
]

VALUE_LIMIT = 1e100
"""Values are held to this before anything else, so that no square of one overflows."""

LOGIT_LIMIT = 30.0

ALIVE_EXPIRY_MS = 7 * 86_400_000
"""How long the learner's last sign of life is kept: longer than any weight of an ensemble lets it be stale."""


def alive_key(name: str) -> str:
    """The key in Redis that the learner of a use case renews while it works.

    It is set to expire after `ALIVE_EXPIRY_MS`, so what is left of that tells its age by Redis's clock alone.
    """
    return f"learner:{name}:alive"


def report_key(name: str) -> str:
    """The key in Redis that holds the learner's report on a use case, as JSON."""
    return f"learner:{name}:metrics"


def kept_weights_key(name: str, version: str) -> str:
    """The set in Redis that has the weights of one version for a while, compressed JSON.

    A set, since a version counts labels: what a restarted learner publishes may bear a version that was there before.
    """
    return f"model:online:{name}:{version}"


class InvalidWeights(ValueError):
    """The bytes are no weights of an online model. A retry with the same bytes cannot help."""


class OnlineWeights(msgspec.Struct, frozen=True, kw_only=True):
    """All that the online model knows, by feature in the order of the definition. Its JSON keeps every bit.

    `first` has the first values of each feature that is not scaled yet, and nothing of the others; `counts`, `means`
    and `variances` are the scaler's, over winsorised values that were not null; `coefficients` and `intercept` the
    regression's, over scaled values; `steps` counts gradient steps.
    """

    name: str
    base_version: str
    definition_hash: str
    feature_names: tuple[str, ...]
    settings: OnlineSettings
    first: tuple[tuple[float, ...], ...]
    counts: tuple[int, ...]
    means: tuple[float, ...]
    variances: tuple[float, ...]
    coefficients: tuple[float, ...]
    intercept: float
    steps: int = 0
    learned_fraud: int = 0
    learned_legit: int = 0

    @property
    def version(self) -> str:
        """The version that was given, and how many labels it has learned since: `1.2034`."""
        return f"{self.base_version}.{self.learned_fraud + self.learned_legit}"

    @property
    def ready(self) -> bool:
        """Whether it has learned enough labels of both classes for its score to count."""
        return min(self.learned_fraud, self.learned_legit) >= self.settings.min_labels

    def to_json(self) -> bytes:
        """The weights as they are stored and sent. Floats are written so that reading gives the same bits."""
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, content: bytes) -> OnlineWeights:
        """Read weights. Raises `InvalidWeights` when the content is anything else, or not finite."""
        try:
            weights = msgspec.json.decode(content, type=cls)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise InvalidWeights(f"these are no weights of an online model: {error}; let the learner publish") from None
        columns = (weights.counts, weights.means, weights.variances, weights.coefficients)
        n_features = len(weights.feature_names)
        lengths = [len(column) for column in (*columns, weights.first)]
        if any(length != n_features for length in lengths):
            raise InvalidWeights(
                f"weights for {n_features} features have columns of {lengths}; let the learner publish"
            )
        if not all(
            math.isfinite(value) for column in (*columns, *weights.first, (weights.intercept,)) for value in column
        ):
            raise InvalidWeights("weights are not finite; reset the learner")
        return weights


class OnlineSnapshot:
    """The online model at one moment: immutable, safe for any number of threads, 5 to 10 microseconds a score.

    Answers what River answers for the same weights, to 1e-12. Scorers swap snapshots between requests.
    """

    def __init__(self, weights: OnlineWeights) -> None:
        self.weights = weights
        self.version = weights.version
        self.ready = weights.ready
        variances = np.array(weights.variances)
        self._means = np.array(weights.means)
        # A feature that never varied, or is still warming up, says nothing: River scales it to 0, too.
        self._scale = np.divide(1.0, np.sqrt(variances), out=np.zeros_like(variances), where=variances > 0.0)
        self._coefficients = np.array(weights.coefficients)
        self._intercept = weights.intercept
        self._fraud_weight = weights.settings.fraud_weight
        for array in (self._means, self._scale, self._coefficients):
            array.flags.writeable = False

    @property
    def name(self) -> str:
        """Which member it is."""
        return self.weights.name

    def score_one(self, x: Vector) -> float:
        """Probability of fraud in [0, 1] of one vector, shape (n_features,); what is not finite counts as usual."""
        return true_probability(
            sigmoid(float(self._scaled(x) @ self._coefficients) + self._intercept), self._fraud_weight
        )

    def score_many(self, X: Matrix) -> Vector:
        """Probabilities, shape (n_rows,), of rows of shape (n_rows, n_features)."""
        logits = self._scaled(X) @ self._coefficients + self._intercept
        return np.array([true_probability(sigmoid(z), self._fraud_weight) for z in logits.tolist()])

    def _scaled(self, x: Vector) -> Vector:
        known = np.where(np.isfinite(x), x, self._means)
        scaled = (np.minimum(np.maximum(known, -VALUE_LIMIT), VALUE_LIMIT) - self._means) * self._scale
        bounded: Vector = np.minimum(np.maximum(scaled, -SCALED_LIMIT), SCALED_LIMIT)
        return bounded


def sigmoid(z: float) -> float:
    """The probability of a logit, held to River's limits: exactly 0 or 1 beyond 30."""
    if z < -LOGIT_LIMIT:
        return 0.0
    return 1.0 if z > LOGIT_LIMIT else 1.0 / (1.0 + math.exp(-z))


def true_probability(p: float, fraud_weight: float) -> float:
    """Take out of a probability what counting each fraud `fraud_weight` times has put in.

    Source: C. Elkan, "The foundations of cost-sensitive learning", 2001, theorem 2.

    >>> round(true_probability(0.5, fraud_weight=9.0), 6)
    0.1
    """
    return p / (p + fraud_weight * (1.0 - p))
