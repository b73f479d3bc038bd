"""Decisions to keep in an audit chain, and a keeper as a process of its own that can be killed."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event

from stream.chain import Chain
from stream.chain_entry import Draft
from stream.decision_keeper import keep_forever, subject_of
from stream.log import Message, message_of
from stream.records import Decision, Transaction, encode
from stream.redis_log import RedisLog

T0 = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
SEGMENT_BYTES = 4000


def decided(number: int, **fields: object) -> Decision:
    """A decision that nothing is special about."""
    at = T0 + timedelta(seconds=number)
    record = Transaction(
        event_id=f"e{number}", event_timestamp=at, card_id=f"card-{number % 7}", merchant_id="m", amount=1.0 + number
    )
    usual: dict[str, object] = {
        "event_id": record.event_id,
        "event_timestamp": at,
        "scored_at": at,
        "use_case": "fraud",
        "outcome": "approve",
        "score": 0.1,
        "scores": {},
        "vector": [None, 1.5],
        "definition_hash": "d",
        "policy_version": "p",
        "record": record,
    }
    return Decision(**{**usual, **fields})  # type: ignore[arg-type]


def message(decision: Decision) -> Message:
    """It as it goes to the log."""
    return message_of(decision)


def draft(number: int) -> Draft:
    """It as it goes to the chain."""
    decision = decided(number)
    return Draft("decision", subject_of(decision), f"log/decisions/0/{number}", encode(decision))


def filled(directory: Path, count: int = 40, key: str = "") -> Chain:
    """A chain of several segments."""
    chain = Chain(directory, key, SEGMENT_BYTES)
    for first in range(0, count, 5):
        chain.append([draft(number) for number in range(first, min(first + 5, count))])
    return chain


def main(url: str, directory: str, limit: str = "0") -> None:
    """Keep until killed, in small batches so that it is killed within them; of no more decisions than this, if any."""
    chain = Chain(Path(directory), segment_bytes=SEGMENT_BYTES)
    log = RedisLog(url, partitions=2, lease_ms=300)
    seen = 0

    def artefacts(decisions: Sequence[Decision]) -> list[Draft]:
        nonlocal seen
        if int(limit) and seen > int(limit):
            signal.pause()
        seen += len(decisions)
        return []

    keep_forever(chain, log, artefacts, Event(), poll_limit=3, poll_timeout_ms=50)


if __name__ == "__main__":
    main(*sys.argv[1:])
