"""Put the parts together from the settings: what every entry point shares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from features.declared import all_views
from features.online_store import RedisOnlineStore
from features.store_plan import PLAN_FILE, StorePlan, load_plan
from headrace.cards import open_guard
from headrace.settings import Settings
from scoring.audit_artefacts import publish_policy
from scoring.breaker import Breaker, BreakerConnection
from scoring.key_feed import TIMEOUT_MS, KeyFeed
from scoring.key_log import KeyLog
from scoring.ledger import Ledger
from scoring.live_models import ModelFeed, registry_of
from scoring.observed import Observed
from scoring.policy_file import load_policy
from scoring.policy_shared import SharedBudget
from scoring.readings import Feed, Readings
from scoring.rule_feed import RuleFeed
from scoring.rule_log import RuleLog
from scoring.rules import read_rules
from scoring.scorer import Scorer
from scoring.spool import Spool
from scoring.spool_file import SpoolFile
from scoring.spool_recorder import SpoolRecorder
from scoring.use_case import UseCase
from stream.connection import RedisConnection
from stream.log import Log
from stream.redis_log import RedisLog

FEED_TIMEOUT_MS = 500.0
"""Of what is read beside the requests: the next time is soon, and the start of a service waits for each."""
PATIENCE_SHARE = 0.4
"""Of the deadline: what Redis may take to count as recovered, and a model for one row."""


def store_ttl_ms() -> dict[str, int]:
    """How long an entity's hash outlives its last event: its longest history."""
    ttl_ms: dict[str, int] = {}
    for view in all_views():
        ttl_ms[view.entity] = max(view.horizon_us // 1000, ttl_ms.get(view.entity, 0))
    return ttl_ms


def open_online_store(
    settings: Settings, plan: StorePlan | None = None, connection: RedisConnection | None = None
) -> RedisOnlineStore:
    """The online store over a connection, its own where none is given."""
    plan = plan or load_plan(settings.home / PLAN_FILE)
    return RedisOnlineStore(connection or RedisConnection(settings.redis), plan, store_ttl_ms())


def open_outbox(settings: Settings) -> RedisLog:
    """The log in Redis: the outbox, and on one machine all there is."""
    return RedisLog(
        settings.redis,
        partitions=settings.partitions,
        retention_ms=settings.log_retention,
        outbox_limit=settings.outbox_limit,
        admit=open_guard(settings).admit,
    )


def open_log(settings: Settings) -> Log:
    """The log that workers and learners read: Kafka where there is one, else the outbox itself."""
    if not settings.kafka:
        return open_outbox(settings)
    from stream.kafka_log import KafkaLog

    admit = open_guard(settings).admit
    return KafkaLog(settings.kafka, partitions=settings.partitions, security=settings.kafka_options, admit=admit)


@dataclass(frozen=True)
class Feeds:
    """What keeps a scorer fresh: its models, its rules and its part of the budget, each in a thread of its own."""

    models: ModelFeed
    rules: RuleFeed
    budget: SharedBudget
    breaker: Breaker | None = None
    recorder: SpoolRecorder | None = None
    say_policy: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Load what there is, then go on in the background."""
        if self.breaker is not None and self.recorder is not None:
            self.breaker.start()
            self.recorder.start()
        self.models.start()
        self.rules.start()
        self.budget.start()
        self.say_policy()

    def readings(self, observed: Observed, scorer: Scorer) -> Readings:
        """What this process counts, and what it scores with."""
        feeds: dict[str, Feed] = {"models": self.models, "rules": self.rules, "budget": self.budget}
        return Readings(observed, scorer.models, lambda: self.rules.current, scorer.policy.version, feeds)

    def stop(self) -> None:
        """End all, and close their connections."""
        if self.breaker is not None and self.recorder is not None:
            self.recorder.stop()
            self.breaker.stop()
        self.budget.stop()
        self.rules.stop()
        self.models.stop()


def open_rule_log(settings: Settings, use_case: UseCase, timeout_ms: float = 5000) -> RuleLog:
    """The rule book of a use case, over a connection of its own."""
    connection = RedisConnection(settings.redis, timeout_ms)
    return RuleLog(connection, use_case.name, read_rules(use_case.rules), use_case.features)


def open_keys(settings: Settings) -> KeyFeed | None:
    """The keys as a service process knows them (not started); None where nobody is asked for one."""
    if settings.auth == "off":
        return None
    if not settings.redis:
        raise ValueError("HEADRACE_AUTH=keys, and the keys are in Redis: set HEADRACE_REDIS, or HEADRACE_AUTH=off")
    return KeyFeed(KeyLog(RedisConnection(settings.redis, TIMEOUT_MS)), settings.workers)


def open_ledger(settings: Settings, connection: RedisConnection | None = None) -> Ledger:
    """The ledger over a connection, its own where none is given."""
    store = open_online_store(settings, connection=connection)
    return Ledger(
        store.connection,
        store,
        partitions=settings.partitions,
        keep_ms=settings.answer_retention,
        outbox_limit=settings.outbox_limit,
        pending_limit=settings.pending_limit,
    )


def open_scorer(settings: Settings, use_case: UseCase, serving: bool = False) -> tuple[Scorer, Feeds]:
    """A scorer and what keeps its models and rules fresh (not started).

    One that is `serving` answers in time whatever becomes of Redis or a model: it has a breaker, a spool on disk that
    is recorded in the background, and a watch over its model. Any other is for those who wait, and come again.
    """
    limit_ms = settings.deadline * PATIENCE_SHARE
    breaker = Breaker(RedisConnection(settings.redis), limit_ms) if serving else None
    ledger = open_ledger(settings, None if breaker is None else BreakerConnection(settings.redis, breaker))
    models = ModelFeed(
        use_case.name,
        use_case.features.definition_hash,
        registry_of(settings.home),
        settings.redis,
        limit_ms if serving else None,
    )
    rules = RuleFeed(open_rule_log(settings, use_case, FEED_TIMEOUT_MS))
    policy_file = Path(settings.policy) if settings.policy else use_case.policy
    policy = load_policy(policy_file, use_case.source, settings.let_through_key)
    budget = SharedBudget.of(policy, RedisConnection(settings.redis, FEED_TIMEOUT_MS), use_case.name)
    policy.budget = budget
    scorer = Scorer(use_case, ledger, lambda: models.current, policy, rules)

    def say_policy() -> None:
        with RedisConnection(settings.redis, FEED_TIMEOUT_MS) as connection:
            publish_policy(connection, use_case.name, policy.version, policy_file)

    if breaker is None:
        return scorer, Feeds(models, rules, budget, say_policy=say_policy)
    directory = settings.home / "spool" / use_case.name
    file = SpoolFile(directory, settings.spool_limit, sync_each=settings.appendfsync == "always")
    scorer.spool = Spool(file)
    recorder = SpoolRecorder(scorer.spool, open_ledger(settings), use_case.features)
    return scorer, Feeds(models, rules, budget, breaker, recorder, say_policy)
