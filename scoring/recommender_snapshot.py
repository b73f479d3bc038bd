"""Where the state of recommending lies in Redis: the newest snapshot, and the batch fits that it may adopt.

A state is its snapshot and the entries of the sequence after it. Whoever begins, or was told of a gap, calls `newest`
and goes on with `Sequence.read` from there.
"""

from __future__ import annotations

import logging
from typing import NamedTuple

from models.packed import InvalidState
from scoring.sequenced import RecommenderState
from stream.connection import RedisConnection
from stream.large_value import LINGER_MS, CorruptValue, LargeValue
from stream.sequence import START, Sequence, SequenceGap

SNAPSHOT_KEY = "recommendation:snapshot"
BEGIN_TRIES = 5
ADOPTED_KEPT_MS = 86_400_000
"""How long a batch fit stays once a snapshot has it: for those who are behind."""
_log = logging.getLogger(__name__)


class Begun(NamedTuple):
    """Where to go on: a state, and why it is not what everybody else has (empty where it is)."""

    state: RecommenderState
    problem: str = ""


def batch_key(version: str) -> str:
    """Where the content of a batch fit lies."""
    return f"recommendation:batch:{version}"


class SnapshotStore:
    """Snapshots and batch fits over a connection; one thread uses it. Every call may raise `RedisUnavailable`."""

    def __init__(self, connection: RedisConnection) -> None:
        self.connection = connection
        self._value = LargeValue(connection, SNAPSHOT_KEY)

    def save(self, state: RecommenderState) -> int:
        """Write a snapshot unless a later one is there; how many bytes it has."""
        content = state.encode()
        self._value.write(content, state.number, state.position.decode())
        return len(content)

    def replace(self, state: RecommenderState) -> None:
        """Write a snapshot in the place of whatever is there, be it of a later entry: of a sequence that is lost."""
        self._value.expire(LINGER_MS)
        self.connection.one("DEL", SNAPSHOT_KEY)
        self.save(state)

    def number(self) -> int:
        """The number of the last entry that the newest snapshot has; 0 where there is none."""
        name = self._value.name()
        return 0 if name is None else name.order

    def newest(self) -> RecommenderState | None:
        """The newest snapshot; None where there is none. Raises `CorruptValue` and `InvalidState`."""
        stored = self._value.read()
        return None if stored is None else RecommenderState.decode(stored.content)

    def begin(self, sequence: Sequence) -> Begun:
        """The state to go on from, and what is wrong with it.

        It is the newest snapshot, or nothing and the first entry. Where entries are gone that no readable snapshot has,
        or the sequence was lost and its snapshot was not, it goes on with the oldest entry that is kept, and says so.
        """
        problem = ""
        state = RecommenderState()
        for _ in range(BEGIN_TRIES):
            try:
                if (found := self.newest()) is None:
                    break
                state = found
                sequence.read(state.position, 1)
                return Begun(state)
            except (CorruptValue, InvalidState) as error:
                problem = f"the newest snapshot cannot be read: {error}"
                break
            except SequenceGap as error:
                # Unless a newer one was written, and entries trimmed, since this one was read.
                if self.number() == state.number:
                    problem = f"the newest snapshot is of another sequence: {error}"
                    state.position, state.number = START, 0
                    break
        if (floor := sequence.floor) != START:
            state.position = floor
            problem = problem or "there is no snapshot, and older entries are gone"
            problem += "; it goes on with the oldest entry that is kept"
        if problem:
            _log.warning("recommending: %s", problem)
        return Begun(state, problem)

    def keep_batch(self, version: str, content: bytes) -> None:
        """Have a batch fit ready for those who will adopt it."""
        LargeValue(self.connection, batch_key(version)).write(content)

    def fetch_batch(self, version: str) -> bytes | None:
        """The content of a batch fit; None where it is not there."""
        stored = LargeValue(self.connection, batch_key(version)).read()
        return None if stored is None else stored.content

    def release_batch(self, version: str) -> None:
        """Call once a snapshot has it: nobody who begins anew needs it."""
        LargeValue(self.connection, batch_key(version)).expire(ADOPTED_KEPT_MS)
