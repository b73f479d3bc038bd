"""Where scorers and the dashboard find what the learner knows, and that it is there: three keys in Redis."""

from __future__ import annotations

import time
import zlib
from typing import Protocol

import msgspec

from models.snapshot import ALIVE_EXPIRY_MS, OnlineWeights, alive_key, kept_weights_key, report_key
from stream.connection import RedisConnection, RedisError
from training.learner_report import LearnerReport

WEIGHTS_KEPT_MS = 3_600_000
"""How long the keeper of the audit chain may be behind and still find the weights that a decision cites."""


def model_key(name: str) -> str:
    """The key that holds the weights of the online model of a use case, as JSON."""
    return f"model:online:{name}"


def metrics_key(name: str) -> str:
    """The key that holds the learner's report, as JSON."""
    return report_key(name)


class Publisher(Protocol):
    """Takes what the learner has to tell; may raise `RedisUnavailable` or `RedisError`, and is then called again."""

    def send_weights(self, weights: OnlineWeights) -> None:
        """Let scorers have these weights."""

    def send_report(self, report: LearnerReport) -> None:
        """Let the dashboard have these numbers."""

    def send_heartbeat(self) -> None:
        """Let scorers know that the weights they have are the latest there are."""


class RedisPublisher:
    """Writes the weights and the report of one use case's learner; each key changes as a whole.

    Raises `RedisUnavailable` or `RedisError` when Redis did not take them: publishing the next ones is enough.
    """

    def __init__(self, connection: RedisConnection, name: str = "fraud") -> None:
        self._connection = connection
        self._name = name

    def send_weights(self, weights: OnlineWeights) -> None:
        """Set `model_key(name)`, after keeping the same under their version for the audit chain to fetch.

        Reversed, a decision could cite weights that nobody can fetch.
        """
        content, kept = weights.to_json(), kept_weights_key(self._name, weights.version)
        for reply in self._connection.call(
            [
                ("SADD", kept, zlib.compress(content)),
                ("PEXPIRE", kept, WEIGHTS_KEPT_MS),
                ("SET", model_key(self._name), content),
            ]
        ):
            if isinstance(reply, RedisError):
                raise reply

    def send_report(self, report: LearnerReport) -> None:
        """Set `metrics_key(name)`."""
        self._connection.one("SET", metrics_key(self._name), msgspec.json.encode(report))

    def send_heartbeat(self) -> None:
        """Set `alive_key(name)` to the time in seconds since 1970, for people; readers go by its expiry."""
        self._connection.one("SET", alive_key(self._name), f"{time.time():.3f}", "PX", ALIVE_EXPIRY_MS)
