"""Keeps the state of recommending as new as the sequence, in a thread of its own, while requests read it.

The state is changed in place, a few entries at a time, under a lock that a request takes while it looks for candidates.
A lock, not the idle turns of the server's loop: it holds in any process (a bench, a test, a command), and reading and
decoding entries costs the loop nothing. Nobody waits long for it: one turn under the lock is at most `TURN_S`, after
which the thread sleeps as long again, so requests always come in between; and a request that could not have it by the
time it was given goes on without. A state that is read anew (at the start, after a gap) is built beside the present
one and put in its place.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

import msgspec

from models.packed import InvalidState
from models.recommender import Recommender
from models.visit import empty_visit
from scoring.background import Background
from scoring.recommender_snapshot import SnapshotStore
from scoring.sequenced import NAME, Adoption, ContentMissing, RecommenderState, topic_of
from scoring.visitor import ItemNumbers
from stream.connection import RedisConnection, RedisError, RedisUnavailable
from stream.large_value import CorruptValue
from stream.sequence import Sequence as SequenceOf
from stream.sequence import Sequenced, SequenceGap

TURN_S = 0.0005
READ_LIMIT = 500
BLOCK_MS = 200
READ_TIMEOUT_MS = 2000.0
"""Of a whole read, the blocking part among it."""
FAILURE_PAUSE_S = 0.2
FIRST_CATCH_UP_S = 20.0
"""How long a start waits for the state to be as new as the sequence; then it goes on in the background."""
FIRST_TRIES = 5
"""How often a start asks a Redis that fails."""
LEADERS = 100
"""Of the trending items, which are kept for answers without a state at hand."""
LEADERS_EVERY_S = 1.0

_PROBLEMS = (RedisUnavailable, RedisError, CorruptValue, InvalidState, ContentMissing)
_log = logging.getLogger(__name__)


class Busy(TimeoutError):
    """The state could not be had in the time that there was."""


class Held:
    """The state of a feed for as long as one looks at it. Entering raises `Busy`, and then nothing is held."""

    __slots__ = ("_feed", "_lock", "_timeout_ms")

    def __init__(self, feed: RecommenderFeed, lock: threading.Lock, timeout_ms: float) -> None:
        self._feed, self._lock, self._timeout_ms = feed, lock, timeout_ms

    def __enter__(self) -> Recommender:
        # Mostly free: then nothing is waited for.
        if not (self._lock.acquire(False) or self._lock.acquire(timeout=max(0.0, self._timeout_ms) / 1000)):
            raise Busy("the state of recommending is being renewed")
        if (state := self._feed.state) is None:
            self._lock.release()
            raise Busy("the state of recommending is not loaded yet")
        return state.recommender

    def __exit__(self, *of_error: object) -> None:
        self._lock.release()


class RecommenderFeed:
    """A `Recommender` that follows the sequence, its items' numbers, and how far behind it is.

    `touched` is told, in the feed's thread, the numbers of items whose features have changed, and `renumbered` that
    numbers mean other items from now on.

    Attributes
    ----------
    leaders
        The leading items lately and their scores, as they were a second ago: for whoever cannot have the state.
    behind
        How many entries of the sequence it has not taken in yet; -1 where that is not known.
    """

    def __init__(self, redis_url: str, touched: Callable[[Sequence[int]], None] = lambda numbers: None) -> None:
        self.leaders: tuple[tuple[str, float], ...] = ()
        self.behind = -1
        self.problems: dict[str, str] = {}
        self.failures = 0
        self.state: RecommenderState | None = None
        self.numbers = ItemNumbers()
        self.touched = touched
        self.renumbered: Callable[[], None] = lambda: None
        self._connection = RedisConnection(redis_url, READ_TIMEOUT_MS)
        self._sequence = SequenceOf(self._connection, NAME)
        self._snapshots = SnapshotStore(self._connection)
        self._lock = threading.Lock()
        self._led_at_s = 0.0
        self._is_serving = False
        self._background = Background("recommender", self._follow, 0.0, at_once=False)

    def start(self) -> None:
        """Take in what there is, within `FIRST_CATCH_UP_S`; then go on in the background."""
        until_s = time.monotonic() + FIRST_CATCH_UP_S
        while time.monotonic() < until_s:
            failures = self.failures
            is_behind = self.refresh(block_ms=0)
            if failures < self.failures < FIRST_TRIES:
                time.sleep(FAILURE_PAUSE_S)  # a busy Redis is no reason to begin without a state
            elif not is_behind:
                break
        self._is_serving = True
        self._background.start()

    def stop(self) -> None:
        """End the thread, if it was started, and close the connection."""
        self._background.stop()
        self._connection.close()

    def held(self, timeout_ms: float) -> Held:
        """The state, which nobody changes meanwhile: look, take what is needed, and let go. Raises `Busy`."""
        return Held(self, self._lock, timeout_ms)

    @property
    def ids(self) -> Sequence[str]:
        """The ids of all items by number. For another thread: it is only ever added to."""
        return () if self.state is None else self.state.recommender.index.ids

    @property
    def adopted(self) -> str:
        """The version of the batch fit that answers; `none` where there is none."""
        return "none" if self.state is None else self.state.adopted or "none"

    def title_of(self, item_id: str) -> str | None:
        """The title of an item; None where it has none, or is not known."""
        if self.state is None:
            return None
        index = self.state.recommender.index
        facts = index.facts(index.number_of(item_id))
        return None if facts is None else facts.title

    def refresh(self, block_ms: int = BLOCK_MS) -> bool:
        """Take in some of what is new; whether there may be more. Never raises: `problems` says what is wrong."""
        try:
            if self.state is None:
                self._begin()
            assert self.state is not None
            entries = self._sequence.read(self.state.position, READ_LIMIT, block_ms)
            self._take(entries)
            is_all = len(entries) < READ_LIMIT
            self.behind = 0 if is_all else max(0, self._sequence.count - self.state.number)
            self.problems.pop("recommender", None)
            self._lead()
            return not is_all
        except SequenceGap as error:
            self._trouble(error)
            self._again()
        except ContentMissing as error:
            self._trouble(error)
            if self._is_ahead():
                self._again()
        except _PROBLEMS as error:
            self._trouble(error)
        return False

    def _follow(self) -> None:
        failures = self.failures
        self.refresh()
        if self.failures > failures:
            time.sleep(FAILURE_PAUSE_S)

    def _begin(self) -> None:
        begun = self._snapshots.begin(self._sequence)
        numbers = ItemNumbers()
        numbers.follow(begun.state.recommender.index.ids)
        with self._lock:
            before, self.state, self.numbers = self.ids, begun.state, numbers
        ids = begun.state.recommender.index.ids
        if list(before) != ids[: len(before)]:
            self.renumbered()
        self._say("snapshot", begun.problem)
        self.touched(range(len(begun.state.recommender.index)))

    def _again(self) -> None:
        """Begin anew, the present state in its place until then."""
        try:
            self._begin()
        except _PROBLEMS as error:
            self._trouble(error)

    def _is_ahead(self) -> bool:
        """Whether a snapshot has what this state cannot get any more."""
        try:
            return self.state is None or self._snapshots.number() > self.state.number
        except (RedisUnavailable, RedisError):
            return False

    def _take(self, entries: Sequence[Sequenced]) -> None:
        state = self.state
        assert state is not None
        fetched = {
            version: self._snapshots.fetch_batch(version)
            for entry in entries
            if topic_of(entry.source) == Adoption.topic
            for version in [_version_of(entry)]
        }
        index = state.recommender.index
        at, touched = 0, dict[str, None]()
        try:
            while at < len(entries):
                with self._lock:
                    ends_s = time.perf_counter() + TURN_S
                    while at < len(entries):
                        applied = state.apply(entries[at], fetched.get)
                        touched |= dict.fromkeys(applied.items)
                        at += 1
                        if applied.effect == "adopted":
                            # What is made of it when it is first asked is made here, not within a request.
                            state.recommender.candidates(empty_visit("", time.time_ns() // 1000))
                        if time.perf_counter() >= ends_s:
                            break
                    self.numbers.follow(index.ids)
                if self._is_serving:
                    time.sleep(TURN_S)
        finally:
            if touched:
                self.touched([number for item in touched if (number := index.number_of(item)) >= 0])

    def _lead(self) -> None:
        now_s = time.monotonic()
        if now_s - self._led_at_s >= LEADERS_EVERY_S and self.state is not None:
            self._led_at_s = now_s
            self.leaders = tuple(self.state.recommender.trending(LEADERS, time.time_ns() // 1000))

    def _trouble(self, error: Exception) -> None:
        self.failures += 1
        self.behind = -1
        self._say("recommender", str(error))

    def _say(self, part: str, problem: str) -> None:
        if not problem:
            self.problems.pop(part, None)
        elif self.problems.get(part) != problem:
            self.problems[part] = problem
            _log.warning("recommending: %s", problem)


def _version_of(entry: Sequenced) -> str:
    return msgspec.json.decode(entry.payload, type=Adoption).version
