"""The outbox and its readers as /metrics shows them."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from scoring.log_metrics import KEPT_S, LogFeed
from stream.embedded_redis import EmbeddedRedis
from stream.log import Message
from stream.redis_log import RedisLog


def samples(text: str) -> dict[str, float]:
    """As `name label label`."""
    return {
        " ".join([sample.name, *(value for _, value in sorted(sample.labels.items()))]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_outbox_and_how_late_each_group_is_are_told_once_a_second_and_not_without_redis(tmp_path: Path) -> None:
    now_s = 0.0
    with EmbeddedRedis(tmp_path) as server, closing(RedisLog(server.url, 2, lease_ms=600_000)) as log:
        feed = LogFeed(server.url, 2, 20, ["worker", "learner"], clock=lambda: now_s)
        log.append([Message("transactions", "one key", b"%d" % number) for number in range(5)])
        with closing(log.consumer("worker", ("transactions",))) as consumer:
            read = consumer.poll(100, 1000)
            time.sleep(0.2)
            found = samples(feed.text())
            assert found["headrace_outbox_records transactions"] == 5
            assert found["headrace_outbox_fullest_ratio"] == 5 / 20
            assert found["headrace_group_members worker"] == 1
            assert found["headrace_lag_seconds worker transactions"] >= 0.2
            assert not [name for name in found if "learner" in name], "it never joined"

            consumer.commit({partition: entries[-1].offset + 1 for partition, entries in read.items()})
            assert samples(feed.text()) == found, "it is asked at most once a second"
            now_s += KEPT_S
            assert samples(feed.text())["headrace_lag_seconds worker transactions"] == 0
        server.kill()
        now_s += KEPT_S
        assert feed.text() == ""
        feed.close()
