"""One sequence, one state: whoever follows it, however often it was killed, knows the same."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from time import monotonic, sleep

import pytest

from scoring import recommender_snapshot
from scoring.recommender_metrics import recommender_text
from scoring.recommender_report import REPORT_KEY, Clicks, RecommenderReport
from scoring.recommender_snapshot import SnapshotStore
from stream.child import Child
from stream.connection import RedisConnection
from stream.log import Partition
from stream.redis_log import RedisLog
from stream.sequence import NO_MARK, START, Sequence, SequenceGap
from tests.training.shop_records import (
    Record,
    a_day,
    a_fit,
    action,
    adoption,
    applied,
    item,
    messages,
    sequenced,
    slate,
)
from training.recommender_learner import Pace, RecommenderLearner
from training.sequencer import GROUP

READY_S = 240.0
RECORDS = 2400


@pytest.fixture
def connection(redis_url: str) -> Iterator[RedisConnection]:
    with RedisConnection(redis_url) as connection:
        connection.one("FLUSHDB")
        yield connection


@pytest.fixture
def sequence(connection: RedisConnection) -> Sequence:
    return Sequence(connection)


@pytest.fixture
def snapshots(connection: RedisConnection) -> SnapshotStore:
    return SnapshotStore(connection)


def append(sequence: Sequence, records: list[Record]) -> None:
    for entry in sequenced(records):
        marks, source = sequence.marks(), entry.source
        assert sequence.append(source, marks.get(source, NO_MARK), [(marks.get(source, 0) + 1, entry.payload)])


def follow(learner: RecommenderLearner) -> RecommenderLearner:
    while learner.follow():
        learner.keep()
    return learner


def test_a_learner_goes_on_from_its_snapshot_and_from_nothing_to_the_same_state(
    sequence: Sequence, snapshots: SnapshotStore
) -> None:
    records = a_day()
    append(sequence, records[:200])
    first = RecommenderLearner(sequence, snapshots)
    first.begin()
    follow(first)
    assert first.keep(now=True)
    append(sequence, records[200:])
    second = RecommenderLearner(sequence, snapshots)
    second.begin()
    assert second.state.number == 200
    expected = applied(sequenced(records)).digest()
    assert (follow(second).state.digest(), follow(first).state.digest()) == (expected, expected)


def test_the_sequence_is_trimmed_to_its_limit_and_never_past_the_snapshot(
    sequence: Sequence, snapshots: SnapshotStore
) -> None:
    now = [0.0]
    learner = RecommenderLearner(sequence, snapshots, Pace(60.0, 1000, 100), clock=lambda: now[0])
    learner.begin()
    append(sequence, [action(number) for number in range(700)])
    follow(learner)
    assert (learner.trim(), sequence.length, snapshots.number()) == (0, 700, 0)
    now[0] = 61.0
    assert learner.keep()
    assert snapshots.number() == 700
    assert 100 <= sequence.length <= 300
    assert not learner.keep()  # nothing came
    other = RecommenderLearner(sequence, snapshots)
    other.begin()
    append(sequence, [action(900)])
    assert follow(other).state.digest() == follow(learner).state.digest()


def test_without_a_readable_snapshot_it_begins_with_what_is_kept_and_says_so(
    sequence: Sequence, snapshots: SnapshotStore, connection: RedisConnection
) -> None:
    append(sequence, [action(number) for number in range(700)])
    learner = RecommenderLearner(sequence, snapshots, Pace(0.0, 1, 100))
    learner.begin()
    follow(learner)
    connection.one("DEL", recommender_snapshot.SNAPSHOT_KEY)
    learner.begin()
    assert "older entries are gone" in learner.problem
    follow(learner)
    assert learner.state.number == 700
    assert 0 < learner.state.counts.learned < 700
    assert learner.report().problem == learner.problem


def test_a_sequence_that_was_lost_while_its_snapshot_was_not_is_begun_anew_with_what_was_known(
    sequence: Sequence, snapshots: SnapshotStore, connection: RedisConnection
) -> None:
    append(sequence, [action(number) for number in range(50)])
    learner = RecommenderLearner(sequence, snapshots)
    learner.begin()
    follow(learner).keep(now=True)
    connection.one("DEL", sequence.key, sequence.marks_key)
    append(sequence, [action(number) for number in range(60)])
    with pytest.raises(SequenceGap):
        learner.follow()
    learner.begin()
    assert "of another sequence" in learner.problem
    other = RecommenderLearner(sequence, snapshots)
    other.begin()
    expected = applied(sequenced([action(number) for number in range(60)])).digest()
    assert [follow(one).state.digest() for one in (learner, other)] == [expected, expected]
    assert learner.keep(now=True)
    assert snapshots.number() == 60


def test_the_report_is_in_the_metrics() -> None:
    report = RecommenderReport(
        number=9, behind=2, items=4, visitors=5, entries={"learned": 7}, hit_rate=0.5, hits_over=2,
        by_source={"trending": Clicks(40, 3)},
    )  # fmt: skip
    text = recommender_text(report)
    assert 'headrace_recommender_entries{effect="learned"} 7.0' in text
    assert "headrace_recommender_learner_behind_entries 2.0" in text
    assert 'headrace_recommender_shown{by="source",name="trending",what="acted"} 3.0' in text
    assert "headrace_recommender_problems 0.0" in text


def test_an_adopted_fit_is_in_a_snapshot_at_once_and_its_content_is_let_go(
    sequence: Sequence, snapshots: SnapshotStore, connection: RedisConnection
) -> None:
    content = a_fit()
    append(sequence, [action(1, item="i1"), action(2, item="i2")])
    learner = RecommenderLearner(sequence, snapshots)
    learner.begin()
    snapshots.keep_batch("b1", content)
    sequence.append("training/adoptions/0", NO_MARK, [(1, adoption(content))])
    follow(learner)
    newest = snapshots.newest()
    assert newest is not None
    assert newest.adopted == "b1"
    assert connection.one("PTTL", recommender_snapshot.batch_key("b1")) > 0


def test_the_report_counts_what_was_shown_and_acted_on_by_source_place_and_scenario(
    sequence: Sequence, snapshots: SnapshotStore
) -> None:
    append(sequence, [item(number) for number in range(4)])
    append(sequence, [slate(1, ["i1", "i2", "i3"], explored=2)])
    append(sequence, [action(1, "click", "s1", "i1"), action(2, "hide", "s1", "i2"), action(3, "purchase", "s1", "i3")])
    append(sequence, [action(4, "purchase", "s1", "i1"), action(5, "click", "unknown", "i1")])
    learner = RecommenderLearner(sequence, snapshots)
    learner.begin()
    report = follow(learner).report()
    by_source = {name: (one.shown, one.clicked) for name, one in report.by_source.items()}
    assert by_source == {"trending": (2, 1), "explored": (1, 1)}
    assert {name: (one.shown, one.clicked) for name, one in report.by_place.items()} == {
        "01": (1, 1),
        "02": (1, 0),
        "03": (1, 1),
    }
    assert {name: (one.shown, one.clicked) for name, one in report.by_scenario.items()} == {"default": (3, 2)}
    assert (report.number, report.behind, report.entries["learned"]) == (10, 0, 5)


# Real processes


def test_killed_at_any_point_and_doubled_it_leaves_what_one_clean_pass_leaves(tmp_path: Path, redis_url: str) -> None:
    """One partition of one topic, so that there is one order; each record twice in the log."""
    url = redis_url.replace("/0", "/5", 1)
    environment = {"HEADRACE_REDIS": url, "HEADRACE_PARTITIONS": "1", "HEADRACE_HOME": str(tmp_path)}
    records = [action(number) for number in range(RECORDS)]
    random.seed(11)
    children: list[Child] = []

    def start() -> Child:
        command = [sys.executable, "-m", "headrace.cli", "recommend", "learn"]
        log = tmp_path / f"learn-{len(children)}.log"
        children.append(Child(command, log, environment=environment | {"PYTHONPATH": str(Path.cwd())}))
        return children[-1]

    with RedisConnection(url) as connection, closing(RedisLog(url, partitions=1, lease_ms=1000)) as log:
        connection.one("FLUSHDB")
        sequence, snapshots = Sequence(connection), SnapshotStore(connection)
        try:
            for part in range(0, RECORDS, RECORDS // 2):
                # Two at a time: one of them waits for the partition, and appends late when it gets it.
                pair = [start(), start()] if not part else [start()]
                before = sequence.count
                for at in range(part, part + RECORDS // 2, 100):
                    log.append(messages(records[at : at + 100] * (2 if at % 200 else 1)))
                wait(lambda: sequence.count > before, pair[0])  # noqa: B023
                sleep(random.uniform(0.0, 0.3))
                for child in pair:
                    child.kill()
            connection.one("DEL", REPORT_KEY)
            last = start()
            wait(lambda: is_at_end(sequence, log) and connection.one("GET", REPORT_KEY) is not None, last)
            last.stop(READY_S)
        finally:
            for child in children:
                child.kill()
        newest = snapshots.newest()
        assert newest is not None
        assert newest.number > 0
        learner = RecommenderLearner(sequence, snapshots)
        learner.begin()
        assert follow(learner).state.number == sequence.count == 1.5 * RECORDS
        assert learner.state.digest() == applied(sequenced(records)).digest()
        entries = sequence.read(START, 10_000)
        assert len({entry.offset for entry in entries}) == len(entries)


def is_at_end(sequence: Sequence, log: RedisLog) -> bool:
    part = Partition("actions", 0)
    return sequence.count > 0 and log.committed(GROUP, part) == log.end(part)


def wait(until: object, child: Child) -> None:
    assert callable(until)
    end = monotonic() + READY_S
    while not until():
        assert monotonic() < end, child.log_tail()
        sleep(0.02)
