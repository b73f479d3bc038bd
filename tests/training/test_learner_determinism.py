"""Whatever the partitions, the polls and the crashes: the same weights, metrics and counters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from threading import Event
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.online import OnlineLearner
from models.snapshot import OnlineSettings
from stream.log import Entry, Partition, message_of
from stream.records import Decision, Label, encode
from training.intake import Intake
from training.learner import DelayedLearner
from training.learner_bounds import GuardBounds
from training.learner_loop import GROUP, TOPICS, catch_up, learn_once
from training.learner_store import LearnerStore

Make = Callable[..., Decision]
Verdicts = Callable[..., Label]
Record = Decision | Label
PLACES = [Partition(topic, number) for topic in TOPICS for number in range(2)]
VERDICTS = ("fraud", "legit", "unknown")
TIGHT = GuardBounds(
    block=2,
    least_blocks=1,
    calm_blocks=1,
    window=6,
    look_every=2,
    least_labels=2,
    least_frauds=1,
    twin_labels=3,
    twin_ratio=1.0,
    twin_deviations=0.0,
    snapshot_labels=2,
    snapshots=2,
)
GUARDS = (GuardBounds(), TIGHT, msgspec.structs.replace(TIGHT, twin_ratio=1e9))
"""As they are; those that freeze at almost anything; and those of them that freeze at nulls only, and thaw."""


class Crash(RuntimeError):
    """The process ends here."""


def begin(store: LearnerStore, guards: GuardBounds) -> DelayedLearner:
    settings = OnlineSettings(warm_up=3, min_labels=1)
    beginning = OnlineLearner(("amount", "count"), definition_hash="h", settings=settings)
    return DelayedLearner(store, beginning, guards=guards)


def outcome(learner: DelayedLearner, store: LearnerStore) -> bytes:
    """Every bit of what it knows and keeps."""
    kept = store.kept
    parts = [kept.part("state"), kept.part("twin"), kept.part("block"), kept.part("block before")]
    known = msgspec.json.encode([learner.report(), kept.snapshots(), kept.pairs()])
    return learner.weights().to_json() + known + b"".join(part or b"" for part in parts)


def clean_pass(records: Sequence[Record], guards: GuardBounds) -> bytes:
    """All decisions by event, then the labels one by one."""
    decisions = sorted((r for r in records if isinstance(r, Decision)), key=lambda decision: decision.event_id)
    with closing(LearnerStore(":memory:")) as store:
        learner = begin(store, guards)
        learner.apply(Intake(decisions, [], [], {}), "memory")
        for label in (r for r in records if isinstance(r, Label)):
            learner.apply(Intake([], [label], [], {}), "memory")
        return outcome(learner, store)


class Uneven:
    """A consumer that gives what and as much as it likes."""

    def __init__(self, log: Any, choose: Callable[[int], int]) -> None:
        self._log = log
        self._choose = choose
        self._positions = {part: log.committed(GROUP, part) for part in PLACES}

    def poll(self, limit: int, timeout_ms: int) -> dict[Partition, list[Entry]]:
        found: dict[Partition, list[Entry]] = {}
        for part, start in self._positions.items():
            entries = self._log.read(part, start, self._choose(limit + 1))
            if entries:
                found[part] = entries
                self._positions[part] = entries[-1].offset + 1
        return found

    def commit(self, next_offsets: Mapping[Partition, int]) -> None:
        self._log.commits.update({(GROUP, part): offset for part, offset in next_offsets.items()})

    def assignment(self) -> frozenset[Partition]:
        return frozenset(PLACES)

    def close(self) -> None:
        pass


class Process:
    """A learner that is killed after each transaction for which `dies` says so, and begins again over its file."""

    def __init__(self, log: Any, choose: Callable[[int], int], dies: Callable[[], bool], guards: GuardBounds) -> None:
        self.log = log
        self.choose = choose
        self.dies = dies
        self.guards = guards
        self.store = LearnerStore(":memory:")
        self.consumer: Uneven | None = None

    def cycle(self) -> None:
        """One poll, in a new process if the last one was killed."""
        try:
            if self.consumer is None:
                self.learner = begin(self.store, self.guards)
                self._kill_after_transactions()
                catch_up(self.learner, self.log, Event(), 3)
                self.consumer = Uneven(self.log, self.choose)
            learn_once(self.learner, self.log, self.consumer, 4, 0)
        except Crash:
            self.consumer = None

    def finish(self) -> bytes:
        while self.consumer is None or any(self.learner.offset("memory", p) < self.log.end(p) for p in PLACES):
            self.cycle()
        with closing(self.store):
            return outcome(begin(self.store, self.guards), self.store)

    def _kill_after_transactions(self) -> None:
        apply = self.learner.apply

        def dying(intake: Intake, log_name: str) -> None:
            apply(intake, log_name)
            if self.dies():
                raise Crash

        self.learner.apply = dying  # type: ignore[method-assign]


def send(log: Any, record: Record, number: int) -> None:
    """Append to a partition of the test's choosing; labels all have the one key."""
    part = Partition(record.topic, number)
    if isinstance(record, Label):
        log.append([message_of(record)])
    else:
        log.entries[part].append(Entry(log.end(part) + 2, record.key, encode(record)))


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_polls_partitions_and_crashes_change_nothing(
    data: st.DataObject, new_log: Callable[[], Any], decision: Make, label: Verdicts
) -> None:
    """Labels come in any order and of any time; each is sent after the decisions that it passes."""
    value = st.one_of(st.none(), st.sampled_from([0.0, 1.0, 1e12]), st.floats(-100.0, 100.0))
    hours = data.draw(st.lists(st.integers(-200, 0), min_size=1, max_size=12), label="hours of decisions")
    made = [
        decision(f"e{n}", data.draw(st.lists(value, min_size=2, max_size=2)), 0.1 * n, day=7 + hour / 24)
        for n, hour in enumerate(hours)
    ]
    drawn = st.tuples(st.integers(0, len(made) - 1), st.sampled_from(VERDICTS), st.integers(-200, 2))
    labels = [label(made[n].event_id, verdict, hour) for n, verdict, hour in data.draw(st.lists(drawn, max_size=12))]
    waiting: list[Decision] = data.draw(st.permutations(made), label="arrival")
    order: list[Record] = []
    for each in labels:
        # What is at or before the label's time, and its own decision, goes first; the rest whenever it likes.
        passed = [d for d in waiting if d.event_timestamp <= each.labelled_at or d.event_id == each.event_id]
        more = data.draw(st.integers(0, len(waiting)))
        first = [d for place, d in enumerate(waiting) if d in passed or place < more]
        waiting = [d for d in waiting if d not in first]
        order += [*first, each]
    order += waiting
    order += data.draw(st.lists(st.sampled_from(order), max_size=3), label="repeats")

    log, choice = new_log(), data.draw(st.randoms(use_true_random=False))
    guards = data.draw(st.sampled_from(GUARDS))
    process = Process(log, choice.randrange, lambda: choice.random() < 0.15, guards)
    for record in order:
        send(log, record, choice.randrange(2))
        if choice.random() < 0.5:
            process.cycle()
    assert process.finish() == clean_pass(order, guards)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("killed_after", range(12))
def test_a_log_that_is_there_in_full_gives_one_answer(
    seed: int, killed_after: int, new_log: Callable[[], Any], decision: Make, label: Verdicts
) -> None:
    """Labels may even be sent before their decisions: those are in the log when the labels are read."""
    records: list[Record] = []
    for n in range(20):
        made = decision(f"e{n}", [float(n % 7), None if n % 3 else 1e12 / (n + 1)], score=n / 20, day=n % 5)
        verdict = label(made.event_id, VERDICTS[n % 3], hour=-48 - n)
        records += [verdict, made] if n % 4 == 0 else [made, verdict]
    import random

    choice = random.Random(seed)
    log, transactions = new_log(), iter(range(10_000))
    guards = GUARDS[seed % len(GUARDS)]
    process = Process(log, choice.randrange, lambda: next(transactions) == killed_after, guards)
    if seed % 2:
        process.cycle()  # it is there before the records: they come by polls, not by catching up
    for record in records:
        send(log, record, choice.randrange(2))
    assert process.finish() == clean_pass(records, guards)
