"""A scorer as the service has it (breaker, spool on disk, recorder), in this process, and what must hold of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from features.online_store import RedisOnlineStore
from scoring.api import Api
from scoring.breaker import Breaker, BreakerConnection, State
from scoring.ledger import Ledger
from scoring.policy_file import load_policy
from scoring.rules import load_rules
from scoring.scorer import Scorer
from scoring.spool import Spool
from scoring.spool_file import SpoolFile
from scoring.spool_recorder import SpoolRecorder
from scoring.use_case import FRAUD
from stream.connection import RedisConnection
from stream.log import Partition
from stream.records import Decision, decode, encode
from stream.redis_log import RedisLog
from tests.scoring.conftest import PLAN, TTL_MS, Says, live, payment
from tests.until import until

DEADLINE_MS = 50.0
PATIENT_MS = 60_000.0
KEPT_MS = 3_600_000
"""How long an answer is kept: for longer than any test of it takes."""
PARTITIONS = 2
SCORE = "/fraud/score"


class Served:
    """Answers through the API's functions, so that a failure would be a 500 or an exception here."""

    def __init__(
        self, url: str, spool: Path, deadline_ms: float = DEADLINE_MS, limit_bytes: int = 1 << 20, outbox: int = 10_000
    ) -> None:
        def ledger(connection: RedisConnection) -> Ledger:
            return Ledger(connection, RedisOnlineStore(connection, PLAN, TTL_MS), PARTITIONS, KEPT_MS, outbox, 1000)

        self.breaker = Breaker(RedisConnection(url), 0.4 * deadline_ms)
        policy, rules = load_policy(FRAUD.policy, FRAUD.source), load_rules(FRAUD.rules, FRAUD.features)
        connection = BreakerConnection(url, self.breaker)
        self.scorer = Scorer(FRAUD, ledger(connection), live(Says(0.001)), policy, rules)
        self.scorer.spool = Spool(SpoolFile(spool, limit_bytes))
        self.recorder = SpoolRecorder(self.scorer.spool, ledger(RedisConnection(url)), FRAUD.features)
        self.api = Api(self.scorer, 60_000, deadline_ms)
        self.answered: dict[str, Decision] = {}

    def __enter__(self) -> Served:
        self.breaker.start()
        self.recorder.start()
        self.scorer.warm_up(payment())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.recorder.stop()
        self.breaker.stop()
        self.scorer.close(100)

    @property
    def waiting(self) -> int:
        return len(self.scorer.spool.waiting)

    def score(self, event_id: str, deadline_ms: float | None = None, **fields: Any) -> Decision:
        """One answer, which is one whatever the fault, without a NaN."""
        answer = self.api.post(SCORE, encode(payment(event_id, **fields)), deadline_ms)
        assert answer.status == 200, answer.body
        assert b"NaN" not in answer.body
        assert b"Infinity" not in answer.body
        decision: Decision = decode(answer.body, Decision)
        self.answered.setdefault(event_id, decision)
        return decision

    def calm(self, event_id: str, **fields: Any) -> Decision:
        """One answer of a service that is well, however busy the machine is."""
        return self.score(event_id, PATIENT_MS, **fields)

    def recovers(self) -> None:
        """Without a restart, and without any request, all that was answered is recorded."""
        until(lambda: self.breaker.state is State.CLOSED, "a closed breaker")
        until(lambda: self.waiting == 0, "an empty spool")


def without_remarks(decision: Decision) -> bytes:
    """As it is stored."""
    kept = [one for one in decision.degraded if one not in ("not recorded yet", "spool")]
    return encode(msgspec.structs.replace(decision, degraded=kept))


def logged(url: str, topic: str = "decisions") -> Counter[str]:
    """How often each event is in the log."""
    log = RedisLog(url, partitions=PARTITIONS)
    try:
        entries = [one for number in range(PARTITIONS) for one in log.read(Partition(topic, number), 0, 100_000)]
        return Counter(msgspec.json.decode(entry.value)["event_id"] for entry in entries)
    finally:
        log.close()


def all_is_recorded_once(url: str, answered: dict[str, Decision]) -> None:
    """Each answer that was given is the one that is kept, and in the log once; nothing else is."""
    assert logged(url) == dict.fromkeys(answered, 1)
    assert logged(url, "transactions") == dict.fromkeys(answered, 1)
    with RedisConnection(url) as connection:
        for event_id, decision in answered.items():
            kept = connection.one("GET", Ledger.key(event_id))
            assert kept == without_remarks(decision), event_id
