"""The keeper of the audit chain: every decision of the log becomes one entry, until it is stopped."""

from __future__ import annotations

import logging
import sqlite3
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from threading import Event
from urllib.parse import quote

from stream.chain import Chain, ChainBroken
from stream.chain_entry import Draft, event_mark
from stream.connection import RedisError, RedisUnavailable
from stream.invalid_record import InvalidRecord
from stream.log import Entry, Log, LogUnavailable, Partition
from stream.patience import Patience
from stream.records import Decision, decode, micros

GROUP = "audit"
TOPICS = (Decision.topic,)

Artefacts = Callable[[Sequence[Decision]], list[Draft]]
"""Gives what is needed to recompute decisions and may not be in the chain yet, to stand before them."""

_RETRYABLE = (LogUnavailable, RedisUnavailable, RedisError, OSError, sqlite3.OperationalError, ChainBroken)
_log = logging.getLogger(__name__)


def subject_of(decision: Decision) -> str:
    """What names a decision in the chain: its event and when it was scored.

    An event id may be answered a second time, once the first answer is no longer kept: that is another decision.
    """
    return f"{event_mark(decision.event_id)}@{micros(decision.scored_at)}"


def keep(
    chain: Chain, log_name: str, polled: Mapping[Partition, Sequence[Entry]], artefacts: Artefacts
) -> dict[Partition, int]:
    """Append what was polled and is not in the chain yet; the offsets to commit, now that it is on the disk.

    Duplicates and repeats are known by their subject, whatever their offset. What is no decision is kept as it is.
    """
    drafts: list[Draft] = []
    decisions: list[Decision] = []
    for partition in sorted(polled):
        for entry in polled[partition]:
            source = f"{quote(log_name, safe='')}/{partition.topic}/{partition.number}/{entry.offset}"
            try:
                decision: Decision = decode(entry.value, Decision)
            except InvalidRecord:
                drafts.append(Draft("unreadable", f"unreadable:{source}", source, b64encode(entry.value) or b"-"))
                continue
            decisions.append(decision)
            payload = entry.value if b"\n" not in entry.value else entry.value.replace(b"\n", b" ")
            drafts.append(Draft("decision", subject_of(decision), source, payload))
    chain.append([*artefacts(decisions), *drafts])
    return {partition: entries[-1].offset + 1 for partition, entries in polled.items() if entries}


def keep_forever(
    chain: Chain,
    log: Log,
    artefacts: Artefacts,
    stop: Event,
    *,
    poll_limit: int = 1000,
    poll_timeout_ms: int = 500,
    pause_limit_s: float = 5.0,
) -> None:
    """Keep until `stop` is set, in this order for each poll.

    1. Append to the chain, to the disk.  2. Commit the log's offsets. A crash between them has the same entries come
    again, and the chain knows them. A log, a Redis or a disk that fails for a while is waited for. A chain that is
    broken is waited for too, and said to be with every try: nothing is built on it, the log keeps the decisions, and
    scoring goes on until the log is full.
    """
    patience = Patience(stop, _log, "audit", pause_limit_s)
    while not stop.is_set():
        try:
            with closing(log.consumer(GROUP, TOPICS)) as consumer:
                while not stop.is_set():
                    polled = consumer.poll(poll_limit, poll_timeout_ms)
                    if polled:
                        # 1.
                        offsets = keep(chain, log.name, polled, artefacts)
                        # 2.
                        consumer.commit(offsets)
                    patience.succeeded()
        except _RETRYABLE as error:
            # A new consumer, since this one is past entries that were polled but not kept.
            level = logging.ERROR if isinstance(error, ChainBroken) else logging.WARNING
            patience.wait(error, level)
