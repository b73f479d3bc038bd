"""Everything is started, the worker is killed in the middle, and the outcome is that of one clean pass."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.declared import all_views
from features.feature_set import EntityRef
from features.history import History
from features.online_store import MemoryOnlineStore
from features.worker import Folder
from headrace.assembly import open_log, open_online_store, open_outbox, open_scorer
from headrace.settings import Settings
from headrace.stack import Stack
from models.online import OnlineLearner
from models.snapshot import OnlineWeights
from scoring.use_case import FRAUD
from stream.connection import RedisConnection
from stream.embedded_redis import EmbeddedRedis
from stream.kafka_node import KafkaNode
from stream.log import Entry, Log, Partition, lag
from stream.played import Played
from stream.records import Decision, Label, Transaction, decode, encode, micros
from tests.patient import DEADLINE, ask_over, connected
from tests.until import until
from training.intake import take_in
from training.learner import DelayedLearner
from training.learner_store import LearnerStore
from training.publisher import model_key

pytestmark = pytest.mark.slow


class Client:
    """One kept-alive connection, as a payment system would hold it."""

    def __init__(self, url: str) -> None:
        self.link = connected(url)

    def send(self, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
        status, _, content = ask_over(self.link, method, path, body)
        return status, json.loads(content)


@pytest.fixture
def stack(home: Path) -> Iterator[Stack]:
    """Its outcomes follow from the payments alone: analysts' minutes, which the clock refills, are not bounded."""
    unbounded = re.sub(r"(?ms)^\[analysts\].*?(?=^\[)", "", FRAUD.policy.read_text())
    (home / "policy.toml").write_text(unbounded)
    with Stack(Settings({"home": home, "policy": str(home / "policy.toml"), "deadline": DEADLINE}, {})) as running:
        running.start_redis()
        yield running


def drained(log: Log, group: str, topic: str) -> Callable[[], bool]:
    return lambda: not any(lag(log, group, topic).values())


def labels_for(payments: list[Played]) -> list[Label]:
    return [
        Label(
            event_id=one.transaction.event_id,
            label="fraud" if one.fraud else "legit",
            labelled_at=one.transaction.event_timestamp + timedelta(days=5),
        )
        for one in payments
    ]


def test_a_killed_worker_leaves_what_a_clean_pass_leaves(
    stack: Stack, payments: list[Played], tmp_path: Path, home: Path
) -> None:
    with ExitStack() as opened:
        play_kill_and_compare(stack, payments, tmp_path, home, opened)


@pytest.mark.kafka
def test_the_same_holds_when_the_log_is_kafka(
    stack: Stack, payments: list[Played], tmp_path: Path, home: Path, kafka_node: KafkaNode
) -> None:
    stack.use_kafka(kafka_node.bootstrap)
    with ExitStack() as opened:
        play_kill_and_compare(stack, payments, tmp_path, home, opened)


def play_kill_and_compare(stack: Stack, payments: list[Played], tmp_path: Path, home: Path, opened: ExitStack) -> None:
    payments = payments[:500]
    stack.start_workers()
    stack.start("learner", "learn")
    client = Client(stack.start_service())
    opened.callback(client.link.close)
    answers: dict[str, dict[str, Any]] = {}
    for number, one in enumerate(payments):
        if number == len(payments) // 2:
            stack.children["worker-0"].kill()
        if number == len(payments) * 3 // 4:
            stack.start("worker-1", "worker")
        status, answer = client.send("POST", "/fraud/score", encode(one.transaction))
        assert status == 200, answer
        assert answer["degraded"] == []
        answers[one.transaction.event_id] = answer
        if number % 10 == 0:
            assert client.send("POST", "/fraud/score", encode(one.transaction)) == (200, answer)
    outbox = opened.enter_context(closing(open_outbox(stack.settings)))
    log = opened.enter_context(closing(open_log(stack.settings)))

    def wait_for(group: str, topic: str) -> None:
        if stack.settings.kafka:
            until(drained(outbox, "relay", topic))
        until(drained(log, group, topic))

    wait_for("learner", "decisions")
    labels = labels_for(payments[:300])
    for label in labels:
        assert client.send("POST", "/labels", encode(label)) == (
            202,
            {"event_id": label.event_id, "status": "accepted"},
        )
    wait_for("learner", "labels")
    connection = opened.enter_context(RedisConnection(stack.settings.redis))

    def learned() -> OnlineWeights:
        return OnlineWeights.from_json(connection.one("GET", model_key(FRAUD.name)))

    until(lambda: learned().learned_fraud + learned().learned_legit == len(labels))
    stack.children["learner"].stop(60)
    weights = learned()

    # Meanwhile the lease of the killed worker runs out, and the other has all.
    clean = CleanPass(home, tmp_path / "clean", [one.transaction for one in payments])
    wait_for("worker", "transactions")
    wait_for("worker", "labels")
    for event_id, decision in clean.decisions.items():
        served = answers[event_id]
        assert served["vector"] == [None if v is None else pytest.approx(v, rel=1e-12) for v in decision.vector]
        assert (served["outcome"], served["scores"]["batch"]) == (
            decision.outcome,
            {"version": decision.scores["batch"].version, "score": pytest.approx(decision.scores["batch"].score)},
        )
    enriched: list[Label] = [decode(entry.value, Label) for entry in entries(log, "labels")]
    assert [label.event_id for label in enriched] == [label.event_id for label in labels]
    clean.take(enriched)
    store = open_online_store(stack.settings)
    opened.enter_context(store.connection)
    assert features_of(store, payments) == features_of(clean.store, payments)
    assert close(weights, clean.learn(tmp_path / "clean.sqlite", enriched))


class CleanPass:
    """The same transactions, one after another, each folded before the next; no process but this one."""

    def __init__(self, home: Path, directory: Path, transactions: list[Transaction]) -> None:
        self.store = MemoryOnlineStore()
        self.decisions: dict[str, Decision] = {}
        self.offset = 0
        self.folder = Folder(self.store, all_views(), "clean")
        with EmbeddedRedis(directory) as server:
            settings = Settings({"home": home, "policy": str(home / "policy.toml"), "redis": server.url}, {})
            scorer, feed = open_scorer(settings, FRAUD)
            feed.start()
            redis_store = open_online_store(settings)
            redis_folder = Folder(redis_store, all_views(), "clean")
            for transaction in transactions:
                self.decisions[transaction.event_id] = scorer.score(transaction, deadline_ms=60_000)
                self._fold(transaction, redis_folder)
            feed.stop()
            scorer.ledger.connection.close()
            redis_store.connection.close()

    def take(self, labels: list[Label]) -> None:
        for label in labels:
            self._fold(label, self.folder, only=True)

    def _fold(self, record: Transaction | Label, folder: Folder, only: bool = False) -> None:
        batch = {Partition(record.topic, 0): [Entry(self.offset, record.key, encode(record))]}
        self.offset += 1
        folder.fold(batch)
        if not only:
            self.folder.fold(batch)

    def learn(self, path: Path, labels: list[Label]) -> OnlineWeights:
        beginning = OnlineLearner(FRAUD.features.names, definition_hash=FRAUD.features.definition_hash)
        store = LearnerStore(path)
        learner = DelayedLearner(store, beginning)
        records: list[tuple[str, Decision | Label]] = [("decisions", one) for one in self.decisions.values()]
        records += [("labels", label) for label in labels]
        for number, (topic, record) in enumerate(records):
            polled = {Partition(topic, 0): [Entry(number, record.key, encode(record))]}
            learner.apply(take_in(polled, lambda part: learner.offset("clean", part)), "clean")
        store.close()
        return learner.weights()


def entries(log: Log, topic: str) -> list[Any]:
    return [
        entry for number in range(log.partitions(topic)) for entry in log.read(Partition(topic, number), 0, 1_000_000)
    ]


def features_of(store: Any, payments: list[Played]) -> dict[EntityRef, dict[str, list[float | None]]]:
    at_us = micros(payments[-1].transaction.event_timestamp)
    found: dict[EntityRef, dict[str, list[float | None]]] = {}
    refs = sorted({ref for one in payments for ref in FRAUD.features.refs(one.transaction)})
    for ref, entity in zip(refs, store.read(refs), strict=True):
        assert not entity.pending
        found[ref] = {
            view.name: [
                None if np.isnan(value) else round(value, 9)
                for value in FRAUD.features.read_view(
                    view.name, History.decode(view, entity.states.get(view.name)), at_us
                ).tolist()
            ]
            for view in FRAUD.features.views
            if view.entity == ref.entity
        }
    return found


def close(left: OnlineWeights, right: OnlineWeights) -> bool:
    assert (left.steps, left.learned_fraud, left.learned_legit) == (
        right.steps,
        right.learned_fraud,
        right.learned_legit,
    )
    assert left.learned_legit > 250
    assert left.coefficients == pytest.approx(right.coefficients, rel=1e-9, abs=1e-12)
    assert left.intercept == pytest.approx(right.intercept, rel=1e-9)
    return True
