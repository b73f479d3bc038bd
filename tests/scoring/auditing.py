"""A scorer with a real model, an online learner, a rule book and a tight budget, kept by an audit chain."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import numpy as np

from features.online_store import RedisOnlineStore
from models.manifest import Calibration
from models.online import OnlineLearner, OnlineSettings
from models.registry import Registry
from scoring.audit_artefacts import Artefacts, policy_key
from scoring.audit_sources import Sources
from scoring.ledger import Ledger
from scoring.live_models import LiveModels, ModelFeed
from scoring.policy_budget import OwnBudget
from scoring.policy_file import load_policy
from scoring.recompute import Recomputer
from scoring.rule_feed import RuleFeed
from scoring.rule_log import RuleLog
from scoring.rule_steps import Listed, Snoozed, Unlisted
from scoring.rules import read_rules
from scoring.scorer import Scorer
from scoring.use_case import FRAUD
from stream.chain import Chain
from stream.connection import RedisConnection
from stream.decision_keeper import keep
from stream.log import Partition
from stream.records import Decision
from stream.redis_log import RedisLog
from tests.scoring.conftest import MANIFEST, NAMES, PLAN, TTL_MS, payment
from tests.scoring.test_rule_feed import life, now
from training.publisher import RedisPublisher

KEY = "draws"


def card(number: int) -> str:
    """One of nine cards, by a name that stands nowhere by chance."""
    return f"card-{number}-of-ours"


PARTITIONS = 2


@dataclass
class Office:
    """All that is needed to score, to keep and to replay."""

    scorer: Scorer
    models: ModelFeed
    rules: RuleFeed
    book: RuleLog
    learner: OnlineLearner
    publisher: RedisPublisher
    registry: Registry
    chain: Chain
    log: RedisLog
    artefacts: Artefacts
    random: Random

    def score(self, event_id: str, **fields: Any) -> Decision:
        """Score one payment, patiently."""
        return self.scorer.score(payment(event_id, **fields), 60_000.0)

    def learn(self, labels: int) -> None:
        """Teach the online model, publish it, and let the scorer have it."""
        for _ in range(labels):
            vector = np.array([self.random.uniform(0, 3000) for _ in NAMES])
            self.learner.observe(vector)
            self.learner.learn_one(vector, vector[0] > 1500)
        self.publisher.send_weights(self.learner.to_weights())
        self.publisher.send_heartbeat()
        self.models.refresh()

    def take_feedback(self) -> None:
        """Let a feedback model be champion, and the scorer have it."""
        manifest = msgspec.structs.replace(
            self.registry.manifest("fraud", self.registry.resolve("fraud")),
            name="fraud-feedback",
            version="fresh",
            created_at=now(),
            calibration=Calibration(0.8, -1.0),
        )
        content, _ = self.registry.content("fraud", self.registry.resolve("fraud"))
        self.registry.alias("fraud-feedback", "champion", self.registry.register(content, manifest))
        self.models.refresh()

    def keep(self) -> None:
        """What the keeper does, once."""
        parts = [Partition(Decision.topic, number) for number in range(PARTITIONS)]
        keep(self.chain, self.log.name, {part: self.log.read(part, 0, 10_000) for part in parts}, self.artefacts)

    def recomputer(self, key: str = KEY, chain: Chain | None = None) -> tuple[Sources, Recomputer]:
        """As `headrace audit replay` has it."""
        sources = Sources(chain or self.chain)
        return sources, Recomputer(FRAUD, sources, self.registry, key)


def strict_policy(folder: Path) -> Path:
    """Analysts who are busy soon, and every tenth would-be decline let through."""
    text = FRAUD.policy.read_text()
    text = text.replace("backlog_minutes = 6000.0", "backlog_minutes = 60.0").replace("share = 0.0", "share = 0.1")
    text = text.replace("largest_amount = 100.0", "largest_amount = 1e6").replace(
        "daily_limit = 100", "daily_limit = 3"
    )
    path = folder / "policy.toml"
    path.write_text(text)
    return path


@contextmanager
def open_office(folder: Path, url: str, artifact: bytes) -> Iterator[Office]:
    """Everything over an empty Redis, with a registered champion."""
    registry = Registry(folder / "models")
    manifest = msgspec.structs.replace(MANIFEST, version="")
    registry.alias("fraud", "champion", registry.register(artifact, manifest))
    settings = OnlineSettings(warm_up=5, min_labels=5)
    learner = OnlineLearner(NAMES, definition_hash=FRAUD.features.definition_hash, settings=settings)
    connection, second = RedisConnection(url), RedisConnection(url)
    models = ModelFeed("fraud", FRAUD.features.definition_hash, registry, url)
    book = RuleLog(RedisConnection(url), "fraud", read_rules(FRAUD.rules), FRAUD.features)
    rules = RuleFeed(RuleLog(RedisConnection(url), "fraud", read_rules(FRAUD.rules), FRAUD.features))
    policy = load_policy(strict_policy(folder), FRAUD.source, KEY)
    policy.budget = OwnBudget(policy.analysts, policy.let_through.daily_limit)
    second.one("SET", policy_key("fraud", policy.version), (folder / "policy.toml").read_bytes())
    ledger = Ledger(connection, RedisOnlineStore(connection, PLAN, TTL_MS), PARTITIONS, 60_000, 10_000, 1000)
    chain = Chain(folder / "audit", segment_bytes=200_000)
    office = Office(
        Scorer(FRAUD, ledger, lambda: models.current, policy, rules),
        models,
        rules,
        book,
        learner,
        RedisPublisher(second),
        registry,
        chain,
        RedisLog(url, partitions=PARTITIONS),
        Artefacts(second, chain, [FRAUD], None),
        Random(5),
    )
    models.refresh()
    try:
        yield office
    finally:
        models.stop()
        rules.stop()
        chain.close()
        office.log.close()
        for opened in (connection, second, book.connection):
            opened.close()


def score_varied(office: Office, count: int = 200) -> list[Decision]:
    """Payments of all kinds while rules, lists, snoozes, weights and what is there change; some answers degraded."""
    decisions = [office.score("unread-book", amount=1900.0)]
    whole = office.models.current
    deny: dict[str, Any] = {"list": "deny", "field": "card_id", "by": "ann"}
    changes: dict[int, Any] = {
        10: lambda: office.learn(40),
        20: lambda: [office.book.append(step) for step in life("amount > 800", "mine", action="review")],
        30: lambda: office.book.append(
            Listed(at=now(), values=(card(1), card(2)), until=now() + timedelta(seconds=0.4), **deny)
        ),
        45: lambda: time.sleep(0.4),
        50: office.take_feedback,
        60: lambda: office.learn(7),
        70: lambda: office.book.append(
            Snoozed(at=now(), by="ann", name="mine", field="card_id", value=card(3), until=now() + timedelta(hours=1))
        ),
        80: lambda: [office.book.append(step) for step in life("amount > 10", "more", action="add", add=0.05)],
        90: lambda: [office.book.append(step) for step in life("amount > 400", "mark", action="tag", tag="big")],
        95: lambda: [office.book.append(step) for step in life("amount > 900", "quiet")[:3]],
        100: lambda: office.book.append(Listed(at=now(), values=(card(4),), until=None, **{**deny, "list": "allow"})),
        110: lambda: office.book.append(Unlisted(at=now(), values=(card(4),), **{**deny, "list": "allow"})),
        120: lambda: office.book.append(Listed(at=now(), values=(card(5),), until=None, **deny)),
        130: lambda: office.learn(3),
    }
    gone = {
        140: LiveModels(),
        145: LiveModels(online=whole.online),
        150: LiveModels(whole.batch, None, 0.0, whole.read),
    }
    for number in range(count):
        if change := changes.get(number):
            change()
            office.rules.refresh()
        if number in gone:
            missing = gone[number]
            office.scorer.models = lambda missing=missing: missing  # type: ignore[misc]
        elif number == 155:
            present = office.models.current
            stale = LiveModels(present.batch, present.online, time.monotonic() - 1e6, present.read)
            office.scorer.models = lambda stale=stale: stale  # type: ignore[misc]
        elif number == 158:
            old = replace(office.models.current, feedback_at_s=time.time() - 31 * 86_400.0)
            office.scorer.models = lambda old=old: old  # type: ignore[misc]
        elif number == 160:
            office.scorer.models = lambda: office.models.current
        amount = office.random.choice([5.0, 60.0, 450.0, 990.0, 1010.0, 1500.0, 1999.99, 2500.0])
        amount += round(office.random.random(), 2)
        deadline_ms = 0.01 if number % 40 == 39 else 60_000.0
        record = payment(
            f"e{number}",
            amount=amount,
            card_id=card(number % 9),
            merchant_id=f"m{number % 5}",
            device_id=None if number % 7 == 0 else f"d{number % 3}",
            event_timestamp=payment().event_timestamp + timedelta(minutes=number),
        )
        decisions.append(office.scorer.score(record, deadline_ms))
    return decisions
