"""The models that score now: immutable, swapped whole between two requests, refreshed in the background."""

from __future__ import annotations

import logging
import math
import time
import timeit
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.onnx import OnnxModel
from models.registry import ModelNotFound, Registry
from models.shap import ShapModel
from models.snapshot import ALIVE_EXPIRY_MS, InvalidWeights, OnlineSnapshot, OnlineWeights, alive_key
from models.watch import WatchedModel
from scoring.background import Background
from stream.connection import RedisConnection, RedisError, RedisUnavailable

REFRESH_INTERVAL_S = 0.5
WARM_UP_ROUNDS = 3
REFUSED_S = 60.0
"""How long a model that was found unfit is not tried again."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LiveModels:
    """One consistent set of members; None for one that is not there.

    `read` is the batch member once more, as it finds reasons; None where its file has a form that is not understood.
    `online_at_s` is when the learner last gave a sign of life while its weights could be read, by `time.monotonic`;
    minus infinity if it never did.
    """

    batch: OnnxModel | WatchedModel | None = None
    online: OnlineSnapshot | None = None
    online_at_s: float = -math.inf
    read: ShapModel | None = None


class ModelFeed:
    """Keeps `current` up to date from the registry's champion and the learner's snapshots.

    A model made for another definition of the features is not taken, nor one that answers with no number, or takes
    longer than `limit_ms` for one row; one that gets slow later is watched (`models/watch.py`). `problems` says what is
    wrong, by member. The online model is as fresh as the learner's last sign of life: weights that stay in Redis when
    the learner is gone grow old, and `combine` leaves them out in time.
    """

    def __init__(
        self, name: str, definition_hash: str, registry: Registry, redis_url: str, limit_ms: float | None = None
    ) -> None:
        self.name = name
        self.definition_hash = definition_hash
        self.registry = registry
        self.limit_ms = limit_ms
        self.current = LiveModels()
        self.problems: dict[str, str] = {}
        self.failures = 0
        self._connection = RedisConnection(redis_url, timeout_ms=500)
        self._snapshot = b""
        self._refused, self._refused_until_s = "", -math.inf
        self._background = Background("model-feed", self.refresh, REFRESH_INTERVAL_S)

    def start(self) -> None:
        """Load what there is, then go on in the background."""
        self._background.start()

    def stop(self) -> None:
        """End the background thread, if it was started, and close the connection."""
        self._background.stop()
        self._connection.close()

    def refresh(self) -> None:
        """Look once for newer models. A model that cannot be read leaves the present one in place."""
        batch, (online, confirmed_at_s) = self._batch(), self._online()
        read = self.current.read if batch is self.current.batch else self._read(batch)
        self.current = LiveModels(batch, online, confirmed_at_s, read)
        self.failures += bool(self.problems)

    def _batch(self) -> OnnxModel | WatchedModel | None:
        present = self.current.batch
        try:
            version = self.registry.resolve(self.name)
            if present is not None and present.version == version:
                self.problems.pop("batch", None)
                return present
            manifest = self.registry.manifest(self.name, version)
            if manifest.definition_hash != self.definition_hash:
                self.problems["batch"] = (
                    f"model {self.name} {version} was trained on definition {manifest.definition_hash}, "
                    f"the features are {self.definition_hash}; run 'headrace train {self.name}'"
                )
                return present
            if version == self._refused and time.monotonic() < self._refused_until_s:
                return present
            loaded = self.registry.load(self.name, version)
            if why := self._unfit(loaded):
                self._refused, self._refused_until_s = version, time.monotonic() + REFUSED_S
                self.problems["batch"] = f"model {self.name} {version} {why}; the one before it stays; train it again"
                return present
        except (ModelNotFound, OSError, ValueError) as error:
            self.problems["batch"] = str(error)
            return present
        self.problems.pop("batch", None)
        return loaded if self.limit_ms is None else WatchedModel(loaded, self.limit_ms)

    def _unfit(self, model: OnnxModel) -> str | None:
        """Why a model that could be loaded is not taken all the same."""
        row = np.zeros(len(model.manifest.feature_names))
        if math.isnan(model.score_one(row)):
            return "answers with no number"
        taken_ms = min(timeit.repeat(lambda: model.score_one(row), number=1, repeat=WARM_UP_ROUNDS)) * 1000
        if self.limit_ms is not None and taken_ms > self.limit_ms:
            return f"takes {taken_ms:.0f} ms for one row, and may take {self.limit_ms:.0f} ms"
        return None

    def _read(self, batch: OnnxModel | WatchedModel | None) -> ShapModel | None:
        try:
            return None if batch is None else self.registry.read(self.name, batch.version)
        except (ModelNotFound, OSError, ValueError) as error:
            _log.warning("reasons are found the slow way: %s", error)
            return None

    def _online(self) -> tuple[OnlineSnapshot | None, float]:
        """The latest snapshot, and when the learner confirmed it."""
        present, confirmed_at_s = self.current.online, self.current.online_at_s
        asked_at_s = time.monotonic()
        try:
            content, left_ms = self._connection.call(
                [("GET", f"model:online:{self.name}"), ("PTTL", alive_key(self.name))]
            )
            if error := next((reply for reply in (content, left_ms) if isinstance(reply, RedisError)), None):
                raise error
        except (RedisUnavailable, RedisError) as error:
            self.problems["online"] = str(error)
            return present, confirmed_at_s
        if content is not None and content != self._snapshot:
            try:
                weights = OnlineWeights.from_json(content)
            except InvalidWeights as error:
                self.problems["online"] = str(error)
                return present, confirmed_at_s
            if weights.definition_hash != self.definition_hash:
                self.problems["online"] = (
                    f"the learner works on definition {weights.definition_hash}, "
                    f"the features are {self.definition_hash}"
                )
                return present, confirmed_at_s
            self._snapshot = content
            present = OnlineSnapshot(weights)
        self.problems.pop("online", None)
        # What is left until the sign of life expires tells its age by Redis's clock: no two clocks need agree. A reply
        # below 0 means that there is none; then the last one goes on growing old.
        if left_ms >= 0:
            confirmed_at_s = max(confirmed_at_s, asked_at_s - (ALIVE_EXPIRY_MS - left_ms) / 1000)
        return present, confirmed_at_s


def registry_of(home: Path) -> Registry:
    """The registry in a home directory."""
    return Registry(home / "models")
