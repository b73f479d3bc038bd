"""What a decision's batch score is made of, exactly, for the review page: `GET /explanations/{event_id}`.

Off the hot path: it runs on a thread of its own and reads the very version of the model that scored. The values are
Shapley values (`models/shap.py`) against what was usual, the same reference that the reasons compare with.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

import msgspec
import numpy as np

from features.feature_set import FeatureSet
from models.registry import Registry
from models.shap import ShapModel, Unit
from scoring.live_models import LiveModels
from scoring.reasons import Explainer
from stream.records import Decision

READ_LIMIT = 4
"""How many versions are kept read: what was scored lately, by one of the newest."""
MEMBER = "batch"


class Unexplained(LookupError):
    """The decision cannot be explained. A retry cannot help; it says why."""


class Contribution(msgspec.Struct, frozen=True):
    """What one feature adds to the score's margin: above 0 it raised the score. `usual_for` says whose usual it is."""

    feature: str
    text: str
    value: float | None
    usual: float | None
    usual_for: str
    contribution: float


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """The whole difference between a score and the score of what is usual, shared out among the features.

    `margin` is the score in `unit` (calibrated log-odds, or a probability for a model that adds those up), `base` that
    of a vector that is usual in everything. `contributions` sum to `margin - base`, the largest first; features that
    add nothing are left out.
    """

    event_id: str
    model: str
    version: str
    score: float
    unit: Unit
    base: float
    margin: float
    contributions: list[Contribution]


class ExactExplainer:
    """Explains decisions of one use case. Safe to call from several threads.

    Parameters
    ----------
    name
        The model's, in the registry.
    models
        Gives the models that score now: what they have read already is not read again.
    """

    def __init__(
        self, name: str, features: FeatureSet, registry: Registry, models: Callable[[], LiveModels] = LiveModels
    ) -> None:
        self.name = name
        self.features = features
        self.registry = registry
        self._models = models
        self._words = Explainer(features)
        self._read: OrderedDict[str, ShapModel] = OrderedDict()
        self._lock = Lock()

    def explain(self, decision: Decision) -> Explanation:
        """The exact values of a decision's vector.

        Raises
        ------
        Unexplained
            When no batch model scored it, or its features were defined otherwise than now.
        ModelNotFound, NotExplainable
            When the model that scored it is gone, or has a form that cannot be shared out.
        """
        scored = decision.scores.get(MEMBER)
        if scored is None:
            raise Unexplained(f"no {MEMBER} model scored event {decision.event_id!r}: there is nothing to share out")
        if decision.definition_hash != self.features.definition_hash:
            raise Unexplained(
                f"event {decision.event_id!r} was scored with the features' definition {decision.definition_hash}, "
                f"now it is {self.features.definition_hash}"
            )
        with self._lock:
            model = self._model(scored.version)
            vector = np.array([math.nan if value is None else value for value in decision.vector])
            usual = self._words.usual.of(vector, model.manifest.reference)
            shared = model.explain(vector, usual.values)
        contributions = []
        for index in np.argsort(-np.abs(shared.values), kind="stable").tolist():
            if shared.values[index] == 0.0:
                break
            reason = self._words.reason(index, float(vector[index]), usual, decision.record)
            contributions.append(
                Contribution(
                    reason.feature,
                    reason.text,
                    reason.value,
                    reason.usual,
                    self._words.entities[index] if usual.own[index] else "legit traffic",
                    float(shared.values[index]),
                )
            )
        return Explanation(
            event_id=decision.event_id,
            model=self.name,
            version=scored.version,
            score=scored.score,
            unit=shared.unit,
            base=shared.base,
            margin=shared.margin,
            contributions=contributions,
        )

    def _model(self, version: str) -> ShapModel:
        models = self._models()
        for live in (models.read, None if models.canary is None else models.canary.read):
            if live is not None and live.manifest.version == version:
                return live
        model = self._read.pop(version, None) or self.registry.read(self.name, version)
        self._read[version] = model
        while len(self._read) > READ_LIMIT:
            self._read.popitem(last=False)
        return model
