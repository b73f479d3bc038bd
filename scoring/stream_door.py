"""The stream door: transactions that arrive on a topic are scored by the same scorer, and their decisions published.

The topic is one that others write (`unscored`); what Headrace itself writes is refused, since the ledger puts each
scored record on `transactions` and its decision on `decisions`, all of it or nothing, once for each event id. So
delivery may be at least once: a record that comes again, to this member or another, finds its decision.

For one batch, in this order:

1. Score each record, until its decision is recorded. A decision that could not be recorded is dropped, not kept in
   memory: nobody has heard it, and when Redis is back the record is scored with all that is known then.
2. Report what cannot be scored as dead letters. Reversed with 3, a crash in between would lose the report; as it is, a
   repeat reports again, under the same id: its place in the log.
3. Commit the offsets. Reversed, a crash between 1 and 3 would lose what was not scored yet.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any

from features.collector import rare_collections
from scoring.scorer import EventConflict, Scorer
from stream.connection import RedisError, RedisUnavailable
from stream.dead_letter import dead_letter
from stream.invalid_record import InvalidRecord
from stream.log import Consumer, Log, LogFull, LogUnavailable, message_of
from stream.patience import Patience
from stream.records import TOPICS, DeadLetter, Decision, check_time, decode

BATCH_LIMIT = 100
"""Some tenths of a second of work: far less than a lease or a Kafka session, without a heartbeat in between."""
RECORD_DEADLINE_MS = 2000.0
MODEL_PAUSE_S = 1.0

_RETRYABLE = (RedisUnavailable, RedisError, LogUnavailable, LogFull)
_log = logging.getLogger(__name__)


class InvalidTopic(ValueError):
    """A topic that cannot be scored from."""


@dataclass
class ScoredCount:
    """What became of a batch: decisions that are recorded (new or as before), and what could not be scored."""

    decided: int = 0
    dead: list[DeadLetter] = field(default_factory=list)


def group_of(topic: str) -> str:
    """The consumer group of all who score this topic.

    Raises `InvalidTopic` for a topic that Headrace writes itself, or that is none.

    >>> group_of("unscored")
    'scorer-unscored'
    """
    if topic in TOPICS:
        raise InvalidTopic(f"topic {topic!r} is written by Headrace itself; send what is to be scored to another one")
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,200}", topic):
        raise InvalidTopic(f"topic {topic!r} is not understood; use up to 200 letters, digits, dots and dashes")
    return f"scorer-{topic}"


@rare_collections()
def score_forever(
    scorer: Scorer,
    log: Log,
    topic: str,
    clock_skew_ms: int,
    stop: Event,
    *,
    batch_limit: int = BATCH_LIMIT,
    poll_timeout_ms: int = 500,
    pause_limit_s: float = 5.0,
    on_batch: Callable[[ScoredCount], None] = lambda count: None,
    on_decision: Callable[[Decision, float], None] = lambda decision, took_s: None,
) -> None:
    """Score what arrives until `stop` is set; then leave the group within about one batch.

    Any number of members share the partitions; records of one card keep their order if they share a key. While Redis,
    the log or room in the outbox is missing, it waits and loses nothing; before a champion is loaded, too, since here
    nobody waits for an answer that would be a guess.
    """
    group = group_of(topic)
    patience = Patience(stop, _log, f"scorer of {topic}", pause_limit_s)
    while not stop.is_set():
        if scorer.models().batch is None:
            _log.warning("no champion model is loaded; run 'headrace train %s'; looking again", scorer.use_case.name)
            stop.wait(MODEL_PAUSE_S)
            continue
        try:
            with closing(log.consumer(group, (topic,))) as consumer:
                while not stop.is_set():
                    count = score_once(scorer, log, consumer, clock_skew_ms, batch_limit, poll_timeout_ms, on_decision)
                    if count.decided or count.dead:
                        patience.succeeded()
                        on_batch(count)
        except _RETRYABLE as error:
            patience.wait(error)


def score_once(
    scorer: Scorer,
    log: Log,
    consumer: Consumer,
    clock_skew_ms: int,
    batch_limit: int,
    poll_timeout_ms: int,
    on_decision: Callable[[Decision, float], None] = lambda decision, took_s: None,
) -> ScoredCount:
    """One poll and all that it causes, in the order of the module's docstring.

    Where it raises, nothing is committed: leave the group and join it again, or the next commit would pass over this
    batch. What of it was decided is found again.
    """
    count = ScoredCount()
    polled = consumer.poll(batch_limit, poll_timeout_ms)
    # 1. Score.
    for partition, entries in polled.items():
        for entry in entries:
            try:
                record: Any = decode(entry.value, scorer.use_case.source)
                check_time(record, datetime.now(UTC), timedelta(milliseconds=clock_skew_ms))
                began_s = time.perf_counter()
                decision = score_recorded(scorer, record)
                on_decision(decision, time.perf_counter() - began_s)
                count.decided += 1
            except (InvalidRecord, EventConflict) as error:
                count.dead.append(dead_letter(partition, entry, str(error)))
    # 2. Report.
    if count.dead:
        log.append([message_of(letter) for letter in count.dead])
    # 3. Commit.
    if polled:
        consumer.commit({partition: entries[-1].offset + 1 for partition, entries in polled.items() if entries})
    return count


def score_recorded(scorer: Scorer, record: Any, deadline_ms: float = RECORD_DEADLINE_MS) -> Decision:
    """The decision on a record, recorded durably before this returns; the same one however often it is asked for.

    Raises `RedisUnavailable` where it could not be recorded: ask again. (A commit that was late, not lost, is found
    then.)  Raises `LogFull` and `EventConflict` as `Scorer.score` does.
    """
    decision = scorer.score(record, deadline_ms)
    if scorer.spool.drop(record.event_id):
        # It is logged: no id of the event.
        raise RedisUnavailable(f"an event was not recorded within {deadline_ms:g} ms")
    return decision


class Progress:
    """Says now and then how far it has come."""

    def __init__(self, say: Callable[[str], None], every_s: float = 10.0) -> None:
        self._say = say
        self._every_s = every_s
        self._due = time.monotonic() + every_s
        self._decided = self._dead = 0

    def __call__(self, count: ScoredCount) -> None:
        """Take in one batch."""
        self._decided += count.decided
        self._dead += len(count.dead)
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + self._every_s
            self._say(f"{self._decided} records decided, {self._dead} dead letters")
