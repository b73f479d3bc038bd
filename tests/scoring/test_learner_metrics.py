"""The learner's report as /metrics shows it."""

from __future__ import annotations

from contextlib import closing
from typing import get_args

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from scoring.learner_metrics import REASONS, LearnerFeed
from stream.connection import RedisConnection
from training.learner_report import Counters, Freeze, LearnerReport, TwinReport, Why
from training.publisher import RedisPublisher


def samples(text: str) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_every_reason_is_told_and_is_one_while_it_holds(redis_db: str) -> None:
    report = LearnerReport(
        name="online",
        version="1r1.600",
        ready=True,
        fraud_rate=None,
        metrics={},
        counters=Counters(learned=600, frozen=7),
        frozen=[Freeze("twin", "mean log loss 0.2", 5)],
        twin=TwinReport("1.600", 100, 20, 0.2, 0.1),
    )
    with RedisConnection(redis_db) as connection, closing(LearnerFeed(redis_db, ["fraud"])) as feed:
        assert feed.text() == ""
        RedisPublisher(connection).send_report(report)
        found = samples(feed.text())
        assert {why: found["headrace_learner_frozen", "fraud", why] for why in REASONS} == {
            "null spike": 0.0,
            "drift": 0.0,
            "twin": 1.0,
            "person": 0.0,
        }
        assert found["headrace_learner_labels", "frozen", "fraud"] == 7
        assert found["headrace_learner_log_loss", "fraud", "live"] == 0.2
        assert found["headrace_learner_log_loss", "fraud", "twin"] == 0.1
        RedisPublisher(connection).send_report(msgspec.structs.replace(report, frozen=[]))
        assert samples(feed.text())["headrace_learner_frozen", "fraud", "twin"] == 0


def test_the_reasons_are_those_of_the_learner() -> None:
    assert set(REASONS) == set(get_args(Why))
