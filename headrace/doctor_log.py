"""What `headrace doctor` asks of the log in Redis: its partitions, how full it is, and who reads it how late."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from features.pipeline import GROUP as WORKER
from headrace.finding import Finding, Level, graded
from models.snapshot import ALIVE_EXPIRY_MS, alive_key, report_key
from scoring.learner_metrics import LearnerHeadline
from stream.archiver import FLUSH_S
from stream.connection import RedisConnection
from stream.records import TOPICS
from stream.redis_keys import stream_key
from stream.relay import GROUP as RELAY
from stream.standing import Standing, answers, standing

LATE_WARN_S, LATE_FAIL_S = 10.0, 120.0
LATE_STORED_S = 2 * FLUSH_S
"""Of the archiver, which stores what came in so long at a time."""
SILENT_WARN_S = 30.0


class Reader(NamedTuple):
    """A group that reads the log: what starts it, how bad it is without, and what is missing then."""

    group: str
    command: str
    without: Level
    loss: str
    late_warn_s: float = LATE_WARN_S


READERS = (
    Reader(
        WORKER, "headrace worker", "FAIL", "histories are not folded, and the outbox fills until events are refused"
    ),
    Reader("learner", "headrace learn", "WARN", "the online model learns nothing and is left out of scores"),
    Reader(
        "archiver",
        "headrace archive",
        "WARN",
        "nothing is archived, and the log keeps what was not stored",
        LATE_STORED_S,
    ),
    Reader("review", "headrace review keep", "WARN", "decisions do not become cases for the analysts"),
    Reader("audit", "headrace audit keep", "WARN", "decisions are not in the audit chain, and the log keeps them"),
    Reader("sequencer", "headrace recommend learn", "WARN", "recommendations learn nothing new, and the log keeps it"),
    Reader("watcher", "headrace models watch", "WARN", "no shadow is compared, and no canary is rolled back by itself"),
)
KAFKA_READERS = (Reader(RELAY, "headrace relay", "FAIL", "nothing reaches Kafka, and the outbox fills"),)


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


def judge_reader(reader: Reader, found: Standing) -> Finding:
    """Whether a group runs and keeps up.

    >>> judge_reader(KAFKA_READERS[0], Standing(2, {"transactions": 0.25})).line()
    'OK    relay         2 running, the oldest unread record waits 0.2 s'
    """
    if not found.members:
        words = f"none is running: {reader.loss}"
        if found.joined and found.late_s:
            words += f"; the oldest unread record waits {found.late_s:,.1f} s"
        return Finding(reader.without, reader.group, words, f"start one: {reader.command}")
    words = f"{found.members} running, the oldest unread record waits {found.late_s:,.1f} s"
    remedy = f"see its log for errors, or start another: {reader.command}"
    verdict = graded(
        found.late_s, reader.late_warn_s, max(LATE_FAIL_S, reader.late_warn_s), reader.group, words, remedy
    )
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


THAW = "'headrace learner thaw --by NAME --why TEXT'"
REMEDIES = {
    "null spike": f"repair the source of these features; it learns again when they are back (or, if they stay: {THAW})",
    "drift": f"look at the labels and 'headrace drift'; {THAW} learns on, 'headrace learner restore' goes back first",
    "twin": f"it went back to the weights before; look at the labels of these days, then {THAW}",
    "person": f"{THAW} when the reason is gone",
}


def judge_learner_frozen(connection: RedisConnection, use_case: str) -> Finding:
    """Whether the learner stands still, by its own report."""
    content = connection.one("GET", report_key(use_case))
    try:
        found = None if content is None else msgspec.json.decode(content, type=LearnerHeadline)
    except (msgspec.DecodeError, UnicodeDecodeError):
        found = None
    if found is None:
        return Finding("WARN", "learner guard", "it has not reported yet", "start it: headrace learn")
    if not found.frozen:
        return Finding("OK", "learner guard", f"learns; version {found.version}")
    says = "; ".join(f"{one.why}: {one.says}" for one in found.frozen)
    remedies = "; ".join(REMEDIES.get(one.why, THAW) for one in found.frozen)
    return Finding("WARN", "learner guard", f"stands still at version {found.version} ({says})", remedies)
