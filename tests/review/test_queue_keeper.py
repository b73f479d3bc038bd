from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from review.case import Case
from review.case_store import CaseStore
from review.queue_keeper import GROUP, TOPIC, catch_up, forward_labels, keep_forever, keep_once
from stream.log import LogUnavailable, Message, Partition, lag, message_of
from stream.records import DeadLetter, Decision, Label, Record, decode, encode
from stream.redis_log import RedisLog
from tests.until import LIMIT_S, until

Make = Callable[..., Decision]
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
NOW = datetime.now(UTC)
CARDS = ("ann", "bea", "cid")


class Crash(RuntimeError):
    """The process ends here."""


@pytest.fixture
def place(path: Path) -> str:
    """One database is enough here: what the store promises is tested elsewhere, on both."""
    return str(path)


@pytest.fixture
def log(redis_db: str) -> Iterator[RedisLog]:
    with closing(RedisLog(redis_db, partitions=2)) as opened:
        yield opened


def send(log: RedisLog, *records: Record) -> None:
    log.append([message_of(record) for record in records])


def sent_on(log: RedisLog, topic: str, kind: type[Any]) -> list[Any]:
    every = [log.read(Partition(topic, number), 0, 1000) for number in range(log.partitions(topic))]
    return [decode(entry.value, kind) for entries in every for entry in entries]


def labels_of(log: RedisLog) -> list[Label]:
    return sent_on(log, Label.topic, Label)


def drain(store: CaseStore, log: RedisLog) -> None:
    """One process that works until there is nothing left."""
    catch_up(store, log, Event(), 4)
    with closing(log.consumer(GROUP, [TOPIC])) as consumer:
        keep_once(store, log, consumer, 4, 20)
        while any(lag(log, GROUP, TOPIC).values()):
            keep_once(store, log, consumer, 4, 20)


def test_decisions_become_cases_and_the_log_knows_how_far(store: CaseStore, log: RedisLog, decision: Make) -> None:
    send(log, decision("e1", "ann"), decision("e2", "bea", outcome="approve"), decision("e3", "ann", hour=1))
    drain(store, log)
    assert [case.events for case in store.queue()] == [("e1", "e3")]
    assert not any(lag(log, GROUP, TOPIC).values())


def test_a_verdict_leaves_as_labels_in_the_partition_of_labels(store: CaseStore, log: RedisLog, decision: Make) -> None:
    send(log, decision("e1"), decision("e2", hour=1))
    drain(store, log)
    labels = store.decide(store.queue()[0].case_id, "fraud", "ann", NOON)
    drain(store, log)
    assert labels_of(log) == labels
    assert store.unsent(10, NOW) == []
    drain(store, log)
    assert labels_of(log) == labels


def test_labels_leave_in_the_order_of_the_verdicts_however_many(
    store: CaseStore, log: RedisLog, decision: Make
) -> None:
    store.take_in([decision(f"e{number}") for number in range(25)], {})
    case_id = store.queue()[0].case_id
    given = store.decide(case_id, "fraud", "ann", NOON) + store.decide(case_id, "legit", "bob", NOON)
    assert forward_labels(store, log, limit=7) == 50
    assert labels_of(log) == given


def test_what_cannot_be_read_becomes_a_dead_letter_and_the_partition_goes_on(
    store: CaseStore, log: RedisLog, decision: Make
) -> None:
    stray = Label(event_id="e9", label="fraud", labelled_at=NOON)
    log.append([Message(TOPIC, "card", b"{nonsense"), Message(TOPIC, "card", encode(stray))])
    send(log, decision("e1"))
    drain(store, log)
    letters: list[DeadLetter] = sent_on(log, DeadLetter.topic, DeadLetter)
    assert [letter.payload for letter in letters] == [b"{nonsense", encode(stray)]
    assert all(letter.event_id == f"review/{TOPIC}/{letter.partition}/{letter.offset}" for letter in letters)
    assert [case.events for case in store.queue()] == [("e1",)]


# Crashes: whatever step the keeper dies before or after, another that starts from the same file ends at the same place.


class Fragile:
    """Counts the steps of a cycle and dies before or after the chosen one."""

    def __init__(self, dies_at: int, after: bool) -> None:
        self.dies_at = dies_at
        self.after = after
        self.steps: list[str] = []

    def step(self, name: str, act: Callable[[], Any]) -> Any:
        self.steps.append(name)
        dies = len(self.steps) == self.dies_at
        if dies and not self.after:
            raise Crash
        answer = act()
        if dies:
            raise Crash
        return answer


class FragileConsumer:
    """A real consumer whose commits are steps."""

    def __init__(self, consumer: Any, fragile: Fragile) -> None:
        self._consumer = consumer
        self._fragile = fragile

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)

    def commit(self, next_offsets: Mapping[Partition, int]) -> None:
        self._fragile.step("commit", lambda: self._consumer.commit(next_offsets))


class FragileLog(RedisLog):
    """A real log whose writes are steps."""

    fragile: Fragile

    def append(self, messages: Sequence[Message]) -> None:
        self.fragile.step(f"append {messages[0].topic}", lambda: super(FragileLog, self).append(messages))

    def consumer(self, *args: Any) -> Any:
        return FragileConsumer(super().consumer(*args), self.fragile)


class FragileStore(CaseStore):
    """A real store whose transactions are steps."""

    fragile: Fragile

    def take_in(self, *args: Any) -> Any:
        return self.fragile.step("take in", lambda: super(FragileStore, self).take_in(*args))

    def mark_sent(self, labels: Sequence[Label]) -> None:
        self.fragile.step("mark sent", lambda: super(FragileStore, self).mark_sent(labels))


CYCLE = ["append dead-letters", "take in", "commit", "append labels", "mark sent"]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", CYCLE)
def test_a_crash_at_any_step_loses_nothing_and_doubles_nothing(
    step: str, after: bool, path: Path, log: RedisLog, decision: Make
) -> None:
    with closing(CaseStore(path)) as store:
        store.take_in([decision("early")], {})
        labels = store.decide(store.queue()[0].case_id, "fraud", "ann", NOON)
    flags = [decision(f"{card}{number}", card, hour=number) for number in range(3) for card in CARDS]
    log.append([Message(TOPIC, "ann", b"{nonsense")])
    send(log, *flags)
    fragile = Fragile(CYCLE.index(step) + 1, after)
    fragile_log = FragileLog(log.url, partitions=2)
    FragileLog.fragile = FragileStore.fragile = fragile
    with (
        closing(fragile_log),
        closing(FragileStore(path)) as store,
        closing(fragile_log.consumer(GROUP, [TOPIC])) as consumer,
        pytest.raises(Crash),
    ):
        while True:
            keep_once(store, fragile_log, consumer, 1000, 20)
    assert fragile.steps == CYCLE[: CYCLE.index(step) + 1]

    with closing(CaseStore(path)) as store:
        drain(store, log)
        drain(store, log)
        cases = {case.entity: case for case in store.queue()}
        assert {card: case.events for card, case in cases.items()} == {
            card: (f"{card}0", f"{card}1", f"{card}2") for card in CARDS
        }
        assert {case.expected_loss for case in cases.values()} == {150.0}
        for case in cases.values():
            assert [entry.deed for entry in store.audit(case.case_id)] == ["opened", "joined", "joined"]
        assert store.unsent(10, NOW) == []
    assert {label.identity for label in labels_of(log)} == {label.identity for label in labels}
    letters: list[DeadLetter] = sent_on(log, DeadLetter.topic, DeadLetter)
    comes_again = (step, after) in {("append dead-letters", True), ("take in", False)}
    assert (len(letters), len({letter.identity for letter in letters})) == (2 if comes_again else 1, 1)


def test_many_flags_are_taken_in_some_at_a_time_and_a_crash_between_them_doubles_none(
    path: Path, log: RedisLog, decision: Make
) -> None:
    flags = [decision(f"{card}{n}", card, hour=n) for n in range(30) for card in CARDS]
    send(log, *(one for flag in flags for one in (flag, decision(f"ok-{flag.event_id}", outcome="approve"))))
    fragile = Fragile(3, after=True)
    FragileStore.fragile = fragile
    with (
        closing(FragileStore(path)) as store,
        closing(log.consumer(GROUP, [TOPIC])) as consumer,
        pytest.raises(Crash),
    ):
        while True:
            keep_once(store, log, consumer, 1000, 20)
    assert fragile.steps == ["take in"] * 3
    with closing(CaseStore(path)) as store:
        at_once = store.flags_at_once
        assert sum(len(case.events) for case in store.queue()) == 3 * at_once < len(flags)
        drain(store, log)
        assert {case.entity: case.events for case in store.queue()} == {
            card: tuple(f"{card}{n}" for n in range(30)) for card in CARDS
        }


def test_a_file_that_was_lost_is_rebuilt_from_the_log_with_the_same_cases(
    path: Path, log: RedisLog, decision: Make
) -> None:
    def queue_of(file: Path) -> list[Case]:
        with closing(CaseStore(file)) as store:
            drain(store, log)
            return store.queue()

    send(log, *(decision(f"e{number}", f"card{number % 5}", hour=number) for number in range(20)))
    assert queue_of(path.with_name("new.sqlite")) == queue_of(path)


def test_a_log_that_was_emptied_is_read_from_its_new_beginning(
    store: CaseStore, log: RedisLog, redis_db: str, decision: Make
) -> None:
    beyond = {(log.name, Partition(TOPIC, number)): 1 << 62 for number in range(2)}
    store.take_in([decision("old", "ann")], beyond)
    send(log, decision("new", "bea"))
    drain(store, log)
    assert {case.entity for case in store.queue()} == {"ann", "bea"}


# The loop


def test_the_loop_keeps_the_queue_and_forwards_verdicts_of_another_process(
    path: Path, store: CaseStore, log: RedisLog, decision: Make
) -> None:
    stop = Event()
    with closing(CaseStore(path)) as kept:
        keeper = Thread(target=keep_forever, args=(kept, log, stop), kwargs={"poll_timeout_ms": 20})
        keeper.start()
        try:
            send(log, decision("e1"))
            until(lambda: store.open_count() == 1)
            labels = store.decide(store.queue()[0].case_id, "legit", "ann", NOON)
            until(lambda: store.unsent(1, NOW) == [])
        finally:
            stop.set()
            keeper.join(LIMIT_S)
    assert labels_of(log) == labels


def test_the_loop_with_a_new_file_reads_what_the_group_had_committed(
    path: Path, store: CaseStore, log: RedisLog, decision: Make
) -> None:
    send(log, *(decision(f"e{number}", f"card{number}") for number in range(9)))
    drain(store, log)
    stop = Event()
    with closing(CaseStore(path.with_name("new.sqlite"))) as kept:
        options = {"poll_timeout_ms": 20, "poll_limit": 2}
        keeper = Thread(target=keep_forever, args=(kept, log, stop), kwargs=options)
        keeper.start()
        with closing(CaseStore(path.with_name("new.sqlite"))) as seen:
            try:
                until(lambda: seen.open_count() == 9)
            finally:
                stop.set()
                keeper.join(LIMIT_S)
            assert seen.queue() == store.queue()


def test_a_log_that_fails_for_a_while_is_waited_for(
    path: Path, store: CaseStore, log: RedisLog, decision: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(log, decision("e1"))
    original, failures = log.append, [1, 1]

    def failing(messages: Sequence[Message]) -> None:
        if failures:
            failures.pop()
            raise LogUnavailable("gone")
        original(messages)

    monkeypatch.setattr(log, "append", failing)
    log_took_it = Event()
    stop = Event()
    store.take_in([decision("e0", "other")], {})
    labels = store.decide(store.queue()[0].case_id, "fraud", "ann", NOON)
    timing = {"poll_timeout_ms": 20, "pause_limit_s": 0.05, "on_cycle": lambda cycle: log_took_it.set()}
    with closing(CaseStore(path)) as kept:
        keeper = Thread(target=keep_forever, args=(kept, log, stop), kwargs=timing)
        keeper.start()
        try:
            assert log_took_it.wait(LIMIT_S)
        finally:
            stop.set()
            keeper.join(LIMIT_S)
    assert [case.events for case in store.queue()] == [("e1",)]
    assert labels_of(log) == labels
