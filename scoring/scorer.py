"""The scorer: from records to decisions, in two round trips to Redis.

1. One round trip reads whether the event was answered before, and every entity whole.
2. The features, the models, the rules and the policy, all in this process (`scoring/deciding.py`).
3. One round trip makes the decision durable, or finds that another request answered first and answers the same.

Requests that came together share both round trips.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from features.declared import pending
from features.feature_set import EntityRef
from features.online_store import StoredEntity
from scoring.deciding import Decider, Rules, Stages
from scoring.ledger import ANSWERED, Ledger, is_of
from scoring.live_models import LiveModels
from scoring.policy import Policy
from scoring.spool import Spool
from scoring.use_case import UseCase
from stream.connection import Command, RedisError, RedisUnavailable, Reply
from stream.log import LogFull
from stream.records import Decision, Event, Label, Transaction, decode, encode

DEFAULT_DEADLINE_MS = 50.0
LEAST_WAIT_MS = 1.0
RECENT_LIMIT = 4096
"""Answers that a process knows by heart (some 8 MB): a retry gets its answer also while Redis cannot be asked."""


class EventConflict(ValueError):
    """The event id was answered before, for another record. A retry of the same bytes cannot help."""


class Scored(NamedTuple):
    """An answer, and its bytes where they are at hand. `is_new` where it was decided now, not found as given before."""

    decision: Decision
    content: bytes | None = None
    is_new: bool = True


@dataclass(slots=True)
class Asked:
    """One record on its way: when its answer is due, what was decided and is to be recorded, and the answer."""

    record: Any
    deadline_s: float
    refs: list[EntityRef] = field(default_factory=list)
    replies: list[Reply] | None = None
    decision: Decision | None = None
    pending: dict[EntityRef, bytes] = field(default_factory=dict)
    content: bytes = b""
    answer: Scored | Exception | None = None


class Scorer(Decider):
    """The one way in for HTTP, replay and tests: decides, and records what was decided. It serves one thread."""

    def __init__(
        self,
        use_case: UseCase,
        ledger: Ledger,
        models: Callable[[], LiveModels],
        policy: Policy,
        rules: Rules,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        super().__init__(use_case, models, policy, rules, clock)
        self.ledger = ledger
        self.store = ledger.store
        self.spool = Spool()
        self._recent: dict[str, bytes] = {}

    def score(self, record: Any, deadline_ms: float = DEFAULT_DEADLINE_MS) -> Decision:
        """The decision on a record, the same one for every retry of the same event.

        Within the deadline it answers with what there is; `degraded` says what was missing. An answer given while
        Redis is away or late is `not recorded yet`: it is kept in the spool and recorded when Redis is back; a sender
        who must be sure sends the event again later, and gets the same decision without that remark once it is
        recorded. The remark `spool` says that it should be on disk and is in memory only, lost with this process.
        Where an entity has too many pending records to take this one too, the answer carries the remark `pending
        full`: it is recorded, but later answers see it only when a worker has folded it.

        Raises
        ------
        EventConflict
            When the event id was answered before for another record.
        LogFull
            When the outbox is full: nothing was recorded, send it again later.
        """
        answer = self.score_all([(record, deadline_ms)])[0]
        if isinstance(answer, Exception):
            raise answer
        return answer.decision

    def score_all(self, requests: Sequence[tuple[Any, float]]) -> list[Scored | Exception]:
        """As `score`, for records that came together, each with its deadline in milliseconds.

        They share the round trips to Redis, and see what was answered before this call, not each other: give records
        whose order counts one after another. What `score` would raise stands in its place.
        """
        started_s = time.perf_counter()
        together = [Asked(record, started_s + deadline_ms / 1000) for record, deadline_ms in requests]
        for asked in together if self.spool.waiting else ():
            self._again(asked)
        # 1. Read.
        self._read([asked for asked in together if asked.answer is None])
        stages = Stages(started_s)
        stages.mark("read")
        # 2. Decide.
        for asked in together:
            if asked.answer is None:
                try:
                    self._decide(asked, stages.on())
                except Exception as error:  # whatever is wrong with one record, the others are answered
                    asked.answer = error
        # 3. Record.
        self._record([asked for asked in together if asked.answer is None])
        return [asked.answer for asked in together if asked.answer is not None]

    def accept(self, record: Event | Label, timeout_ms: float | None = None) -> bool:
        """Record what needs no score: durable and seen by readers when this returns. False for a repeat.

        Raises `EventConflict` when the id came before with another record, `LogFull` when the outbox is full and
        `RedisUnavailable` when nothing could be recorded.
        """
        if isinstance(record, Label):
            record = self.enrich(record, timeout_ms)
        earlier = self.ledger.commit(record, pending(record), timeout_ms=timeout_ms)
        if isinstance(earlier, bytes) and not is_of(record, earlier):
            raise EventConflict(_answered_otherwise(record.event_id))
        return isinstance(earlier, int)

    def enrich(self, label: Label, timeout_ms: float | None = None) -> Label:
        """The label with the ids, the amount and the time of its event, where the decision is still known."""
        if None not in (label.event_timestamp, label.card_id, label.merchant_id, label.device_id, label.amount):
            return label
        content = self.ledger.answer(label.event_id, timeout_ms)
        if content is None:
            return label
        record: Transaction = decode(content, Decision).record
        return Label(
            event_id=label.event_id,
            label=label.label,
            labelled_at=label.labelled_at,
            source=label.source,
            event_timestamp=label.event_timestamp or record.event_timestamp,
            card_id=label.card_id or record.card_id,
            merchant_id=label.merchant_id or record.merchant_id,
            device_id=label.device_id or record.device_id,
            amount=record.amount if label.amount is None else label.amount,
        )

    def decision(self, event_id: str, timeout_ms: float | None = None) -> Decision | None:
        """The stored decision of an event, or None."""
        content = self.ledger.answer(event_id, timeout_ms)
        return None if content is None else decode(content, Decision)

    def _read(self, together: Sequence[Asked]) -> None:
        commands: list[Command] = []
        for asked in together:
            asked.refs = self.use_case.features.refs(asked.record)
            commands.append(self.ledger.read_command(asked.record.event_id))
            commands += self.store.read_commands(asked.refs)
        replies = self._call(together, commands, share=0.5)
        at = 0
        for asked in together:
            end = at + 1 + len(asked.refs)
            asked.replies, at = None if replies is None else replies[at:end], end

    def _decide(self, asked: Asked, stages: Stages) -> None:
        stored: list[StoredEntity] | None = None
        if asked.replies is None and (known := self._recent.get(asked.record.event_id)) is not None:
            asked.answer = _earlier(asked.record, known)
            return
        if asked.replies is not None and not isinstance(asked.replies[0], RedisError):
            if asked.replies[0] is not None:
                asked.answer = _earlier(asked.record, asked.replies[0])
                return
            with suppress(RedisError):
                stored = list(map(self.store.parse, asked.refs, asked.replies[1:]))
        asked.decision, asked.pending = self.decide(asked.record, asked.refs, stored, stages, asked.deadline_s)
        asked.content = encode(asked.decision)

    def _record(self, decided: Sequence[Asked]) -> None:
        known = [asked for asked in decided if asked.decision and "online store" not in asked.decision.degraded]
        commands = [self.ledger.command(asked.record, asked.pending, asked.content) for asked in known]
        replies = self._call(known, commands)
        if replies is not None:
            if self.spool.waiting and not self.spool.attended:
                self.spool.record(self.ledger, _left_ms(known))
            for asked, reply in zip(known, replies, strict=True):
                self._recorded(asked, reply)
        for asked in decided:
            if asked.answer is None:
                asked.answer = self._put_off(asked)

    def _recorded(self, asked: Asked, reply: Reply) -> None:
        assert asked.decision is not None
        try:
            earlier = self.ledger.committed(asked.record, reply)
            if isinstance(earlier, bytes):
                asked.answer = _earlier(asked.record, earlier)
            else:
                self._remember(asked.record.event_id, asked.content)
                asked.answer = (
                    _remarked(asked.decision, "pending full") if earlier else Scored(asked.decision, asked.content)
                )
        except (EventConflict, LogFull) as error:
            asked.answer = error
        except RedisError:
            pass  # it is put off

    def _remember(self, event_id: str, content: bytes) -> None:
        if len(self._recent) >= RECENT_LIMIT:
            del self._recent[next(iter(self._recent))]
        self._recent[event_id] = content

    def _put_off(self, asked: Asked) -> Scored:
        assert asked.decision is not None
        kept = self.spool.keep(asked.decision, asked.pending)
        return _remarked(asked.decision, "not recorded yet", *(() if kept else ("spool",)))

    def _again(self, asked: Asked) -> None:
        # A retry of what still waits: the same decision, and a chance to record it.
        waiting = self.spool.waiting.get(asked.record.event_id)
        if waiting is None:
            return
        if waiting.decision.record != asked.record:
            asked.answer = EventConflict(_answered_otherwise(asked.record.event_id))
            return
        asked.decision, asked.content = waiting.decision, encode(waiting.decision)
        replies = self._call([asked], [self.ledger.command(asked.record, waiting.pending, asked.content)], share=0.5)
        if replies is not None:
            self._recorded(asked, replies[0])
        if asked.answer is None or isinstance(asked.answer, LogFull):
            asked.answer = _remarked(waiting.decision, "not recorded yet")
        else:
            self.spool.drop(asked.record.event_id)
        if isinstance(asked.answer, Scored):
            asked.answer = asked.answer._replace(is_new=False)

    def _call(self, together: Sequence[Asked], commands: Sequence[Command], share: float = 1.0) -> list[Reply] | None:
        # For all of them in one round trip, within this share of the time that the first of them has; None without one.
        if not commands:
            return None
        try:
            return self.ledger.connection.call(commands, max(LEAST_WAIT_MS, share * _left_ms(together)))
        except (RedisUnavailable, RedisError):
            return None

    def close(self, timeout_ms: float = 1000) -> None:
        """Record what still waits, as far as the time allows, and close the connection."""
        end = time.monotonic() + timeout_ms / 1000
        while (left_ms := (end - time.monotonic()) * 1000) > 0 and self.spool.record(self.ledger, left_ms):
            pass
        self.spool.close()
        self.ledger.connection.close()


def _earlier(record: Any, content: bytes) -> Scored:
    if content.startswith(ANSWERED):
        raise EventConflict(f"event id {record.event_id!r} was sent before, not to be scored; use another id")
    earlier: Decision = decode(content, Decision)
    if earlier.record != record:
        raise EventConflict(_answered_otherwise(record.event_id))
    return Scored(earlier, content, is_new=False)


def _answered_otherwise(event_id: str) -> str:
    return f"event id {event_id!r} was answered before for another record; use an id for one event only"


def _remarked(decision: Decision, *remarks: str) -> Scored:
    # Of this answer, not of the decision: what is stored does not have it.
    return Scored(msgspec.structs.replace(decision, degraded=[*decision.degraded, *remarks]))


def _left_ms(together: Sequence[Asked]) -> float:
    return max(LEAST_WAIT_MS, (min(asked.deadline_s for asked in together) - time.perf_counter()) * 1000)
