"""Servers that a busy machine holds up for seconds are not gone: this process of tests waits for them, for a minute.

What a service may spend on Redis beside its requests is a part of a second, and it comes again soon after. A test that
asks once, and is not about that time, would fail whenever either of the two is held up for longer. Deadlines of
requests stay what they are. A test that is about one of these bounds sets it: it is the last to do so. Processes that
tests start have the bounds that they have in the field. On a clock that a test holds still no pace recovers, so whoever
is signed in may ask as often as a page that waits does.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from review.web.pace import Rate
from stream.connection import RedisConnection
from stream.kafka_log import KafkaLog
from stream.redis_log import RedisLog

PATIENT_S = 60.0
PATIENT_MS = 1000 * PATIENT_S
LEASE_S = 600.0
"""Of what the tests of this process lease from Redis and spend themselves: none ends because nobody had its turn."""

BOUNDS: dict[str, dict[str, object]] = {
    "headrace.assembly": {"FEED_TIMEOUT_MS": PATIENT_MS, "TIMEOUT_MS": PATIENT_MS},
    "headrace.doctor": {"HTTP_TIMEOUT_S": PATIENT_S},
    "headrace.every": {"PUBLISH_TIMEOUT_MS": PATIENT_MS},
    "headrace.process_metrics": {"SCRAPE_TIMEOUT_MS": PATIENT_MS},
    "headrace.stack": {"READY_TIMEOUT_S": 300.0, "STOP_GRACE_S": PATIENT_S},
    "review.alert_apprise": {"TIMEOUT_S": int(PATIENT_S)},
    "review.collector": {"JOIN_S": PATIENT_S},
    "review.engine": {"BUSY_TIMEOUT_S": PATIENT_S, "REACHED_WITHIN": {"connect_timeout": "60"}},
    "review.oidc_provider": {"TIMEOUT_S": PATIENT_S},
    "review.scrape": {"TIMEOUT_S": PATIENT_S},
    "review.web.body": {"READ_WITHIN_S": PATIENT_S},
    "review.web.gate": {"PERSON_RATE": Rate(per_s=20.0, burst=100_000.0)},
    "review.webhook": {"TIMEOUT_S": PATIENT_S},
    "scoring.background": {"STOP_TIMEOUT_S": PATIENT_S},
    "scoring.key_allowance": {"SETTLE_TIMEOUT_MS": PATIENT_MS, "LEASE_S": LEASE_S, "LEASE_KEPT_MS": 2000 * LEASE_S},
    "scoring.live_models": {"READ_TIMEOUT_MS": PATIENT_MS},
    "scoring.log_metrics": {"SCRAPE_TIMEOUT_MS": PATIENT_MS},
    "scoring.policy_shared": {"SETTLE_TIMEOUT_MS": PATIENT_MS, "LEASE_S": LEASE_S, "LEASE_KEPT_MS": 2000 * LEASE_S},
    "scoring.published": {"SCRAPE_TIMEOUT_MS": PATIENT_MS},
    "scoring.recommender_feed": {"READ_TIMEOUT_MS": PATIENT_MS},
    "stream.archive_sql": {"TURN_S": PATIENT_S},
    "stream.embedded_redis": {"START_TIMEOUT_S": 240.0, "STOP_GRACE_S": PATIENT_S},
    "stream.kafka_client": {
        "ANSWER_TIMEOUT_MS": 10_000,
        "CONTACT_TIMEOUT_S": PATIENT_S,
        "HANDSHAKE_TIMEOUT_S": PATIENT_S,
        "STANDING_TIMEOUT_MS": PATIENT_MS,
    },
    "stream.kafka_log": {"CONNECT_TIMEOUT_MS": PATIENT_MS},
    "stream.kafka_node": {"START_TIMEOUT_S": 300.0, "STOP_GRACE_S": PATIENT_S},
}
"""By module, of those that are imported when the first test begins: no test waits for the import of others."""


@contextmanager
def unhurried() -> Iterator[None]:
    """As long as it lasts, clients that are given no time of their own have a minute, and the bounds above hold."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RedisConnection.__init__, "__defaults__", (PATIENT_MS, PATIENT_MS))
        for log in (RedisLog, KafkaLog):
            usual = log.__init__.__kwdefaults__ or {}
            patch.setattr(log.__init__, "__kwdefaults__", usual | {"timeout_ms": int(PATIENT_MS)})
        for name, bounds in BOUNDS.items():
            if name in sys.modules:
                for bound, value in bounds.items():
                    patch.setattr(sys.modules[name], bound, value)
        yield
