"""The ranker that answers now: the registry's champion where it is fit, the fixed blend where there is none."""

from __future__ import annotations

import logging
from typing import cast

from models.onnx import OnnxModel
from models.quick_trees import QuickTrees, quick_trees
from models.ranker import Ranker
from models.registry import ModelNotFound, Registry
from scoring.background import Background
from scoring.member_feed import MemberFeed
from scoring.ranked_features import DEFINITION_HASH, ITEM_NAMES, NAME, VISITOR_NAMES

REFRESH_INTERVAL_S = 0.5

_log = logging.getLogger(__name__)


class RankerFeed:
    """Keeps `current` up to date. A champion that cannot be used leaves the present ranker; `problems` says why."""

    def __init__(self, registry: Registry, limit_ms: float | None = None) -> None:
        self.registry = registry
        self.current = Ranker(None, VISITOR_NAMES, ITEM_NAMES)
        self.problems: dict[str, str] = {}
        self.failures = 0
        self._champion = MemberFeed(NAME, DEFINITION_HASH, registry, limit_ms, reasons=False)
        self._background = Background("ranker-feed", self.refresh, REFRESH_INTERVAL_S)

    def start(self) -> None:
        """Load what there is, then go on in the background."""
        self._background.start()

    def stop(self) -> None:
        """End the background thread, if it was started."""
        self._background.stop()

    def refresh(self) -> None:
        """Look once for a newer champion. Never raises."""
        champion = self._champion
        try:
            version = self.registry.aliases(NAME).get("champion")
            if version is None:
                champion.drop()
            else:
                champion.follow(version)
            problem = champion.problem
            if champion.model is None:
                if self.current.version != Ranker().version:
                    self.current = Ranker(None, VISITOR_NAMES, ITEM_NAMES)
            elif champion.model.version != self.current.version:
                self.current = Ranker(self._quickest(champion), VISITOR_NAMES, ITEM_NAMES)
        except ModelNotFound:
            problem = None  # nobody has trained one yet
        except (OSError, ValueError) as error:
            problem = str(error)
        self._say(problem)

    def _quickest(self, champion: MemberFeed) -> OnnxModel | QuickTrees:
        """The trees of the champion where they answer as it does; else itself, watched."""
        # A watched model is asked like any other.
        model = cast("OnnxModel", champion.model)
        try:
            return quick_trees(self.registry.read(NAME, model.version), model)
        except Exception as error:  # a form that is not known may raise anything
            _log.warning("the ranker is asked the slow way: %s", error)
            return model

    def _say(self, problem: str | None) -> None:
        if problem is None:
            self.problems = {}
            return
        self.failures += 1
        if self.problems.get("ranker") != problem:
            self.problems = {"ranker": problem}
            _log.warning("ranker: %s", problem)
