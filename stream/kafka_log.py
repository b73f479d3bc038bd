"""The log beyond one machine: Apache Kafka. This file, `kafka_member` and `kafka_client` know kafka-python."""

from __future__ import annotations

import math
import threading
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from stream.kafka_client import addresses_of, contact, kafka_errors, open_client
from stream.kafka_member import KafkaMember, entry_of
from stream.kafka_security import remedy_of
from stream.log import Admit, Entry, LogUnavailable, Message, Partition, as_it_is, partition_of

with warnings.catch_warnings():
    # kafka-python reads its schemas in a way that Python 3.11 deprecates.
    warnings.simplefilter("ignore", DeprecationWarning)
    from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
    from kafka.errors import (
        CoordinatorLoadInProgressError,
        CoordinatorNotAvailableError,
        GroupIdNotFoundError,
        KafkaError,
        TopicAlreadyExistsError,
    )

READ_POLL_MS = 500
CONNECT_TIMEOUT_MS = 3000
COORDINATOR_PAUSE_S = 0.2


class _Deadline:
    """Until when a producer may write: it passes while the process is stopped, and comes back for no one."""

    at = math.inf

    def is_ahead(self) -> bool:
        return time.monotonic() <= self.at


class KafkaLog:
    """A `Log` on the cluster found at `bootstrap` ("host:port", several with commas).

    Making one asks the cluster for its name: raises `LogUnavailable` after seconds at most where it does not answer,
    `ValueError` where `bootstrap` is no address.

    A missing topic is made with `partitions` partitions and the cluster's own replication; an existing one keeps
    its own number. `session_timeout_ms` is how long a crashed member keeps its partitions (the cluster's
    least is 6000 unless set lower there), `max_poll_interval_ms` how long one that hangs does. `timeout_ms` bounds
    every other wait. `security` holds kafka-python's own settings, such as `security_protocol`, `ssl_context`,
    `sasl_mechanism`, `sasl_plain_username` (`KafkaSecurity.options`). `admit` sees every entry before its readers do.
    One thread at a time, except for `append`.
    """

    def __init__(
        self,
        bootstrap: str,
        partitions: int = 8,
        *,
        session_timeout_ms: int = 6000,
        max_poll_interval_ms: int = 15_000,
        timeout_ms: int = 10_000,
        security: Mapping[str, Any] | None = None,
        admit: Admit = as_it_is,
    ) -> None:
        addresses_of(bootstrap)
        self.bootstrap = bootstrap
        self.session_timeout_ms = session_timeout_ms
        self.max_poll_interval_ms = max_poll_interval_ms
        self.timeout_ms = timeout_ms
        self._new_topic_partitions = partitions
        self._admit = admit
        self._settings: dict[str, Any] = {
            "bootstrap_servers": bootstrap.split(","),
            "bootstrap_timeout_ms": timeout_ms,
            "request_timeout_ms": timeout_ms,
            "reconnect_backoff_max_ms": 1000,
            "metadata_max_age_ms": 30_000,
            "proxy_url": "closing://",
            **(security or {}),
        }
        self._turn = threading.RLock()
        self._counts: dict[str, int] = {}
        self._producer: Any = None
        self._deadline = _Deadline()
        self._reader: Any = None
        with kafka_errors(bootstrap):
            contact(bootstrap, (security or {}).get("ssl_context"))
        with kafka_errors(bootstrap, remedy_of(security or {})):
            first = {"bootstrap_timeout_ms": min(timeout_ms, CONNECT_TIMEOUT_MS)}
            self._admin: Any = open_client(KafkaAdminClient, **{**self._settings, **first})
        try:
            with kafka_errors(bootstrap):
                self.name = f"kafka:{self._admin.describe_cluster()['cluster_id']}"
        except LogUnavailable:
            self.close()
            raise

    def append(self, messages: Sequence[Message]) -> None:
        """Write all messages; returns when every replica in sync has them.

        Nothing is sent later than `timeout_ms` after the call, not even what waits in a buffer: a process that was
        stopped for longer in the middle of one raises `LogUnavailable`, when others may have gone on with its work.
        """
        latest = time.monotonic() + self.timeout_ms / 1000
        numbers = {topic: self.partitions(topic) for topic in {message.topic for message in messages}}
        with self._turn, kafka_errors(self.bootstrap):
            try:
                producer = self._producer = self._producer or self._new_producer()
                self._deadline.at = latest
                waiting = []
                for m in messages:
                    if not self._deadline.is_ahead():
                        raise TimeoutError(f"not all was sent within {self.timeout_ms} ms")
                    place = partition_of(m.key, numbers[m.topic])
                    waiting.append(producer.send(m.topic, m.value, m.key.encode(), partition=place))
                for sent in waiting:
                    sent.get(timeout=self.timeout_ms / 1000)
                self._deadline.at = math.inf
            except (KafkaError, TimeoutError):
                # What may still be in its buffer must not be sent after the caller's repeat.
                self._drop_producer()
                raise

    def partitions(self, topic: str) -> int:
        """How many partitions the cluster has for it; makes the topic where it is missing."""
        with self._turn, kafka_errors(self.bootstrap):
            if topic not in self._counts:
                if topic not in self._admin.list_topics():
                    wanted = {"num_partitions": self._new_topic_partitions, "replication_factor": -1}
                    with suppress(TopicAlreadyExistsError):
                        self._admin.create_topics({topic: wanted}, timeout_ms=self.timeout_ms)
                self._admin.wait_for_topics([topic], timeout_ms=self.timeout_ms)
                self._counts[topic] = len(self._admin.describe_topics([topic])[0]["partitions"])
            return self._counts[topic]

    def read(self, partition: Partition, start: int, limit: int) -> list[Entry]:
        """Up to `limit` entries from offset `start` on; from the oldest kept if that is newer."""
        end = self.end(partition)
        place = TopicPartition(*partition)
        found: list[Entry] = []
        with self._turn, kafka_errors(self.bootstrap):
            reader = self._reading()
            reader.assign([place])
            oldest = reader.beginning_offsets([place])[place]
            reader.seek(place, max(start, oldest))
            while len(found) < limit and reader.position(place) < end:
                polled = reader.poll(timeout_ms=READ_POLL_MS, max_records=limit - len(found))
                found += [self._admit(place.topic, entry_of(record)) for record in polled.get(place, ())]
        return found

    def end(self, partition: Partition) -> int:
        """The offset after the newest entry."""
        self.partitions(partition.topic)
        place = TopicPartition(*partition)
        with self._turn, kafka_errors(self.bootstrap):
            return int(self._reading().end_offsets([place])[place])

    def committed(self, group: str, partition: Partition) -> int:
        """Where the group goes on in this partition; 0 if it never committed."""
        self.partitions(partition.topic)
        place = TopicPartition(*partition)
        until = time.monotonic() + self.timeout_ms / 1000
        with self._turn, kafka_errors(self.bootstrap):
            while True:
                try:
                    offsets = self._admin.list_group_offsets({group: [place]})[group]
                    return max(0, int(offsets[place].offset)) if place in offsets else 0
                except GroupIdNotFoundError:
                    return 0
                except (CoordinatorNotAvailableError, CoordinatorLoadInProgressError):
                    # A broker that meets its first group makes the topic of offsets then.
                    if time.monotonic() > until:
                        raise
                    time.sleep(COORDINATOR_PAUSE_S)

    def consumer(self, group: str, topics: Iterable[str]) -> KafkaMember:
        """Join a group over these topics, making those that are missing. It has no partitions before a poll."""
        topics = tuple(topics)
        for topic in topics:
            self.partitions(topic)
        with kafka_errors(self.bootstrap):
            consumer = open_client(
                KafkaConsumer,
                *topics,
                group_id=group,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                session_timeout_ms=self.session_timeout_ms,
                heartbeat_interval_ms=max(100, self.session_timeout_ms // 4),
                max_poll_interval_ms=self.max_poll_interval_ms,
                **self._settings,
            )
            # A join with metadata still missing is followed by another at once.
            for topic in topics:
                consumer.partitions_for_topic(topic)
        return KafkaMember(consumer, self.bootstrap, topics, self.max_poll_interval_ms, self.timeout_ms, self._admit)

    def close(self) -> None:
        """Release connections; does not wait for a server that is gone."""
        with self._turn:
            self._drop_producer()
            for client in (self._reader, self._admin):
                if client is not None:
                    with suppress(KafkaError, OSError):
                        client.close()
            self._reader = None

    def _new_producer(self) -> Any:
        deadline = self._deadline = _Deadline()
        return open_client(
            KafkaProducer,
            may_write=deadline.is_ahead,
            acks="all",
            enable_idempotence=True,
            linger_ms=0,
            max_block_ms=self.timeout_ms,
            delivery_timeout_ms=self.timeout_ms,
            **{**self._settings, "request_timeout_ms": self.timeout_ms // 2},
        )

    def _drop_producer(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(KafkaError, OSError):
                producer.close(timeout=0)

    def _reading(self) -> Any:
        if self._reader is None:
            self._reader = open_client(
                KafkaConsumer, enable_auto_commit=False, auto_offset_reset="earliest", **self._settings
            )
        return self._reader
