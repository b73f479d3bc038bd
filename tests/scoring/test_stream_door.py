from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event

import pytest

from scoring.live_models import LiveModels
from scoring.scorer import Scorer
from scoring.stream_door import InvalidTopic, ScoredCount, group_of, score_forever, score_once
from stream.connection import RedisUnavailable
from stream.embedded_redis import EmbeddedRedis
from stream.log import LogFull, Message, Partition
from stream.records import TOPICS, DeadLetter, Decision, Record, Transaction, decode, encode
from stream.redis_log import RedisLog
from tests.scoring.conftest import T0, OpenScorer, feature, payment
from tests.until import LIMIT_S

TOPIC = "unscored"
GROUP = group_of(TOPIC)
PARTITIONS = 2
SKEW_MS = 60_000


@pytest.fixture
def log(redis_db: str) -> Iterator[RedisLog]:
    with closing(RedisLog(redis_db, PARTITIONS)) as opened:
        yield opened


def send(log: RedisLog, *records: Transaction | bytes) -> None:
    log.append(
        [
            Message(TOPIC, one.key, encode(one)) if isinstance(one, Transaction) else Message(TOPIC, "k", one)
            for one in records
        ]
    )


def score_all(scorer: Scorer, log: RedisLog) -> ScoredCount:
    """Join, score until nothing comes, leave."""
    total = ScoredCount()
    with closing(log.consumer(GROUP, (TOPIC,))) as consumer:
        while True:
            count = score_once(scorer, log, consumer, SKEW_MS, 100, 100)
            if not count.decided and not count.dead:
                return total
            total.decided += count.decided
            total.dead += count.dead


def on(log: RedisLog, kind: type[Record]) -> list[Record]:
    found = [log.read(Partition(kind.topic, number), 0, 10_000) for number in range(PARTITIONS)]
    return [decode(entry.value, kind) for entries in found for entry in entries]


def offsets(log: RedisLog) -> list[int]:
    return [log.committed(GROUP, Partition(TOPIC, number)) for number in range(PARTITIONS)]


def test_what_arrives_is_scored_and_its_decision_published(scorer: Scorer, log: RedisLog) -> None:
    records = [payment(f"e{n}", event_timestamp=T0 + timedelta(seconds=n)) for n in range(5)]
    send(log, *records)
    assert score_all(scorer, log).decided == 5
    decisions = on(log, Decision)
    assert [one.record for one in decisions if isinstance(one, Decision)] == records
    assert [feature(one.vector, "card_count_1h") for one in decisions if isinstance(one, Decision)] == [1, 2, 3, 4, 5]
    assert on(log, Transaction) == records
    assert scorer.decision("e3") == decisions[3]


def test_what_comes_again_has_the_decision_it_had(scorer: Scorer, log: RedisLog) -> None:
    send(log, payment("e1"), payment("e1"))
    assert score_all(scorer, log).decided == 2
    before = on(log, Decision)
    scorer.ledger.connection.one("DEL", f"group:{GROUP}:{TOPIC}:offsets")
    assert score_all(scorer, log).decided == 2
    assert on(log, Decision) == before
    assert len(before) == len(on(log, Transaction)) == 1


def test_what_cannot_be_scored_is_a_dead_letter_and_the_partition_goes_on(scorer: Scorer, log: RedisLog) -> None:
    future = payment("e2", card_id="k", event_timestamp=datetime.now(UTC) + timedelta(days=1))
    send(log, b"{", b'{"type":"label"}', future, payment("e1", card_id="k"), payment("e1", card_id="k", amount=21.0))
    assert score_all(scorer, log).decided == 1
    letters = [letter for letter in on(log, DeadLetter) if isinstance(letter, DeadLetter)]
    assert [letter.payload[:16] for letter in letters[:2]] == [b"{", b'{"type":"label"}']
    reasons = [letter.reason for letter in letters]
    assert "one JSON object" in reasons[0]
    assert "'type'" in reasons[1]
    assert "lies in the future" in reasons[2]
    assert "answered before for another record" in reasons[3]
    assert {letter.event_id.rpartition("/")[0] for letter in letters} <= {"unscored/0", "unscored/1"}


def test_nothing_is_committed_before_it_is_recorded(open_scorer: OpenScorer, tmp_path: Path, log: RedisLog) -> None:
    """The store is another Redis than the log, and away: the offsets stay, and nothing is spooled as decided."""
    with EmbeddedRedis(tmp_path / "redis") as server:
        scorer = open_scorer(server.url)
        server.kill()
        send(log, payment("e1"))
        with (
            closing(log.consumer(GROUP, (TOPIC,))) as consumer,
            pytest.raises(RedisUnavailable, match="an event was not recorded"),
        ):
            for _ in range(10):
                score_once(scorer, log, consumer, SKEW_MS, 100, 100)
        assert offsets(log) == [0, 0]
        assert scorer.spool.waiting == {}
        server.start()
        assert score_all(scorer, log).decided == 1
        decision = scorer.decision("e1")
        assert decision is not None
        assert decision.degraded == []


def test_a_full_outbox_makes_it_wait(open_scorer: OpenScorer, redis_db: str, log: RedisLog) -> None:
    scorer = open_scorer(redis_db, outbox_limit=1)
    send(log, payment("e1"), payment("e2"))
    with closing(log.consumer(GROUP, (TOPIC,))) as consumer, pytest.raises(LogFull):
        while True:
            score_once(scorer, log, consumer, SKEW_MS, 100, 100)
    assert offsets(log) == [0, 0]
    scorer.ledger.outbox_limit = 10
    assert score_all(scorer, log).decided == 2
    assert len(on(log, Decision)) == 2


def test_without_a_champion_it_waits(scorer: Scorer, log: RedisLog) -> None:
    stop, models = Event(), scorer.models
    scorer.models = LiveModels
    send(log, payment("e1"))
    seen: list[int] = []

    def enough(count: ScoredCount) -> None:
        seen.append(count.decided)
        stop.set()

    # Its connection belongs to that thread until it has ended.
    thread = threading.Thread(
        target=score_forever,
        args=(scorer, log, TOPIC, SKEW_MS, stop),
        kwargs={"poll_timeout_ms": 50, "on_batch": enough},
    )
    thread.start()
    try:
        thread.join(0.5)
        assert offsets(log) == [0, 0]
        scorer.models = models
        thread.join(LIMIT_S)
    finally:
        stop.set()
        thread.join()
    assert seen == [1]


@pytest.mark.parametrize("topic", [*TOPICS, "", "a b", "a/b", "x" * 201])
def test_a_topic_that_cannot_be_scored_from_is_refused(topic: str) -> None:
    with pytest.raises(InvalidTopic, match="topic"):
        group_of(topic)
