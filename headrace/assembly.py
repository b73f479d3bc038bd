"""Put the parts together from the settings: what every entry point shares."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from features.fraud import FEATURE_SETS
from features.online_store import RedisOnlineStore
from features.store_plan import PLAN_FILE, StorePlan, load_plan
from features.view import View
from headrace.settings import Settings
from scoring.ledger import Ledger
from scoring.live_models import ModelFeed, registry_of
from scoring.policy_file import load_policy
from scoring.policy_shared import SharedBudget
from scoring.rule_feed import RuleFeed
from scoring.rule_log import RuleLog
from scoring.rules import read_rules
from scoring.scorer import Scorer
from scoring.use_case import UseCase
from stream.connection import RedisConnection
from stream.log import Log
from stream.redis_log import RedisLog


def all_views() -> list[View]:
    """The views of every feature set; the first view of a type of record is its primary one."""
    return [view for feature_set in FEATURE_SETS.values() for view in feature_set.views]


def store_ttl_ms() -> int:
    """How long an entity's hash outlives its last event: the longest history."""
    return max(view.horizon_us for view in all_views()) // 1000


def open_online_store(settings: Settings, plan: StorePlan | None = None) -> RedisOnlineStore:
    """The online store over a connection of its own."""
    plan = plan or load_plan(settings.home / PLAN_FILE)
    return RedisOnlineStore(RedisConnection(settings.redis), plan, store_ttl_ms())


def open_outbox(settings: Settings) -> RedisLog:
    """The log in Redis: the outbox, and on one machine all there is."""
    return RedisLog(
        settings.redis,
        partitions=settings.partitions,
        retention_ms=settings.log_retention,
        outbox_limit=settings.outbox_limit,
    )


def open_log(settings: Settings) -> Log:
    """The log that workers and learners read: Kafka where there is one, else the outbox itself."""
    if not settings.kafka:
        return open_outbox(settings)
    from stream.kafka_log import KafkaLog

    return KafkaLog(settings.kafka, partitions=settings.partitions)


@dataclass(frozen=True)
class Feeds:
    """What keeps a scorer fresh: its models, its rules and its part of the budget, each in a thread of its own."""

    models: ModelFeed
    rules: RuleFeed
    budget: SharedBudget

    def start(self) -> None:
        """Load what there is, then go on in the background."""
        self.models.start()
        self.rules.start()
        self.budget.start()

    def stop(self) -> None:
        """End all, and close their connections."""
        self.budget.stop()
        self.rules.stop()
        self.models.stop()


def open_rule_log(settings: Settings, use_case: UseCase, timeout_ms: float = 5000) -> RuleLog:
    """The rule book of a use case, over a connection of its own."""
    connection = RedisConnection(settings.redis, timeout_ms)
    return RuleLog(connection, use_case.name, read_rules(use_case.rules), use_case.features)


def open_scorer(settings: Settings, use_case: UseCase) -> tuple[Scorer, Feeds]:
    """A scorer and what keeps its models and rules fresh (not started)."""
    store = open_online_store(settings)
    ledger = Ledger(
        store.connection,
        store,
        partitions=settings.partitions,
        keep_ms=settings.answer_retention,
        outbox_limit=settings.outbox_limit,
        pending_limit=settings.pending_limit,
    )
    models = ModelFeed(use_case.name, use_case.features.definition_hash, registry_of(settings.home), settings.redis)
    rules = RuleFeed(open_rule_log(settings, use_case, timeout_ms=500))
    policy_file = Path(settings.policy) if settings.policy else use_case.policy
    policy = load_policy(policy_file, use_case.source, settings.let_through_key)
    budget = SharedBudget.of(policy, RedisConnection(settings.redis, timeout_ms=500), use_case.name)
    policy.budget = budget
    scorer = Scorer(use_case, ledger, lambda: models.current, policy, rules)
    return scorer, Feeds(models, rules, budget)
