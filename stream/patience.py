"""Pauses between tries that grow, for whoever waits for a log, a disk or a Redis that fails for a while."""

from __future__ import annotations

import logging
from threading import Event

FIRST_PAUSE_S = 0.1


class Patience:
    """Each pause is twice the one before, to a limit; what succeeds begins anew. `stop` ends a pause at once."""

    def __init__(self, stop: Event, log: logging.Logger, who: str, limit_s: float) -> None:
        self._stop = stop
        self._log = log
        self._who = who
        self._limit_s = limit_s
        self._pause_s = FIRST_PAUSE_S

    def succeeded(self) -> None:
        """A try came through: the next pause is short again."""
        self._pause_s = FIRST_PAUSE_S

    def wait(self, error: Exception, level: int = logging.WARNING) -> None:
        """Say what failed, and pause before the next try."""
        self._log.log(level, "%s: %s; trying again in %.1f s", self._who, error, self._pause_s)
        self._stop.wait(self._pause_s)
        self._pause_s = min(self._pause_s * 2, self._limit_s)
