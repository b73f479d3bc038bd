"""Everything is started, the worker is killed in the middle, and the outcome is that of one clean pass."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from features.feature_set import EntityRef
from features.history import History
from features.online_store import MemoryOnlineStore
from features.worker import Folder
from headrace.assembly import all_views, open_log, open_online_store, open_outbox, open_scorer
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
from training.intake import take_in
from training.learner import DelayedLearner
from training.learner_store import LearnerStore
from training.publisher import metrics_key, model_key

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("stack")]


class Client:
    """One kept-alive connection, as a payment system would hold it."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self.link = http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)

    def send(self, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
        self.link.request(method, path, body, {"content-type": "application/json", "x-deadline-ms": "9000"})
        answer = self.link.getresponse()
        content = answer.read()
        return answer.status, json.loads(content)


def until(true: Callable[[], bool], limit_s: float = 60.0) -> None:
    end = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


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

    wait_for("worker", "transactions")
    wait_for("learner", "decisions")
    labels = labels_for(payments[:500])
    for label in labels:
        assert client.send("POST", "/labels", encode(label)) == (
            202,
            {"event_id": label.event_id, "status": "accepted"},
        )
    wait_for("worker", "labels")
    wait_for("learner", "labels")
    connection = opened.enter_context(RedisConnection(stack.settings.redis))
    report_key, weights_key = metrics_key(FRAUD.name), model_key(FRAUD.name)
    until(lambda: b'"learned":500' in (connection.one("GET", report_key) or b""))
    stack.children["learner"].stop(10)
    weights = OnlineWeights.from_json(connection.one("GET", weights_key))

    clean = CleanPass(home, tmp_path / "clean", [one.transaction for one in payments])
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
            settings = Settings({"home": home, "redis": server.url}, {})
            scorer, feed = open_scorer(settings, FRAUD)
            feed.start()
            redis_store = open_online_store(settings)
            redis_folder = Folder(redis_store, all_views(), "clean")
            for transaction in transactions:
                self.decisions[transaction.event_id] = scorer.score(transaction, deadline_ms=5000)
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
    assert left.learned_legit > 400
    assert left.coefficients == pytest.approx(right.coefficients, rel=1e-9, abs=1e-12)
    assert left.intercept == pytest.approx(right.intercept, rel=1e-9)
    return True
