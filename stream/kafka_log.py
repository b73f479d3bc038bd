"""The log beyond one machine: Apache Kafka. The one file that knows kafka-python."""

from __future__ import annotations

import logging
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from stream.log import Entry, LogUnavailable, Message, Partition, partition_of

with warnings.catch_warnings():
    # kafka-python reads its schemas in a way that Python 3.11 deprecates.
    warnings.simplefilter("ignore", DeprecationWarning)
    from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
    from kafka.errors import (
        CommitFailedError,
        GroupIdNotFoundError,
        IllegalGenerationError,
        KafkaError,
        RebalanceInProgressError,
        TopicAlreadyExistsError,
        UnknownMemberIdError,
    )
    from kafka.net.compat import KafkaNetClient
    from kafka.net.inet import KafkaNetSocket
    from kafka.structs import MemberState, OffsetAndMetadata

# kafka-python reports every lost connection by itself; callers of this file get `LogUnavailable` instead.
logging.getLogger("kafka").addHandler(logging.NullHandler())
logging.getLogger("kafka").setLevel(logging.CRITICAL)

LOST_MEMBERSHIP = (CommitFailedError, RebalanceInProgressError, IllegalGenerationError, UnknownMemberIdError)
READ_POLL_MS = 500
MEND_SLACK_MS = 1000


class _ClosingSocket(KafkaNetSocket):  # type: ignore[misc]
    """kafka-python leaves the socket of a failed connection open; this one, chosen by its scheme, closes it."""

    SCHEMES = ("closing",)

    async def sock_connect(self, net: Any, sock: Any, sockaddr: Any, timeout_at: float | None = None) -> Any:
        try:
            return await super().sock_connect(net, sock, sockaddr, timeout_at=timeout_at)
        except BaseException:
            sock.close()
            raise


class KafkaLog:
    """A `Log` on the cluster found at `bootstrap` ("host:port", several with commas).

    A missing topic is made with `partitions` partitions and the cluster's own replication; an existing one keeps
    its own number. `session_timeout_ms` is how long a crashed member keeps its partitions (the cluster's
    least is 6000 unless set lower there), `max_poll_interval_ms` how long one that hangs does. `timeout_ms` bounds
    every other wait. `security` holds kafka-python's own settings, such as `security_protocol`, `ssl_cafile`,
    `sasl_mechanism`, `sasl_plain_username`. One thread at a time, except for `append`.
    """

    def __init__(
        self,
        bootstrap: str,
        partitions: int = 8,
        *,
        session_timeout_ms: int = 6000,
        max_poll_interval_ms: int = 15_000,
        timeout_ms: int = 10_000,
        security: Mapping[str, str] | None = None,
    ) -> None:
        self.bootstrap = bootstrap
        self.session_timeout_ms = session_timeout_ms
        self.max_poll_interval_ms = max_poll_interval_ms
        self.timeout_ms = timeout_ms
        self._new_topic_partitions = partitions
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
        self._reader: Any = None
        with _kafka_errors(bootstrap):
            self._admin: Any = _open(KafkaAdminClient, **self._settings)
        try:
            with _kafka_errors(bootstrap):
                self.name = f"kafka:{self._admin.describe_cluster()['cluster_id']}"
        except LogUnavailable:
            self.close()
            raise

    def append(self, messages: Sequence[Message]) -> None:
        """Write all messages; returns when every replica in sync has them."""
        numbers = {topic: self.partitions(topic) for topic in {message.topic for message in messages}}
        with self._turn, _kafka_errors(self.bootstrap):
            try:
                producer = self._producer = self._producer or self._new_producer()
                waiting = [
                    producer.send(m.topic, m.value, m.key.encode(), partition=partition_of(m.key, numbers[m.topic]))
                    for m in messages
                ]
                for sent in waiting:
                    sent.get(timeout=self.timeout_ms / 1000)
            except KafkaError:
                # What may still be in its buffer must not be sent after the caller's repeat.
                self._drop_producer()
                raise

    def partitions(self, topic: str) -> int:
        """How many partitions the cluster has for it; makes the topic where it is missing."""
        with self._turn, _kafka_errors(self.bootstrap):
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
        with self._turn, _kafka_errors(self.bootstrap):
            reader = self._reading()
            reader.assign([place])
            oldest = reader.beginning_offsets([place])[place]
            reader.seek(place, max(start, oldest))
            while len(found) < limit and reader.position(place) < end:
                polled = reader.poll(timeout_ms=READ_POLL_MS, max_records=limit - len(found))
                found += [_entry(record) for record in polled.get(place, ())]
        return found

    def end(self, partition: Partition) -> int:
        """The offset after the newest entry."""
        self.partitions(partition.topic)
        place = TopicPartition(*partition)
        with self._turn, _kafka_errors(self.bootstrap):
            return int(self._reading().end_offsets([place])[place])

    def committed(self, group: str, partition: Partition) -> int:
        """Where the group goes on in this partition; 0 if it never committed."""
        self.partitions(partition.topic)
        place = TopicPartition(*partition)
        with self._turn, _kafka_errors(self.bootstrap):
            try:
                offsets = self._admin.list_group_offsets({group: [place]})[group]
            except GroupIdNotFoundError:
                return 0
            return max(0, int(offsets[place].offset)) if place in offsets else 0

    def consumer(self, group: str, topics: Iterable[str]) -> KafkaMember:
        """Join a group over these topics, making those that are missing. It has no partitions before a poll."""
        topics = tuple(topics)
        for topic in topics:
            self.partitions(topic)
        with _kafka_errors(self.bootstrap):
            consumer = _open(
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
        return KafkaMember(consumer, self.bootstrap, topics, self.max_poll_interval_ms, self.timeout_ms)

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
        return _open(
            KafkaProducer,
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
            self._reader = _open(
                KafkaConsumer, enable_auto_commit=False, auto_offset_reset="earliest", **self._settings
            )
        return self._reader


class KafkaMember:
    """A `Consumer` of a Kafka group; one thread uses it. Made by `KafkaLog.consumer`."""

    def __init__(
        self, consumer: Any, bootstrap: str, topics: tuple[str, ...], rebalance_ms: int, timeout_ms: int
    ) -> None:
        self._consumer = consumer
        self._bootstrap = bootstrap
        self._topics = topics
        self._rebalance_ms = rebalance_ms
        self._timeout_ms = timeout_ms
        self._stable_at = time.monotonic()
        # Where this member's hold on each partition began; a commit below it is from an earlier hold.
        self._floors: dict[Partition, int] = {}

    def poll(self, limit: int, timeout_ms: int) -> dict[Partition, list[Entry]]:
        """New entries. The library has fetched them ahead, so a poll may give less than there is."""
        with _kafka_errors(self._bootstrap):
            polled = self._consumer.poll(timeout_ms=timeout_ms, max_records=limit)
            self._mend()
        found = {Partition(*place): [_entry(record) for record in records] for place, records in polled.items()}
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
        with _kafka_errors(self._bootstrap), suppress(*LOST_MEMBERSHIP):
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


def answers(bootstrap: str) -> bool:
    """Whether a broker at `bootstrap` knows its cluster by now; takes a second at most, and raises nothing."""
    host, _, port = bootstrap.rpartition(":")
    try:
        # Cheaper than a client, which would start a thread for each attempt.
        socket.create_connection((host, int(port)), timeout=1).close()
        admin = _open(
            KafkaAdminClient, bootstrap_servers=[bootstrap], bootstrap_timeout_ms=1000, proxy_url="closing://"
        )
    except (KafkaError, OSError):
        return False
    try:
        return bool(admin.describe_cluster()["brokers"])
    except (KafkaError, OSError):
        return False
    finally:
        admin.close()


def _open(kind: Callable[..., Any], *arguments: str, **settings: Any) -> Any:
    """A client of kafka-python, whose sockets and thread do not stay behind if it cannot be made."""
    links: list[Any] = []

    def link(**configs: Any) -> Any:
        links.append(KafkaNetClient(**configs))
        return links[-1]

    try:
        return kind(*arguments, kafka_client=link, **settings)
    except BaseException:
        for made in links:
            made.close()
        raise


def _entry(record: Any) -> Entry:
    return Entry(record.offset, (record.key or b"").decode(errors="replace"), record.value or b"")


@contextmanager
def _kafka_errors(bootstrap: str) -> Iterator[None]:
    try:
        yield
    except (KafkaError, OSError) as error:
        raise LogUnavailable(f"Kafka at {bootstrap} did not answer: {error}") from error
