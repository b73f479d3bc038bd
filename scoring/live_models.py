"""The models that score now: immutable, swapped whole between two requests, refreshed in the background."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path

from models.aliases import Canary
from models.ensemble import FEEDBACK, registered_name
from models.onnx import OnnxModel
from models.registry import ModelNotFound, Registry
from models.shap import ShapModel
from models.snapshot import ALIVE_EXPIRY_MS, InvalidWeights, OnlineSnapshot, OnlineWeights, alive_key
from models.watch import WatchedModel
from scoring.background import Background
from scoring.canary_split import is_in, place_of
from scoring.member_feed import MemberFeed
from stream.connection import RedisConnection, RedisError, RedisUnavailable

REFRESH_INTERVAL_S = 0.5
READ_TIMEOUT_MS = 500.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LiveModels:
    """One consistent set of members; None for one that is not there.

    `read` is the batch member once more, as it finds reasons; None where its file has a form that is not understood.
    `online_at_s` is when the learner last gave a sign of life while its weights could be read, by `time.monotonic`;
    minus infinity if it never did. `canary` are the models that answer `canary_share` percent of the entities instead;
    None where there is no canary. `feedback_at_s` is when the feedback member was trained, in seconds since 1970.
    """

    batch: OnnxModel | WatchedModel | None = None
    online: OnlineSnapshot | None = None
    online_at_s: float = -math.inf
    read: ShapModel | None = None
    canary: LiveModels | None = None
    canary_share: int = 0
    feedback: OnnxModel | WatchedModel | None = None
    feedback_at_s: float = -math.inf

    def for_entity(self, name: str, key: str) -> LiveModels:
        """The set that answers for an entity of the model `name`: one of the two, for the whole decision."""
        canary = self.canary
        return canary if canary is not None and is_in(place_of(name, key), self.canary_share) else self


class ModelFeed:
    """Keeps `current` up to date from the registry's champion and the learner's snapshots.

    Champion and canary are taken where they are fit (`MemberFeed`); while the canary is not, the champion answers for
    all. `problems` says what is wrong, by member. The online model is as fresh as the learner's last sign of life:
    weights that stay in Redis when the learner is gone grow old, and `combine` leaves them out in time.
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
        self._connection = RedisConnection(redis_url, READ_TIMEOUT_MS)
        self._snapshot = b""
        self._champion = MemberFeed(name, definition_hash, registry, limit_ms)
        self._canary = MemberFeed(name, definition_hash, registry, limit_ms)
        self._feedback = MemberFeed(registered_name(name, FEEDBACK), definition_hash, registry, limit_ms, reasons=False)
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
        self._follow_champion()
        canary = self._follow_canary()
        online, confirmed_at_s = self._online()
        models = LiveModels(self._champion.model, online, confirmed_at_s, self._champion.read)
        if (feedback := self._follow_feedback()) is not None:
            made_at_s = feedback.manifest.created_at.timestamp()
            models = replace(models, feedback=feedback, feedback_at_s=made_at_s)
        if canary is not None:
            beside = replace(models, batch=self._canary.model, read=self._canary.read)
            models = replace(models, canary=beside, canary_share=canary.share)
        self.current = models
        self.failures += bool(self.problems)

    def _follow_champion(self) -> None:
        champion = self._champion
        try:
            champion.follow(self.registry.resolve(self.name))
            self._say("batch", champion.problem)
        except (ModelNotFound, OSError, ValueError) as error:
            self.problems["batch"] = str(error)

    def _follow_canary(self) -> Canary | None:
        """The canary, where there is one that may answer; else the champion answers for all."""
        try:
            canary = self.registry.canary(self.name)
        except OSError as error:
            self.problems["canary"] = str(error)
            return None
        if canary is None:
            self._canary.drop()
        else:
            self._canary.follow(canary.version)
        problem = self._canary.problem
        self._say("canary", None if problem is None else f"the champion answers for all: {problem}")
        model = self._canary.model
        return canary if canary is not None and model is not None and model.version == canary.version else None

    def _follow_feedback(self) -> OnnxModel | WatchedModel | None:
        """The feedback member, where there is one: a young system has none, and none of new features for a while."""
        feedback = self._feedback
        try:
            version = self.registry.aliases(feedback.name).get("champion")
            if version is None or self._is_outdated(feedback.name, version):
                feedback.drop()
            else:
                feedback.follow(version)
            self._say(FEEDBACK, feedback.problem)
        except (ModelNotFound, OSError, ValueError) as error:
            self.problems[FEEDBACK] = str(error)
        return feedback.model

    def _is_outdated(self, name: str, version: str) -> bool:
        present = self._feedback.model
        if present is not None and present.version == version:
            return False
        return self.registry.manifest(name, version).definition_hash != self.definition_hash

    def _say(self, member: str, problem: str | None) -> None:
        if problem is None:
            self.problems.pop(member, None)
        elif self.problems.get(member) != problem:
            self.problems[member] = problem
            _log.warning("%s of %s: %s", member, self.name, problem)

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
