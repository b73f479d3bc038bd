"""The decisions that the scaler has not seen yet, in their turn: by event time, then by event id."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from training.learner_store import LearnerStore, Unobserved

READ_AT_ONCE = 200


class Unseen:
    """Gives each decision once, in turn, up to a time, and asks the store only when one is due.

    One transaction of the store: `add` for all new decisions first, then `up_to` any number of times, then `save`. A
    decision that is added after a later one was given comes before all others in the next transaction. After a
    transaction that failed, make another of these.
    """

    def __init__(self, store: LearnerStore) -> None:
        self._store = store
        self._read: deque[Unobserved] = deque()
        self._given: tuple[int, str] | None = None
        self._next_us = store.oldest_unobserved_us()

    def add(self, event_time_us: int) -> None:
        """A decision of this time was kept."""
        if self._next_us is None or event_time_us < self._next_us:
            self._next_us = event_time_us

    def up_to(self, at_us: int) -> Iterator[Unobserved]:
        """Those with event times at or before this, in turn. Take all of them."""
        while self._next_us is not None and self._next_us <= at_us:
            if not self._read:
                self._fill()
            while self._read and self._read[0].event_time_us <= at_us:
                seen = self._read.popleft()
                self._given = (seen.event_time_us, seen.event_id)
                yield seen
            if not self._read:
                self._fill()
            # Also where `_next_us` was of a decision that is not kept any more: there is nothing before these.
            self._next_us = self._read[0].event_time_us if self._read else None

    def save(self) -> None:
        """Have the store know what was given."""
        if self._given is not None:
            self._store.drop_unobserved(self._given)
        self._given = None
        self._read.clear()

    def _fill(self) -> None:
        self._read.extend(self._store.unobserved(self._given, READ_AT_ONCE))
