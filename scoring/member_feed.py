"""One registered model as a scorer holds it: loaded when its version changes, if it is fit to answer."""

from __future__ import annotations

import logging
import math
import time
import timeit

import numpy as np

from models.onnx import OnnxModel
from models.registry import Registry
from models.shap import ShapModel
from models.watch import WatchedModel

WARM_UP_ROUNDS = 3
REFUSED_S = 60.0
"""How long a model that was found unfit is not tried again."""

_log = logging.getLogger(__name__)


class MemberFeed:
    """Follows a version of one model. One thread calls; `model` and `read` are taken by whoever builds a `LiveModels`.

    A model made for another definition of the features is not taken, nor one that answers with no number, or takes
    longer than `limit_ms` for one row; one that gets slow later is watched (`models/watch.py`).

    `reasons` says whether it is asked for reasons.

    Attributes
    ----------
    model, read
        The model, and once more as it finds reasons (None where its file has a form that is not understood).
    problem
        Why the version that was asked for last is not `model`; None where it is.
    """

    def __init__(
        self, name: str, definition_hash: str, registry: Registry, limit_ms: float | None, reasons: bool = True
    ) -> None:
        self.name = name
        self.definition_hash = definition_hash
        self.registry = registry
        self.limit_ms = limit_ms
        self.reasons = reasons
        self.model: OnnxModel | WatchedModel | None = None
        self.read: ShapModel | None = None
        self.problem: str | None = None
        self._refused, self._refused_until_s = "", -math.inf

    def follow(self, version: str) -> None:
        """Have this version where it is fit; else the present one stays, and `problem` says why."""
        if self.model is not None and self.model.version == version:
            self.problem = None
            return
        try:
            self._take(version)
        except Exception as error:  # whatever a file makes a library raise, the present model goes on
            self.problem = str(error) or type(error).__name__

    def drop(self) -> None:
        """Have none."""
        self.model = self.read = self.problem = None

    def _take(self, version: str) -> None:
        manifest = self.registry.manifest(self.name, version)
        if manifest.definition_hash != self.definition_hash:
            self.problem = (
                f"model {self.name} {version} was trained on definition {manifest.definition_hash}, "
                f"the features are {self.definition_hash}; run 'headrace train {self.name}'"
            )
            return
        if version == self._refused and time.monotonic() < self._refused_until_s:
            return
        loaded = self.registry.load(self.name, version)
        if why := self._unfit(loaded):
            self._refused, self._refused_until_s = version, time.monotonic() + REFUSED_S
            self.problem = f"model {self.name} {version} {why}; the one before it stays; train it again"
            return
        read = self._readable(version) if self.reasons else None
        self.model = loaded if self.limit_ms is None else WatchedModel(loaded, self.limit_ms)
        self.read, self.problem = read, None

    def _unfit(self, model: OnnxModel) -> str | None:
        """Why a model that could be loaded is not taken all the same."""
        row = np.zeros(len(model.manifest.feature_names))
        if math.isnan(model.score_one(row)):
            return "answers with no number"
        taken_ms = min(timeit.repeat(lambda: model.score_one(row), number=1, repeat=WARM_UP_ROUNDS)) * 1000
        if self.limit_ms is not None and taken_ms > self.limit_ms:
            return f"takes {taken_ms:.0f} ms for one row, and may take {self.limit_ms:.0f} ms"
        return None

    def _readable(self, version: str) -> ShapModel | None:
        try:
            return self.registry.read(self.name, version)
        except Exception as error:  # a form that it does not know may raise anything
            _log.warning("reasons are found the slow way: %s", error)
            return None
