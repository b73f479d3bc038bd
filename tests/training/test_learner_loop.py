from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep
from typing import Any

import msgspec
import pytest

from models.online import OnlineLearner
from models.snapshot import ALIVE_EXPIRY_MS, OnlineSettings, OnlineSnapshot, OnlineWeights, alive_key
from stream.connection import RedisConnection, RedisUnavailable
from stream.log import Message, Partition, message_of
from stream.records import DeadLetter, Decision, Label, decode, encode
from stream.redis_log import RedisLog
from tests.until import LIMIT_S
from training import learner_acts
from training.learner import DelayedLearner
from training.learner_kept import Snapshot
from training.learner_loop import GROUP, TOPICS, BoundedSending, catch_up, learn_forever, learn_once
from training.learner_report import LearnerReport
from training.learner_store import LearnerStore
from training.publisher import Publisher, RedisPublisher, metrics_key, model_key

Make = Callable[..., Decision]
Verdicts = Callable[..., Label]
EVENTS = 40
PLACES = [Partition(topic, number) for topic in TOPICS for number in range(2)]


class Crash(RuntimeError):
    """The process ends here."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "learner.sqlite"


def start(path: Path | str) -> tuple[LearnerStore, DelayedLearner]:
    store = LearnerStore(path)
    settings = OnlineSettings(warm_up=3)
    return store, DelayedLearner(store, OnlineLearner(("amount", "count"), definition_hash="h", settings=settings))


def fill(log: Any, decision: Make, label: Verdicts) -> None:
    """Decisions and labels with all that happens to records: repeats, reversals, labels sent before, unknown."""
    log.send(*(label(f"e{number}", "fraud") for number in range(EVENTS - 12, EVENTS, 4)))
    for number in range(EVENTS):
        name = f"e{number}"
        made = decision(name, [float(number), None if number % 5 == 0 else 1.0], score=number / EVENTS)
        verdict = label(name, "fraud" if number % 4 == 0 else "legit")
        if number % 3 == 0:
            log.send(verdict)
        log.send(made)
        if number % 3:
            log.send(verdict)
        if number % 7 == 0:
            log.send(made, verdict, label(name, "unknown", hour=1))
        if number % 11 == 0:
            log.send(label(name, "legit", hour=2))


def drain(path: Path | str, log: Any) -> tuple[OnlineWeights, LearnerReport]:
    """One process that works until there is nothing left."""
    store, learner = start(path)
    with closing(store):
        catch_up(learner, log, Event(), 8)
        consumer = log.consumer(GROUP, TOPICS)
        while any(learner.offset(log.name, part) < log.end(part) for part in PLACES):
            learn_once(learner, log, consumer, 8, 0)
        return learner.weights(), learner.report()


@pytest.fixture
def clean(new_log: Callable[[], Any], decision: Make, label: Verdicts) -> tuple[OnlineWeights, LearnerReport]:
    """What one pass without a crash leaves."""
    log = new_log()
    fill(log, decision, label)
    return drain(":memory:", log)


def test_a_clean_pass_learns_every_verdict_once(clean: tuple[OnlineWeights, LearnerReport]) -> None:
    counters = clean[1].counters
    reversals = sum(number % 11 == 0 and number % 4 == 0 for number in range(EVENTS))
    assert (counters.reversed, counters.learned) == (reversals, EVENTS + reversals)
    assert (counters.waiting, counters.kept_early) == (0, 0)  # decisions that are in the log come first


def test_a_label_that_is_in_the_log_before_its_decision_is_learned_when_that_comes(
    path: Path, log: Any, decision: Make, label: Verdicts
) -> None:
    log.send(decision("a"), label("b", "fraud"), label("a", "legit"))
    assert drain(path, log)[1].counters.early == 1
    log.send(decision("b"))
    counters = drain(path, log)[1].counters
    assert (counters.early, counters.learned, counters.kept_early) == (0, 2, 1)


STEPS = [
    "add_decision",
    "add_applied",
    "put_labelled",
    "set_verdict",
    "drop_decisions",
    "save_offsets",
    "save_state",
]


@pytest.mark.parametrize(
    ("step", "nth"), [*((step, nth) for step in STEPS for nth in (1, 2, 5)), ("unobserved", 1), ("drop_unobserved", 1)]
)
def test_a_crash_inside_the_transaction_leaves_what_a_clean_pass_leaves(
    step: str,
    nth: int,
    path: Path,
    log: Any,
    decision: Make,
    label: Verdicts,
    clean: tuple[OnlineWeights, LearnerReport],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill(log, decision, label)
    original, calls = getattr(LearnerStore, step), iter(range(1, 1000))

    def crashing(*args: object, **named: object) -> object:
        answer = original(*args, **named)
        if next(calls) == nth:
            raise Crash
        return answer

    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(LearnerStore, step, crashing)
        drain(path, log)
    assert drain(path, log) == clean


@pytest.mark.parametrize("crashes", [1, 2, 3])
def test_a_crash_between_the_transaction_and_the_log_leaves_what_a_clean_pass_leaves(
    crashes: int, path: Path, log: Any, decision: Make, label: Verdicts, clean: tuple[OnlineWeights, LearnerReport]
) -> None:
    fill(log, decision, label)
    log.failing_commits = crashes
    for _ in range(crashes):
        with pytest.raises(ConnectionAbortedError):
            drain(path, log)
    assert drain(path, log) == clean


def test_a_file_older_than_the_log_s_offsets_reads_what_it_missed(
    path: Path, log: Any, decision: Make, label: Verdicts, clean: tuple[OnlineWeights, LearnerReport]
) -> None:
    fill(log, decision, label)
    drain(path, log)
    path.unlink()
    for leftover in path.parent.glob("learner.sqlite-*"):
        leftover.unlink()
    assert drain(path, log) == clean


def test_a_log_that_was_emptied_is_read_from_its_new_beginning(
    path: Path, new_log: Callable[[], Any], decision: Make, label: Verdicts
) -> None:
    first, second = new_log(), new_log()
    fill(first, decision, label)
    drain(path, first)
    second.send(decision("new"), label("new", "fraud"))
    learned = drain(path, second)[1].counters.learned
    assert learned == drain(":memory:", first_again(new_log, decision, label))[1].counters.learned + 1


def first_again(new_log: Callable[[], Any], decision: Make, label: Verdicts) -> Any:
    log = new_log()
    fill(log, decision, label)
    return log


def test_what_cannot_be_read_becomes_a_dead_letter_and_the_partition_goes_on(
    log: Any, decision: Make, label: Verdicts
) -> None:
    misplaced = encode(label("a", "fraud"))
    log.append([Message("labels", "a", b"{nonsense"), Message("decisions", "a", misplaced)])
    log.send(decision("a"), label("a", "fraud"))
    log.append([Message("decisions", "a", b"")])
    report = drain(":memory:", log)[1]
    entries = [entry for part, all_of_it in log.entries.items() if part.topic == "dead-letters" for entry in all_of_it]
    letters: list[DeadLetter] = [decode(entry.value, DeadLetter) for entry in entries]
    assert sorted(letter.payload for letter in letters) == sorted([b"", b"{nonsense", misplaced])
    assert (report.counters.learned, report.counters.refused) == (1, 3)


def test_publishing_is_bounded_and_the_last_news_still_goes_out() -> None:
    sent: list[float] = []
    now = [0.0]
    sending = BoundedSending(lambda: sent.append(now[0]), 1.0, clock=lambda: now[0])
    for now[0], news in [(0.0, False), (0.1, True), (0.9, True), (1.1, False), (5.0, False)]:
        sending.offer(news)
    assert sent == [0.0, 1.1]


def test_redis_gone_does_not_stop_the_learner_and_is_tried_again() -> None:
    tries: list[int] = []

    def gone() -> None:
        tries.append(1)
        raise RedisUnavailable("gone")

    sending = BoundedSending(gone, 0.0)
    sending.offer(True)
    sending.offer(False)
    assert len(tries) == 2


@pytest.fixture
def redis_log(redis_db: str) -> Iterator[RedisLog]:
    with closing(RedisLog(redis_db, partitions=2)) as opened:
        yield opened


class Keeping:
    """A publisher that keeps what it was sent."""

    def __init__(self) -> None:
        self.weights: list[OnlineWeights] = []
        self.reports: list[LearnerReport] = []
        self.heartbeats = 0

    def send_weights(self, weights: OnlineWeights) -> None:
        self.weights.append(weights)

    def send_report(self, report: LearnerReport) -> None:
        self.reports.append(report)

    def send_heartbeat(self) -> None:
        self.heartbeats += 1


def run(learner: DelayedLearner, log: Any, publish: Publisher, until: Callable[[], bool]) -> None:
    stop = Event()
    often = {"poll_timeout_ms": 20, "publish_interval_s": 0.05, "report_interval_s": 0.05, "retry_s": 0.05}
    often["heartbeat_interval_s"] = 0.05
    thread = Thread(target=learn_forever, args=(learner, log, stop), kwargs={"publish": publish, **often})
    thread.start()
    deadline = monotonic() + LIMIT_S
    while not until() and monotonic() < deadline:
        sleep(0.02)
    stop.set()
    thread.join(LIMIT_S)
    assert until()


def test_over_real_redis_a_scorer_finds_what_was_learned(
    path: Path, redis_db: str, redis_log: RedisLog, decision: Make, label: Verdicts
) -> None:
    records: list[Decision | Label] = [decision("a", [1.0, 2.0]), decision("b", [9.0, 2.0])]
    records += [label("a", "legit"), label("b", "fraud")]
    redis_log.append([message_of(record) for record in records])
    store, learner = start(path)
    with closing(store), RedisConnection(redis_db) as connection, RedisConnection(redis_db) as reader:

        def learned() -> bool:
            report = reader.one("GET", metrics_key("fraud"))
            return report is not None and msgspec.json.decode(report, type=LearnerReport).counters.learned == 2

        run(learner, redis_log, RedisPublisher(connection), learned)
        snapshot = OnlineSnapshot(OnlineWeights.from_json(reader.one("GET", model_key("fraud"))))
        assert snapshot.version == "1.2"
        assert snapshot.weights == learner.weights()


def test_a_learner_without_news_still_says_that_it_is_alive(log: Any) -> None:
    store, learner = start(":memory:")
    kept = Keeping()
    run(learner, log, kept, lambda: kept.heartbeats > 3)
    assert len(kept.weights) == 1  # the first, since Redis may know nothing
    store.close()


def test_a_learner_that_cannot_work_does_not_say_that_it_is_alive(
    log: Any, decision: Make, label: Verdicts, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.send(decision("a"), label("a", "fraud"))
    store, learner = start(":memory:")
    tries: list[object] = []

    def failing(*args: Any) -> None:
        tries.append(args)
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(store, "save_state", failing)
    kept = Keeping()
    run(learner, log, kept, lambda: len(tries) > 3)
    assert kept.heartbeats == 0
    store.close()


def test_the_sign_of_life_ends_by_itself(redis_db: str) -> None:
    with RedisConnection(redis_db) as connection:
        RedisPublisher(connection).send_heartbeat()
        assert 0 < ALIVE_EXPIRY_MS - connection.one("PTTL", alive_key("fraud")) + 1 < 600_000


def test_a_disk_that_fails_for_a_while_is_waited_for(
    log: Any, decision: Make, label: Verdicts, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.send(decision("a"), label("a", "fraud"))
    store, learner = start(":memory:")
    original, failures = store.save_state, [1, 1]

    def failing(*args: Any) -> None:
        if failures:
            failures.pop()
            raise sqlite3.OperationalError("database or disk is full")
        original(*args)

    monkeypatch.setattr(store, "save_state", failing)
    kept = Keeping()
    run(learner, log, kept, lambda: any(each.counters.learned == 1 for each in kept.reports))
    store.close()


def test_a_new_file_reads_what_the_group_had_committed(log: Any, decision: Make, label: Verdicts) -> None:
    log.send(decision("a"), label("a", "fraud"))
    drain(":memory:", log)
    store, learner = start(":memory:")
    kept = Keeping()
    run(learner, log, kept, lambda: any(each.learned_fraud == 1 for each in kept.weights))
    store.close()


def test_restored_weights_are_published_though_nothing_new_comes(
    path: Path, log: Any, decision: Make, label: Verdicts
) -> None:
    log.send(decision("a"), label("a", "fraud"))
    store, learner = start(path)
    first = Snapshot(version="1.0", learned=0, at_us=0, definition_hash="h", quality=None)
    store.kept.add_snapshot(first, learner.weights(), keep=5)
    kept = Keeping()
    acts: list[str] = []

    def restored() -> bool:
        if kept.weights and kept.weights[-1].version == "1.1" and not acts:
            with closing(LearnerStore(path)) as other:
                acts.append(learner_acts.restore(other, "1.0", "ana", "why", datetime(2026, 2, 1, tzinfo=UTC)))
        return bool(acts) and kept.weights[-1].version == acts[0]

    run(learner, log, kept, restored)
    assert acts == ["1r1.0"]
    store.close()


def test_a_frozen_learner_publishes_no_weights_but_that_it_is_alive_and_why(
    path: Path, log: Any, decision: Make, label: Verdicts
) -> None:
    log.send(decision("a"), label("a", "fraud"))
    store, learner = start(path)
    kept = Keeping()
    frozen: list[int] = []

    def stood() -> bool:
        if kept.weights and kept.weights[-1].version == "1.1" and not frozen:
            with closing(LearnerStore(path)) as other:
                learner_acts.freeze(other, "ana", "why", datetime(2026, 2, 1, tzinfo=UTC))
            log.send(decision("b", [9.0, 9.0]), label("b", "fraud"))
            frozen.append(kept.heartbeats)
        came = any(each.counters.frozen == 1 and each.frozen for each in kept.reports)
        return came and kept.heartbeats > frozen[0] + 3

    run(learner, log, kept, stood)
    assert kept.weights[-1].version == "1.1"
    assert kept.reports[-1].counters.learned == 1
    store.close()
