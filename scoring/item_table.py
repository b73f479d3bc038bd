"""The features of all items, in this process: what the ranker reads of a hundred candidates without asking Redis.

A thread of its own reads items' hashes (states and pending rows alike) and computes their features by the engine that
serves every other feature. Items that were touched come first, then all others in turn. What it does in a second is
bounded, so rows are as of a moment of their own: `as_of_us` says which.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from features.feature_set import EntityRef
from features.history import CorruptState, History
from features.online_store import RedisOnlineStore, StoredEntity
from features.recommendation import ITEM, ITEMS
from features.scan import Scan
from models.compiled import read_only
from scoring.background import Background
from stream.connection import RedisError, RedisUnavailable

INTERVAL_S = 0.25
ROWS_PER_TURN = 100
"""Some 5 ms of work, four times a second: 100,000 items take about four minutes."""
ROWS_TOGETHER = 8
"""Read in one round trip and computed in one go: less than a millisecond in which requests wait for the interpreter."""
TOUCHED_LIMIT = 10_000
"""Beyond it, an item waits until its turn comes."""
LEAST_AGE_US = 60_000_000
"""No row is read again before, unless the item was touched."""
NEVER_US = 0

Floats = NDArray[np.float32]
_log = logging.getLogger(__name__)


def _put_rows_py(rows: Floats, numbers: NDArray[np.int32], out: Floats) -> None:
    for i in range(numbers.shape[0]):
        if 0 <= numbers[i] < rows.shape[0]:
            for column in range(rows.shape[1]):
                out[i, column] = rows[numbers[i], column]
        else:
            out[i, :] = np.float32(np.nan)


_put_rows: Callable[..., None] = njit(
    types.void(types.float32[:, ::1], read_only(types.int32), types.Array(types.float32, 2, "A")),
    cache=True,
    nogil=True,
)(_put_rows_py)


class ItemTable:
    """Rows of item features by number, float32, NaN where unknown.

    One thread refreshes, any may read: a row is written in one go, and a reader sees the old or the new one.

    Parameters
    ----------
    store
        Over a connection that only the refreshing thread uses.
    ids
        Gives the ids of all items by number; they are only ever added to.
    """

    def __init__(
        self,
        store: RedisOnlineStore,
        ids: Callable[[], Sequence[str]],
        clock_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self.store = store
        self.names = ITEMS.names
        self.problems: dict[str, str] = {}
        self.failures = 0
        self._ids = ids
        self._clock_us = clock_us
        self._scan = Scan(ITEM)
        self._rows = np.full((64, len(self.names)), np.nan, dtype=np.float32)
        self._as_of_us = np.full(64, NEVER_US, dtype=np.int64)
        self._turn = 0
        self._is_void = False
        self._touched: dict[int, None] = {}
        self._lock = threading.Lock()
        self._background = Background("item-table", self.refresh, INTERVAL_S)

    def start(self) -> None:
        """Read the first items, then go on in the background."""
        self._background.start()

    def stop(self) -> None:
        """End the thread and close its connection."""
        self._background.stop()
        self.store.connection.close()

    def rows(self, numbers: NDArray[np.int32]) -> Floats:
        """The features of items, shape (n, len(names)), NaN for an item that was not read yet."""
        found = np.empty((len(numbers), len(self.names)), dtype=np.float32)
        self.put_rows(numbers, found)
        return found

    def put_rows(self, numbers: NDArray[np.int32], out: Floats) -> None:
        """As `rows`, written into `out`, which may be columns of a wider array."""
        _put_rows(self._rows, numbers, out)

    def as_of_us(self, numbers: NDArray[np.int32]) -> NDArray[np.int64]:
        """As of when, in microseconds since 1970; 0 for an item that was not read yet."""
        as_of = self._as_of_us
        return np.where(numbers < len(as_of), as_of[np.minimum(numbers, len(as_of) - 1)], NEVER_US)

    def touch(self, numbers: Iterable[int]) -> None:
        """Have these items read again soon: something happened to them."""
        with self._lock:
            for number in numbers:
                if len(self._touched) >= TOUCHED_LIMIT:
                    return
                self._touched[number] = None

    def forget(self) -> None:
        """Numbers mean other items from now on: read all anew."""
        self._is_void = True

    def refresh(self) -> None:
        """Read the touched items, and others whose turn it is. Never raises: what could not be read stays as it was."""
        if self._is_void:
            self._is_void = False
            self._rows, self._as_of_us = np.full_like(self._rows, np.nan), np.full_like(self._as_of_us, NEVER_US)
        chosen = self._choose(ROWS_PER_TURN)
        for first in range(0, len(chosen), ROWS_TOGETHER):
            some = chosen[first : first + ROWS_TOGETHER]
            try:
                self._read(some)
            except (RedisUnavailable, RedisError) as error:
                self.touch(chosen[first:])
                self.failures += 1
                if not self.problems:
                    _log.warning("item features are not renewed: %s", error)
                self.problems = {"items": str(error)}
                return
            time.sleep(0.0005)  # whoever waits for the interpreter has it now
        self.problems = {}

    def _choose(self, limit: int) -> list[int]:
        known = len(self._ids())
        with self._lock:
            chosen = [number for number in list(self._touched)[:limit] if number < known]
            for number in chosen:
                del self._touched[number]
        self._reserve(known)
        due_us = self._clock_us() - LEAST_AGE_US
        for _ in range(min(known, limit - len(chosen))):
            self._turn = (self._turn + 1) % known
            if self._as_of_us[self._turn] > due_us:
                break  # a whole round is younger than that
            chosen.append(self._turn)
        return chosen

    def _reserve(self, length: int) -> None:
        have = len(self._rows)
        if length > have:
            more = max(length, 2 * have) - have
            self._rows = np.concatenate([self._rows, np.full((more, len(self.names)), np.nan, dtype=np.float32)])
            self._as_of_us = np.concatenate([self._as_of_us, np.full(more, NEVER_US, dtype=np.int64)])

    def _read(self, numbers: Sequence[int]) -> None:
        ids = self._ids()
        refs = [EntityRef(ITEM.entity, ids[number]) for number in numbers]
        entities = self.store.read(refs)
        at_us = self._clock_us()
        for number, entity in zip(numbers, entities, strict=True):
            with np.errstate(over="ignore"):
                self._rows[number] = self._features(entity, at_us)
            self._as_of_us[number] = at_us

    def _features(self, entity: StoredEntity, at_us: int) -> NDArray[np.float64]:
        try:
            history = History.decode(ITEM, entity.states.get(ITEM.name))
        except CorruptState:
            history = History(ITEM)
        pending = [row for content in entity.pending.values() for _, row in ITEMS.pending_rows(content)]
        return self._scan.read(history, at_us, pending)[0]
