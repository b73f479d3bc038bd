"""Start while a server is still down: wait for the log, and be stopped at any time."""

from __future__ import annotations

import logging
from threading import Event

from headrace.assembly import open_log
from headrace.settings import Settings
from stream.log import Log, LogUnavailable
from stream.patience import Patience

PAUSE_LIMIT_S = 5.0

_log = logging.getLogger(__name__)


def open_log_when_up(settings: Settings, stop: Event) -> Log | None:
    """The log as soon as its server answers; None when `stop` was set before.

    Waits only for what a retry can help: an address that is none raises `ValueError` at once. The Redis log connects
    with its first command, so here only Kafka is waited for; the loops wait for Redis themselves.
    """
    patience = Patience(stop, _log, "waiting", PAUSE_LIMIT_S)
    while not stop.is_set():
        try:
            return open_log(settings)
        except LogUnavailable as error:
            patience.wait(error)
    return None
