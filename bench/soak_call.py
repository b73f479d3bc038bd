"""What the soak's clients send, and what they note of each answer: the two sides of its books."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Literal

import msgspec

from stream.label_feed import LabelFeed
from stream.played import Played
from stream.records import Label, Transaction, encode
from stream.simulator import Simulator

Kind = Literal["score", "again", "batch", "event", "label"]
PAST = timedelta(days=150)
"""The first event lies so far back that the last one does not lie in the future."""
LABEL_AFTER = timedelta(hours=2)
LABEL_SHARE = 0.2
EVENT_SHARE = 0.05
BATCH_SHARE = 0.005
BATCH_RECORDS = 10
AGAIN_SHARE = 0.03
REMEMBERED = 5000
"""Of so many earlier events some are sent once more."""


class Call(msgspec.Struct, frozen=True, gc=False):
    """One request: `ids` are the identities of its records."""

    kind: Kind
    path: str
    ids: list[str]
    body: msgspec.Raw


class Answered(msgspec.Struct, frozen=True, gc=False):
    """What a client was told of one record last; without an outcome where it was only accepted."""

    status: int
    outcome: str = ""
    score: float = 0.0
    degraded: list[str] = []


class Said(msgspec.Struct, frozen=True, gc=False):
    """How one call ended: times in seconds of the load and milliseconds since it was due, tries with what they failed.

    `status` is 0 where the client gave up. `refusals` counts the tries before the last by status, `lost` or `timeout`.
    """

    kind: Kind
    ids: list[str]
    due_s: float
    took_ms: float
    status: int
    answers: list[Answered]
    refusals: dict[str, int] = {}


def calls(seed: int, customers: int, merchants: int) -> Iterator[Call]:
    """An endless stream of calls, the same for the same arguments and day: scores, some of them again, batches, events
    that nobody scores, and the labels of a share as they become known."""
    random = Random(seed)
    start = (datetime.now(UTC) - PAST).replace(hour=0, minute=0, second=0, microsecond=0)
    world = Simulator(seed, start=start, customers=customers, merchants=merchants, chargeback_window=LABEL_AFTER)
    feed = LabelFeed()
    sent: deque[Call] = deque(maxlen=REMEMBERED)
    batch: list[Transaction] = []
    for one in world.play():
        yield from map(_label, feed.due(one.transaction.event_timestamp))
        if batch or random.random() < BATCH_SHARE:
            batch.append(one.transaction)
            if len(batch) == BATCH_RECORDS:
                yield _batch(batch)
                batch = []
            continue
        if random.random() < EVENT_SHARE:
            yield Call("event", "/events", [one.transaction.event_id], msgspec.Raw(encode(one.transaction)))
            continue
        call = _score(one)
        sent.append(call)
        yield call
        if random.random() < LABEL_SHARE:
            feed.add(one)
        if random.random() < AGAIN_SHARE:
            yield msgspec.structs.replace(random.choice(sent), kind="again")


def _score(one: Played) -> Call:
    return Call("score", "/fraud/score", [one.transaction.event_id], msgspec.Raw(encode(one.transaction)))


def _batch(batch: list[Transaction]) -> Call:
    body = b"[%b]" % b",".join(encode(one) for one in batch)
    return Call("batch", "/fraud/score/batch", [one.event_id for one in batch], msgspec.Raw(body))


def _label(label: Label) -> Call:
    return Call("label", "/labels", [label.identity], msgspec.Raw(encode(label)))


class _Told(msgspec.Struct):
    outcome: str
    score: float
    degraded: list[str] = []


class _Part(msgspec.Struct):
    status: int
    decision: _Told | None = None


_told = msgspec.json.Decoder(_Told)
_parts = msgspec.json.Decoder(list[_Part])


def answers_of(call: Call, status: int, body: bytes) -> list[Answered]:
    """What a response says of each record; nothing where it is a refusal."""
    if status != 200:
        return [Answered(status)] if status == 202 else []
    if call.kind != "batch":
        return [_of(200, _told.decode(body))]
    return [_of(part.status, part.decision) for part in _parts.decode(body)]


def _of(status: int, told: _Told | None) -> Answered:
    return Answered(status) if told is None else Answered(status, told.outcome, told.score, told.degraded)
