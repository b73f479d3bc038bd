"""The model that learns from each label as it arrives: River's scaler and logistic regression.

River's objects live in the learner's process, in one thread; scorers get `OnlineSnapshot` from `models/snapshot.py`,
which needs no River. With `models/change_point.py` the files of this room that know it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from river import linear_model, optim, preprocessing

from models.contract import Vector
from models.snapshot import (
    SCALED_LIMIT,
    VALUE_LIMIT,
    OnlineSettings,
    OnlineSnapshot,
    OnlineWeights,
    true_probability,
)

__all__ = ["OnlineLearner", "OnlineSettings", "OnlineSnapshot", "OnlineWeights"]

MIDDLE_SHARE = 0.9
MIDDLE_DEVIATIONS = 1.645
"""Of a normal distribution, this share lies within so many standard deviations of its middle."""


class OnlineLearner:
    """Standard scaler, then logistic regression by stochastic gradient descent, each step bounded.

    The way of a vector: values are scaled by what `observe` has seen, held to `SCALED_LIMIT` deviations, and nulls
    become 0, the usual value; a null does not move the scaler. The step is constant and cut to a length, weights are
    pulled towards 0: whatever the vector, one label moves them no further than `OnlineSettings.step_bound` says.

    The scaler moves only in `observe`, so that it sees every event and not the labelled ones only. It is robust: see
    `WinsorisedScaler`. A learner that has observed less than `warm_up` values of a feature scales it to 0; with no
    feature scaled, it learns nothing but the base rate.

    Parameters
    ----------
    feature_names
        The order of vectors.
    version
        Of this line of weights; the number of labels learned is added to it.
    definition_hash
        Of the features; a scorer must not use the weights with another.
    """

    def __init__(
        self,
        feature_names: tuple[str, ...],
        *,
        name: str = "online",
        version: str = "1",
        definition_hash: str = "",
        settings: OnlineSettings | None = None,
    ) -> None:
        settings = OnlineSettings() if settings is None else settings
        prior = settings.prior_fraud_rate
        n_features = len(feature_names)
        self._restore(
            OnlineWeights(
                name=name,
                base_version=version,
                definition_hash=definition_hash,
                feature_names=tuple(feature_names),
                settings=settings,
                first=((),) * n_features,
                counts=(0,) * n_features,
                means=(0.0,) * n_features,
                variances=(0.0,) * n_features,
                coefficients=(0.0,) * n_features,
                intercept=math.log(prior / (1.0 - prior) * settings.fraud_weight),
            )
        )

    @classmethod
    def from_weights(cls, weights: OnlineWeights) -> OnlineLearner:
        """Go on exactly where the weights were taken: what it learns next is the same, bit for bit."""
        learner = cls.__new__(cls)
        learner._restore(weights)
        return learner

    def _restore(self, weights: OnlineWeights) -> None:
        settings = weights.settings
        self._origin = weights
        self._names = weights.feature_names
        self._learned_fraud = weights.learned_fraud
        self._learned_legit = weights.learned_legit
        self._scaler = WinsorisedScaler(weights)
        self._model = linear_model.LogisticRegression(
            optimizer=optim.SGD(settings.learning_rate),
            loss=optim.losses.Log(weight_pos=settings.fraud_weight),
            l2=settings.l2,
            intercept_init=weights.intercept,
            intercept_lr=settings.learning_rate,
            clip_gradient=settings.fraud_weight,
        )
        # River has no public way in for weights; names absent here would start at 0 in the order of first use.
        self._model._weights.update(dict(zip(self._names, weights.coefficients, strict=True)))
        self._model.optimizer.n_iterations = weights.steps

    @property
    def name(self) -> str:
        """Which member it is."""
        return self._origin.name

    @property
    def version(self) -> str:
        """The version that was given, and how many labels it has learned."""
        return f"{self._origin.base_version}.{self.learned}"

    @property
    def learned(self) -> int:
        """How many labels these weights have learned."""
        return self._learned_fraud + self._learned_legit

    @property
    def ready(self) -> bool:
        """Whether it has learned enough labels of both classes."""
        return min(self._learned_fraud, self._learned_legit) >= self._origin.settings.min_labels

    def score_one(self, x: Vector) -> float:
        """Probability of fraud in [0, 1], by River itself; for serving take `OnlineSnapshot`."""
        return true_probability(self._weighted(self._scaled(x)), self._origin.settings.fraud_weight)

    def observe(self, x: Vector) -> None:
        """Let the scaler see one event, labelled or not. Call it once for each, when the event is met."""
        self._scaler.learn_one(self._known(x))

    def learn_one(self, x: Vector, y: bool) -> float:
        """One gradient step at the vector as it was scored, with the scaler as it is now. It cannot be undone.

        Gives the probability of fraud that it would have said just before.
        """
        scaled, settings = self._scaled(x), self._origin.settings
        p = self._weighted(scaled)
        gradient = settings.fraud_weight * (1.0 - p) if y else p
        length = settings.learning_rate * gradient * math.hypot(*scaled.values())
        cut = settings.step_limit / length if length > settings.step_limit else 1.0
        self._model.learn_one(scaled, bool(y), w=cut)
        self._learned_fraud += bool(y)
        self._learned_legit += not y
        return true_probability(p, settings.fraud_weight)

    def take_scaler(self, weights: OnlineWeights) -> None:
        """Scale from now on as these weights do, which are of the same features; what was learned stays."""
        self._scaler = WinsorisedScaler(weights)

    def to_weights(self) -> OnlineWeights:
        """All that it knows, as an immutable value of its own."""
        scaler, coefficients, origin = self._scaler, self._model.weights, self._origin
        return OnlineWeights(
            name=origin.name,
            base_version=origin.base_version,
            definition_hash=origin.definition_hash,
            feature_names=self._names,
            settings=origin.settings,
            first=tuple(tuple(scaler.first.get(name, ())) for name in self._names),
            counts=tuple(int(scaler.river.counts[name]) for name in self._names),
            means=tuple(float(scaler.river.means[name]) for name in self._names),
            variances=tuple(float(scaler.river.vars[name]) for name in self._names),
            coefficients=tuple(float(coefficients.get(name, 0.0)) for name in self._names),
            intercept=float(self._model.intercept),
            steps=int(self._model.optimizer.n_iterations),
            learned_fraud=self._learned_fraud,
            learned_legit=self._learned_legit,
        )

    def _weighted(self, scaled: dict[str, float]) -> float:
        """Frauds counting `fraud_weight` times."""
        return float(self._model.predict_proba_one(scaled)[True])

    def _known(self, x: Vector) -> dict[str, float]:
        bounded = np.minimum(np.maximum(x, -VALUE_LIMIT), VALUE_LIMIT).tolist()
        known = np.isfinite(x)
        if known.all():
            return dict(zip(self._names, bounded, strict=True))
        rows = zip(self._names, bounded, known.tolist(), strict=True)
        return {name: value for name, value, is_known in rows if is_known}

    def _scaled(self, x: Vector) -> dict[str, float]:
        scaled = self._scaler.river.transform_one(self._known(x))
        values = np.array([scaled.get(name, 0.0) for name in self._names])
        bounded = np.minimum(np.maximum(values, -SCALED_LIMIT), SCALED_LIMIT)
        # Every name every time and in one order, or sums would round differently after a restart.
        return dict(zip(self._names, bounded.tolist(), strict=True))


class WinsorisedScaler:
    """River's standard scaler, fed so that no outlier can own a feature.

    The first `warm_up` values of a feature only wait in `first`; then River gets them, held to `reach` deviations from
    their median as the middle nine tenths measure them. After that a value is held to the mean and `reach` standard
    deviations before River gets it: amounts of 1e12 move the scaler a little each, and take it over only where they
    are more than 1 in `reach` squared. A feature that has not varied yet takes values up to `reach` times its own
    size, or `reach` where that is below 1.
    """

    def __init__(self, weights: OnlineWeights) -> None:
        names = weights.feature_names
        self._warm_up = weights.settings.warm_up
        self._reach = weights.settings.reach
        waiting = zip(names, weights.counts, weights.first, strict=True)
        self.first = {name: list(values) for name, count, values in waiting if count == 0}
        self.river = preprocessing.StandardScaler()
        self.river.counts.update(dict(zip(names, weights.counts, strict=True)))
        self.river.means.update(dict(zip(names, weights.means, strict=True)))
        self.river.vars.update(dict(zip(names, weights.variances, strict=True)))

    def learn_one(self, x: dict[str, float]) -> None:
        """Take the known values of one event, all finite."""
        ready = x
        if self.first:
            ready = {name: value for name, value in x.items() if name not in self.first}
            for name in x.keys() & self.first.keys():
                self.first[name].append(x[name])
                if len(self.first[name]) >= self._warm_up:
                    self._begin(name, self.first.pop(name))
        values = np.array(list(ready.values()))
        means = np.array([self.river.means[name] for name in ready])
        deviations = np.sqrt([self.river.vars[name] for name in ready])
        reach = self._reach * np.where(deviations > 0.0, deviations, np.maximum(1.0, np.abs(means)))
        held = np.minimum(np.maximum(values, means - reach), means + reach)
        self.river.learn_one(dict(zip(ready, held.tolist(), strict=True)))

    def _begin(self, name: str, values: Sequence[float]) -> None:
        # Ranks, not moments: of a hundred values, nine may be anything.
        last = len(values) - 1
        median = sorted(values)[last // 2]
        middle = sorted(abs(value - median) for value in values)[int(MIDDLE_SHARE * last)]
        reach = self._reach * (middle / MIDDLE_DEVIATIONS or max(1.0, abs(median)))
        for value in values:
            self.river.learn_one({name: min(max(value, median - reach), median + reach)})
