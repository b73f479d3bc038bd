"""The breaker: when Redis does not answer, requests stop waiting for it until it does.

Closed, every request asks Redis. When more than a third of the calls fail for a while, or two have kept requests
waiting, it opens: calls fail at once, and answers are degraded within the time of the rest of the work. Off the request
path a thread asks Redis over a connection of its own, and closes the breaker when Redis has written twice in a row as
fast as requests need it.

A Redis that answers reads but refuses writes (out of memory, a replica, a failed disk) is neither: reads go on, since
the features are good, and writes are refused at once by Redis itself. That state is told, and ends when a write works.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from enum import IntEnum
from threading import Lock
from typing import Any

from prometheus_client import Gauge

from scoring.background import Background
from stream.connection import Command, RedisConnection, RedisError, RedisUnavailable, Reply

FAILURE_POINTS = 2
"""A failed call adds them, an answered one takes one away: reads that work do not hide that all writes fail."""
POINTS_LIMIT = 6
WAITED_LIMIT_MS = 30.0
"""Two failures that kept requests waiting for so long in all open it, too."""
LEAST_WAIT_SHARE = 0.5
PROBE_INTERVAL_S = 0.1
PROBES_NEEDED = 2
PROBE_KEY = "headrace:probe"
PROBE_KEPT_MS = 1000
REFUSES_WRITES = ("OOM", "READONLY", "MISCONF", "NOREPLICAS")
ANSWERS_NOTHING = ("LOADING", "BUSY", "MASTERDOWN", "NOAUTH", "WRONGPASS", "CLUSTERDOWN")

_WITHIN_SCRIPT = re.compile(r": -([A-Z]+) ")

STATE = Gauge(
    "headrace_breaker_state",
    "Redis as requests see it: 0 answers, 1 refuses writes, 2 is not asked until it answers again.",
    multiprocess_mode="livemax",
)

_log = logging.getLogger(__name__)


class State(IntEnum):
    """What the breaker makes of Redis."""

    CLOSED = 0
    READ_ONLY = 1
    OPEN = 2


class Breaker:
    """Whether Redis is asked. Told of failures by a `BreakerConnection`, told of recovery by its own probes.

    `probe` is a connection that nobody else uses; `patience_ms` is how long requests wait for a reply: a Redis that
    answers later than that would only be closed to be opened again.
    """

    def __init__(self, probe: RedisConnection, patience_ms: float) -> None:
        self.is_open = False
        self.points = 0
        """Of failures; whoever gets a reply takes one away."""
        self.state = State.CLOSED
        self._waited_ms = 0.0
        self._written = 0
        self._probe = probe
        self._patience_ms = patience_ms
        self._turning = Lock()
        self.least_wait_ms = LEAST_WAIT_SHARE * patience_ms
        """Who had less time than that and heard nothing knows nothing of Redis: it is the requests that are late."""
        self._background = Background("breaker-probe", self.ask, PROBE_INTERVAL_S, at_once=False)

    def start(self) -> None:
        """Probe in the background from now on, whenever it is not closed."""
        STATE.set(self.state)
        self._background.start()

    def stop(self) -> None:
        """End the probes and close their connection."""
        self._background.stop()
        self._probe.close()

    def failed(self, why: str, waited_ms: float = 0.0) -> None:
        """A call failed after so much waiting."""
        is_first = self.points == 0
        self._waited_ms = waited_ms if is_first else self._waited_ms + waited_ms
        self.points += FAILURE_POINTS
        if self.points >= POINTS_LIMIT or (not is_first and self._waited_ms >= WAITED_LIMIT_MS):
            self._written = 0
            self._turn(State.OPEN, why)

    def refused(self, error: RedisError) -> None:
        """Redis answered with an error: of itself, or of one command only, which says nothing of Redis."""
        kind = kind_of(error)
        if kind in ANSWERS_NOTHING:
            self.failed(str(error))
        elif kind in REFUSES_WRITES and self.state is State.CLOSED:
            self._turn(State.READ_ONLY, str(error))

    def ask(self) -> None:
        """Probe once, unless it is closed: only a write that is done in time closes it."""
        if self.state is State.CLOSED:
            return
        try:
            commands: list[Command] = [("SET", PROBE_KEY, 1, "PX", PROBE_KEPT_MS), ("GET", PROBE_KEY)]
            written, read = self._probe.call(commands, self._patience_ms)
        except (RedisUnavailable, RedisError):
            self._written = 0
            return
        if isinstance(written, RedisError):
            self._written = 0
            if kind_of(written) in REFUSES_WRITES and not isinstance(read, RedisError):
                self._turn(State.READ_ONLY, str(written))
            return
        self._written += 1
        if self.state is State.READ_ONLY or self._written >= PROBES_NEEDED:
            self._turn(State.CLOSED, "it writes again")

    def _turn(self, state: State, why: str) -> None:
        with self._turning:
            if state is self.state:
                return
            self.points = 0
            # First what holds requests back, then what is told: whoever reads that it is closed is let through.
            self.is_open = state is State.OPEN
            self.state = state
        STATE.set(state)
        match state:
            case State.OPEN:
                _log.error("Redis is not asked until it answers again, answers are degraded: %s", why)
            case State.READ_ONLY:
                _log.error("Redis refuses writes, answers are not recorded yet: %s", why)
            case State.CLOSED:
                _log.warning("Redis is asked again: %s", why)


def kind_of(error: RedisError) -> str:
    """The first word of an error; of one within a script, the word of the command that failed.

    >>> kind_of(RedisError("ERR Error running script (call to f_1): @user_script:5: @user_script: 5: -OOM command not"))
    'OOM'
    """
    within = _WITHIN_SCRIPT.search(str(error))
    return within[1] if within else str(error).partition(" ")[0]


class BreakerConnection(RedisConnection):
    """A connection whose calls fail at once while its breaker is open.

    Only for a breaker that is started: one that nobody probes stays open.
    """

    def __init__(self, url: str, breaker: Breaker, **options: Any) -> None:
        super().__init__(url, **options)
        self.breaker = breaker

    def call(self, commands: Sequence[Command | bytes], timeout_ms: float | None = None) -> list[Reply]:
        """As `RedisConnection.call`. Raises `RedisUnavailable` at once where the breaker is open."""
        breaker = self.breaker
        if breaker.is_open:
            raise RedisUnavailable("Redis has not answered lately; it is asked again in the background")
        try:
            replies = super().call(commands, timeout_ms)
        except RedisUnavailable as error:
            waited_ms = self.timeout_ms if timeout_ms is None else timeout_ms
            if not isinstance(error.__cause__, TimeoutError):
                breaker.failed(str(error))
            elif waited_ms >= breaker.least_wait_ms:
                breaker.failed(str(error), waited_ms)
            raise
        except RedisError as error:  # while it greeted
            breaker.refused(error)
            raise
        if type(replies[-1]) is RedisError:
            breaker.refused(replies[-1])
        elif breaker.points:
            breaker.points -= 1
        return replies
