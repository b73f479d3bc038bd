"""What `headrace doctor` asks of the log in Redis: its partitions, how full it is, and who reads it how late."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from features.pipeline import GROUP as WORKER
from headrace.finding import Finding, Level, graded
from models.snapshot import ALIVE_EXPIRY_MS, alive_key
from stream.connection import Command, RedisConnection, RedisError, Reply
from stream.records import TOPICS
from stream.redis_keys import SEQUENCE_BITS, groups_key, members_key, offset_of, offsets_key, stream_id, stream_key
from stream.relay import GROUP as RELAY

LEASE_MS = 10_000
"""How long after its last poll a member counts as running: `RedisLog`'s lease."""
LATE_WARN_S, LATE_FAIL_S = 10.0, 120.0
SILENT_WARN_S = 30.0


class Reader(NamedTuple):
    """A group that reads the log: what starts it, how bad it is without, and what is missing then."""

    group: str
    command: str
    without: Level
    loss: str


READERS = (
    Reader(
        WORKER, "headrace worker", "FAIL", "histories are not folded, and the outbox fills until events are refused"
    ),
    Reader("learner", "headrace learn", "WARN", "the online model learns nothing and is left out of scores"),
    Reader("archiver", "headrace archive", "WARN", "nothing is archived, and the log keeps what was not stored"),
    Reader("review", "headrace review keep", "WARN", "decisions do not become cases for the analysts"),
)
KAFKA_READERS = (Reader(RELAY, "headrace relay", "FAIL", "nothing reaches Kafka, and the outbox fills"),)


class Standing(NamedTuple):
    """Where a group is: whether it ever joined, its running members, how long its oldest unread record waits."""

    joined: bool
    members: int
    late_s: float


def examine_log(connection: RedisConnection, partitions: int, outbox_limit: int, kafka: bool) -> Iterator[Finding]:
    """The partitions, the outbox, the groups that read it (with Kafka that is the relay), the learner's life."""
    yield judge_partitions(connection.one("GET", "log:partitions"), partitions)
    yield judge_outbox(connection, partitions, outbox_limit)
    for reader in KAFKA_READERS if kafka else READERS:
        yield judge_reader(reader, standing(connection, reader.group, partitions))


def judge_partitions(found: bytes | None, partitions: int) -> Finding:
    """Whether the log was made with the number of partitions that this deployment has."""
    if found is None:
        remedy = "start a worker, and keep HEADRACE_PARTITIONS the same for all processes from then on"
        return Finding("WARN", "partitions", "nobody has read this log yet, so their number is not fixed", remedy)
    if int(found) != partitions:
        words = f"the log has {int(found)} a topic, HEADRACE_PARTITIONS is {partitions}: records would not be found"
        return Finding("FAIL", "partitions", words, f"set HEADRACE_PARTITIONS={int(found)} everywhere")
    return Finding("OK", "partitions", f"{partitions} a topic, as the log was made")


def judge_outbox(connection: RedisConnection, partitions: int, limit: int) -> Finding:
    """How full the fullest partition is."""
    names = [stream_key(topic, number) for topic in TOPICS for number in range(partitions)]
    lengths = [int(length) for length in answers(connection, [("XLEN", name) for name in names])]
    longest = max(range(len(names)), key=lengths.__getitem__)
    words = f"{sum(lengths):,} records, the fullest partition {names[longest]} holds {lengths[longest]:,} of {limit:,}"
    remedy = "see below who is late and start more of it, or raise HEADRACE_OUTBOX_LIMIT; a full one refuses with 503"
    return graded(lengths[longest] / limit, 0.75, 1.0, "outbox", words, remedy)


def standing(connection: RedisConnection, group: str, partitions: int) -> Standing:
    """Where a group is, in three round trips."""
    joined = answers(connection, [("SISMEMBER", groups_key(topic), group) for topic in TOPICS])
    topics = [topic for topic, is_in in zip(TOPICS, joined, strict=True) if is_in]
    if not topics:
        return Standing(False, 0, 0.0)
    now = connection.one("TIME")
    now_ms = int(now[0]) * 1000 + int(now[1]) // 1000
    asked: list[Command] = [("ZCOUNT", members_key(group, topic), now_ms - LEASE_MS, "+inf") for topic in topics]
    asked += [("HMGET", offsets_key(group, topic), *range(partitions)) for topic in topics]
    replies = answers(connection, asked)
    first_unread = [
        ("XRANGE", stream_key(topic, number), stream_id(int(offset or 0)), "+", "COUNT", 1)
        for topic, offsets in zip(topics, replies[len(topics) :], strict=True)
        for number, offset in enumerate(offsets)
    ]
    waiting_ms = [
        now_ms - (offset_of(entries[0][0]) >> SEQUENCE_BITS) for entries in answers(connection, first_unread) if entries
    ]
    return Standing(True, max(replies[: len(topics)]), max(0.0, max(waiting_ms, default=0) / 1000))


def judge_reader(reader: Reader, found: Standing) -> Finding:
    """Whether a group runs and keeps up.

    >>> judge_reader(KAFKA_READERS[0], Standing(True, 2, 0.25)).line()
    'OK    relay         2 running, the oldest unread record waits 0.2 s'
    """
    if not found.members:
        words = f"none is running: {reader.loss}"
        if found.joined and found.late_s:
            words += f"; the oldest unread record waits {found.late_s:,.1f} s"
        return Finding(reader.without, reader.group, words, f"start one: {reader.command}")
    words = f"{found.members} running, the oldest unread record waits {found.late_s:,.1f} s"
    remedy = f"see its log for errors, or start another: {reader.command}"
    verdict = graded(found.late_s, LATE_WARN_S, LATE_FAIL_S, reader.group, words, remedy)
    # What may be absent may be late as well: it is no failure of the answers.
    return verdict._replace(level="WARN") if verdict.level == "FAIL" and reader.without == "WARN" else verdict


def judge_learner(connection: RedisConnection, use_case: str) -> Finding:
    """How long ago the learner gave a sign of life, by Redis's clock."""
    left_ms = int(connection.one("PTTL", alive_key(use_case)))
    remedy = "start it (headrace learn), or see its log: one that hangs gives no sign"
    if left_ms < 0:
        return Finding("WARN", "learner life", "no sign within a week: scores come without the online model", remedy)
    age_s = max(0.0, (ALIVE_EXPIRY_MS - left_ms) / 1000)
    words = f"the last sign was {age_s:,.0f} s ago"
    return graded(age_s, SILENT_WARN_S, float("inf"), "learner life", words, remedy)


def answers(connection: RedisConnection, commands: Sequence[Command]) -> list[Reply]:
    """One round trip of commands of which none may fail."""
    replies = connection.call(commands)
    for reply in replies:
        if isinstance(reply, RedisError):
            raise reply
    return replies
