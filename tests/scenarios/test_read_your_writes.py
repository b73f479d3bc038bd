"""A score sees every event that was answered before it was asked for, whatever the worker does meanwhile."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest

from features.feature_set import EntityRef
from features.pipeline import GROUP
from features.store_plan import PENDING_PREFIX
from headrace.assembly import open_online_store, open_outbox
from headrace.settings import Settings
from headrace.stack import Stack
from scoring.ledger import Ledger
from scoring.policy_file import load_policy
from scoring.rules import load_rules
from scoring.scorer import Scorer
from scoring.use_case import FRAUD
from stream.child import Child
from stream.log import Partition, partition_of
from tests.scenarios.fire import drained, prepared, start_worker
from tests.scoring.conftest import T0, Says, feature, live, payment
from tests.until import until

pytestmark = pytest.mark.slow

CLIENTS = 8
CALLS = 60
PATIENT_MS = 60_000.0
CARD = EntityRef("card_id", "c")
COUNT = "card_count_30d"


@dataclass(frozen=True)
class Call:
    """When a client asked and was answered, on the clock that all share, and how many events the answer saw."""

    asked_at: int
    answered_at: int
    count: float


def open_scorer(settings: Settings) -> Scorer:
    """A scorer with a connection of its own."""
    store = open_online_store(settings)
    ledger = Ledger(store.connection, store, settings.partitions, 60_000, 100_000, settings.pending_limit)
    rules = load_rules(FRAUD.rules, FRAUD.features)
    return Scorer(FRAUD, ledger, live(Says(0.001)), load_policy(FRAUD.policy, FRAUD.source), rules)


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with Stack(prepared(tmp_path)) as running:
        running.settings = running.settings.but(appendfsync="everysec")
        running.start_redis()
        yield running


def hammer(settings: Settings) -> list[Call]:
    """All clients ask for one card at once, each over its own connection; every event has its own time."""
    clock = count(1)  # `next` of it is one step: no two clients get the same

    def ask(client: int) -> list[Call]:
        scorer = open_scorer(settings)
        calls = []
        with closing(scorer.ledger.connection):
            for number in range(CALLS):
                asked_at = next(clock)
                moment = T0 + timedelta(milliseconds=asked_at)
                decision = scorer.score(payment(f"e{client}-{number}", event_timestamp=moment), PATIENT_MS)
                seen = feature(decision.vector, COUNT)
                assert seen is not None
                assert decision.degraded == []
                assert COUNT not in decision.approximate
                calls.append(Call(asked_at, next(clock), seen))
        return calls

    with ThreadPoolExecutor(CLIENTS) as threads:
        return [call for calls in threads.map(ask, range(CLIENTS)) for call in calls]


def check(calls: list[Call]) -> None:
    """Each answer saw at least what was answered before it was asked, and at most what was asked before its answer."""
    for call in calls:
        at_least = sum(other.answered_at < call.asked_at for other in calls) + 1
        at_most = sum(other.asked_at < call.answered_at for other in calls)
        assert at_least <= call.count <= at_most


def test_an_answer_that_misses_an_earlier_one_or_foresees_a_later_one_is_noticed() -> None:
    check([Call(1, 2, 1.0), Call(3, 4, 2.0)])
    for seen in (1.0, 3.0):
        with pytest.raises(AssertionError):
            check([Call(1, 2, 1.0), Call(3, 4, seen)])


def working(stack: Stack, *options: str) -> Child:
    """A worker that has taken its partitions."""
    worker = start_worker(stack, "worker", *options)
    scorer = open_scorer(stack.settings)
    with closing(scorer.ledger.connection), closing(open_outbox(stack.settings)) as log:
        first = payment("first", card_id="other")
        scorer.score(first, PATIENT_MS)
        part = Partition(first.topic, partition_of(first.key, stack.settings.partitions))
        until(lambda: log.committed(GROUP, part) > 0)
    return worker


def check_settled(stack: Stack, calls: list[Call]) -> None:
    """When the worker has caught up, nothing is pending and the next answer sees everything."""
    with closing(open_outbox(stack.settings)) as log:
        until(lambda: drained(log, GROUP))
    scorer = open_scorer(stack.settings)
    with closing(scorer.ledger.connection):
        assert scorer.store.read([CARD])[0].pending == {}
        last = scorer.score(payment("last", event_timestamp=T0 + timedelta(hours=1)), PATIENT_MS)
        assert feature(last.vector, COUNT) == len(calls) + 1


@pytest.mark.slow
def test_with_the_worker_stopped(stack: Stack) -> None:
    worker = working(stack)
    os.kill(worker.pid, signal.SIGSTOP)
    calls = hammer(stack.settings)
    check(calls)
    os.kill(worker.pid, signal.SIGCONT)
    check_settled(stack, calls)


@pytest.mark.slow
@pytest.mark.parametrize(
    "slow_s", [pytest.param("0.3", id="slow"), pytest.param("0", id="running", marks=pytest.mark.thorough)]
)
def test_with_the_worker_slow_or_running(stack: Stack, slow_s: str) -> None:
    working(stack, "--slow-s", slow_s)
    calls = hammer(stack.settings)
    check(calls)
    check_settled(stack, calls)


@pytest.mark.slow
def test_pending_stays_bounded_without_a_worker_and_the_answers_beyond_say_so(stack: Stack) -> None:
    limit = 50
    worker = working(stack)
    scorer = open_scorer(stack.settings.but(pending_limit=limit))
    key = scorer.store.key(CARD)

    def ask(number: int) -> tuple[float | None, list[str]]:
        moment = T0 + timedelta(seconds=number)
        decision = scorer.score(
            payment(f"e{number}", event_timestamp=moment, merchant_id=f"m{number}", device_id=None), PATIENT_MS
        )
        return feature(decision.vector, COUNT), decision.degraded

    with closing(scorer.ledger.connection) as connection, closing(open_outbox(stack.settings)) as log:
        assert ask(0) == (1, [])
        until(lambda: connection.one("HLEN", key) > 0 and scorer.store.read([CARD])[0].pending == {})
        os.kill(worker.pid, signal.SIGSTOP)
        fields = connection.one("HLEN", key)
        answers = [ask(number) for number in range(1, 3 * limit)]
        room = limit - fields
        assert connection.one("HLEN", key) == limit
        assert [degraded for _, degraded in answers] == [[]] * room + [["pending full"]] * (len(answers) - room)
        # What was taken is seen, each answer's own event too; what was not, not yet.
        assert [seen for seen, _ in answers] == [min(2 + number, room + 2) for number in range(len(answers))]
        os.kill(worker.pid, signal.SIGCONT)
        until(lambda: drained(log, GROUP))
        names = connection.one("HKEYS", key)
        assert len(names) == fields
        assert not any(name.startswith(PENDING_PREFIX) for name in names)
        assert ask(3 * limit) == (3 * limit + 1, [])


def test_pending_full_is_a_remark_on_the_answer_and_not_in_the_decision(stack: Stack) -> None:
    scorer = open_scorer(stack.settings.but(pending_limit=1))
    with closing(scorer.ledger.connection):
        assert scorer.score(payment("e1"), PATIENT_MS).degraded == []
        assert scorer.score(payment("e2"), PATIENT_MS).degraded == ["pending full"]
        again = scorer.decision("e2")
        assert again is not None
        assert again.degraded == []
        assert scorer.score(payment("e2"), PATIENT_MS) == again
