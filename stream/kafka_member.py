"""A member of a consumer group on Kafka."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from stream.kafka_client import kafka_errors
from stream.log import Admit, Entry, Partition, as_it_is

with warnings.catch_warnings():
    # kafka-python reads its schemas in a way that Python 3.11 deprecates.
    warnings.simplefilter("ignore", DeprecationWarning)
    from kafka import TopicPartition
    from kafka.errors import (
        CommitFailedError,
        IllegalGenerationError,
        KafkaError,
        RebalanceInProgressError,
        UnknownMemberIdError,
    )
    from kafka.structs import MemberState, OffsetAndMetadata

LOST_MEMBERSHIP = (CommitFailedError, RebalanceInProgressError, IllegalGenerationError, UnknownMemberIdError)
MEND_SLACK_MS = 1000


class KafkaMember:
    """A `Consumer` of a Kafka group; one thread uses it. Made by `KafkaLog.consumer`."""

    def __init__(
        self,
        consumer: Any,
        bootstrap: str,
        topics: tuple[str, ...],
        rebalance_ms: int,
        timeout_ms: int,
        admit: Admit = as_it_is,
    ) -> None:
        self._consumer = consumer
        self._bootstrap = bootstrap
        self._topics = topics
        self._rebalance_ms = rebalance_ms
        self._admit = admit
        self._timeout_ms = timeout_ms
        self._stable_at = time.monotonic()
        # Where this member's hold on each partition began; a commit below it is from an earlier hold.
        self._floors: dict[Partition, int] = {}

    def poll(self, limit: int, timeout_ms: int) -> dict[Partition, list[Entry]]:
        """New entries. The library has fetched them ahead, so a poll may give less than there is."""
        with kafka_errors(self._bootstrap):
            polled = self._consumer.poll(timeout_ms=timeout_ms, max_records=limit)
            self._mend()
        found = {
            Partition(*place): [self._admit(place.topic, entry_of(record)) for record in records]
            for place, records in polled.items()
        }
        held = self.assignment()
        self._floors = {part: floor for part, floor in self._floors.items() if part in held}
        for part, entries in found.items():
            self._floors.setdefault(part, entries[0].offset)
        return found

    def commit(self, next_offsets: Mapping[Partition, int]) -> None:
        """Commit what this member still holds; a partition lost since its poll is left to its new holder."""
        current = {
            TopicPartition(*part): OffsetAndMetadata(offset, "", -1)
            for part, offset in next_offsets.items()
            if offset >= self._floors.get(part, offset + 1)
        }
        if not current:
            return
        with kafka_errors(self._bootstrap), suppress(*LOST_MEMBERSHIP):
            self._consumer.commit(current, timeout_ms=self._timeout_ms)

    def _mend(self) -> None:
        # In kafka-python 3.0.12 a join that completes between two polls can be forgotten: the member then holds
        # nothing for ever and sends no heartbeat. No rebalance takes longer than this, so join again.
        now = time.monotonic()
        if self._consumer.group_metadata().state == MemberState.STABLE:
            self._stable_at = now
        elif (now - self._stable_at) * 1000 > self._rebalance_ms + MEND_SLACK_MS:
            self._consumer.unsubscribe()
            self._consumer.subscribe(self._topics)
            self._stable_at = now

    def assignment(self) -> frozenset[Partition]:
        """What it holds as of the last poll."""
        return frozenset(Partition(*place) for place in self._consumer.assignment())

    def close(self) -> None:
        """Leave the group at once; does not wait for a server that is gone."""
        with suppress(KafkaError, OSError):
            self._consumer.close(autocommit=False, timeout_ms=1000)


def entry_of(record: Any) -> Entry:
    """A record of kafka-python as the log's own."""
    return Entry(record.offset, (record.key or b"").decode(errors="replace"), record.value or b"")
