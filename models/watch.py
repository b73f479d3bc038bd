"""A watch over models: a call that takes longer than its share of the deadline is ended from another thread.

What remains: ONNX looks at the flag between two nodes of its graph (and between two rounds of a loop), so one node that
takes long is not interrupted; and what a model does outside of ONNX is not either.
"""

from __future__ import annotations

import logging
import math
import threading
import time
import weakref
from collections.abc import Iterator
from functools import lru_cache

from prometheus_client import Counter

from models.contract import Matrix, Vector
from models.manifest import Manifest
from models.onnx import ModelAborted, OnnxModel

LOOK_EVERY_S = 0.005
PARK_AFTER_S = 1.0
OVERRUNS_LIMIT = 3
"""After so many in a row a model is left out."""
RETRY_S = 5.0
"""A model that is left out gets one more row so often."""

OVERRUNS = Counter("headrace_model_overruns", "Calls of a model that took too long and were ended.", ("model",))

_log = logging.getLogger(__name__)


class ModelOverran(RuntimeError):
    """The model took too long, or is left out since it did."""


class Watch:
    """The thread that looks. It sleeps while no model is asked, and wakes every few ms while some are."""

    def __init__(self) -> None:
        self.is_parked = False
        self._models: list[weakref.ref[WatchedModel]] = []
        self._wake = threading.Event()
        threading.Thread(target=self._run, name="model-watch", daemon=True).start()

    def add(self, model: WatchedModel) -> None:
        """Watch this model too, for as long as somebody else holds it."""
        self._models = [one for one in self._models if one() is not None] + [weakref.ref(model)]

    def wake(self) -> None:
        """A model is asked again after a while."""
        self.is_parked = False
        self._wake.set()

    def _run(self) -> None:
        calls, quiet_since_s = -1, time.monotonic()
        while True:
            time.sleep(LOOK_EVERY_S)
            now_s = time.perf_counter()
            is_running = False
            for model in self._alive():
                is_running |= model.is_running
                if now_s > model.until_s:
                    model.until_s = math.inf
                    model.abort()
            before, calls = calls, self._calls()
            if calls != before:
                quiet_since_s = time.monotonic()
            elif time.monotonic() - quiet_since_s > PARK_AFTER_S and not is_running:
                self._wake.clear()
                self.is_parked = True
                # Whoever was asked just now and did not see the mark is seen here.
                if calls == self._calls():
                    self._wake.wait()
                self.is_parked = False
                quiet_since_s = time.monotonic()

    def _alive(self) -> Iterator[WatchedModel]:
        for one in self._models:
            model = one()
            if model is not None:
                yield model

    def _calls(self) -> int:
        return sum(model.calls for model in self._alive())


class WatchedModel:
    """A model whose rows take `limit_ms` at most, and that is left out for a while where it cannot keep to that.

    Raises `ModelOverran` instead of an answer that would be late. One thread asks it.
    """

    def __init__(self, model: OnnxModel, limit_ms: float) -> None:
        self.model = model
        self.limit_s = limit_ms / 1000
        self.until_s = math.inf
        """When the call that runs is to be ended; infinite where none runs."""
        self.calls = 0
        self.left_out_until_s = -math.inf
        self._overruns = 0
        self._watch = watch()
        self._watch.add(self)

    @property
    def name(self) -> str:
        """The name it is registered under."""
        return self.model.name

    @property
    def version(self) -> str:
        """The registered version."""
        return self.model.version

    @property
    def manifest(self) -> Manifest:
        """What is known of it."""
        return self.model.manifest

    @property
    def is_running(self) -> bool:
        """Whether a call runs."""
        return self.until_s < math.inf

    def abort(self) -> None:
        """End the call that runs. From another thread."""
        self.model.abort()

    def score_one(self, x: Vector) -> float:
        """As `OnnxModel.score_one`."""
        started_s = self._begin()
        try:
            said = self.model.score_one(x)
        except ModelAborted:
            self._overran(started_s)
            return self.model.score_one(x)  # ended by mistake: the call before had been meant, and was done
        finally:
            self.until_s = math.inf
        if self._overruns:
            self._is_quick_again()
        return said

    def score_many(self, X: Matrix) -> Vector:
        """As `OnnxModel.score_many`; all rows together have the time of one."""
        started_s = self._begin()
        try:
            return self.model.score_many(X)
        except ModelAborted:
            self._overran(started_s)
            return self.model.score_many(X)
        finally:
            self.until_s = math.inf

    def _begin(self) -> float:
        now_s = time.perf_counter()
        if self._overruns >= OVERRUNS_LIMIT:
            if now_s < self.left_out_until_s:
                raise ModelOverran(f"model {self.name!r} {self.version} is left out: it took too long")
            self.left_out_until_s = now_s + RETRY_S
        self.until_s = now_s + self.limit_s
        self.calls += 1
        if self._watch.is_parked:
            self._watch.wake()
        return now_s

    def _overran(self, started_s: float) -> None:
        taken_s = time.perf_counter() - started_s
        if taken_s < self.limit_s:
            return
        OVERRUNS.labels(self.name).inc()
        self._overruns += 1
        if self._overruns == OVERRUNS_LIMIT:
            self.left_out_until_s = time.perf_counter() + RETRY_S
            _log.error(
                "model %r %s is left out: it took longer than %.0f ms %d times in a row; tried again every %.0f s",
                self.name,
                self.version,
                self.limit_s * 1000,
                OVERRUNS_LIMIT,
                RETRY_S,
            )
        raise ModelOverran(f"model {self.name!r} {self.version} took {taken_s * 1000:.0f} ms for one row")

    def _is_quick_again(self) -> None:
        if self._overruns >= OVERRUNS_LIMIT:
            _log.warning("model %r %s is quick enough again", self.name, self.version)
        self._overruns = 0


@lru_cache(maxsize=1)
def watch() -> Watch:
    """The one watch of this process, started when it is first needed."""
    return Watch()
