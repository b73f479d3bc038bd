"""Put the parts together from the settings: what every entry point shares."""

from __future__ import annotations

from features.fraud import FEATURE_SETS
from features.online_store import RedisOnlineStore
from features.store_plan import PLAN_FILE, StorePlan, load_plan
from features.view import View
from headrace.settings import Settings
from scoring.ledger import Ledger
from scoring.live_models import ModelFeed, registry_of
from scoring.policy import load_policy
from scoring.rules import load_rules
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


def open_scorer(settings: Settings, use_case: UseCase) -> tuple[Scorer, ModelFeed]:
    """A scorer and the feed that keeps its models fresh (not started)."""
    store = open_online_store(settings)
    ledger = Ledger(
        store.connection,
        store,
        partitions=settings.partitions,
        keep_ms=settings.answer_retention,
        outbox_limit=settings.outbox_limit,
        pending_limit=settings.pending_limit,
    )
    feed = ModelFeed(use_case.name, use_case.features.definition_hash, registry_of(settings.home), settings.redis)
    scorer = Scorer(
        use_case,
        ledger,
        lambda: feed.current,
        load_policy(use_case.policy, use_case.source),
        load_rules(use_case.rules, use_case.features),
    )
    return scorer, feed
