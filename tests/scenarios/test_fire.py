"""Whatever is killed, joins, leaves or comes twice: the features are those of one clean pass, and the test can fail."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Event

import pytest

from features.fraud import FRAUD
from features.online_store import MemoryOnlineStore
from features.worker import Folder
from stream.log import LogUnavailable, Message, Partition
from stream.redis_log import RedisLog
from stream.relay import relay
from tests.oracle import T0_US, payment
from tests.scenarios.fire import Outcome, drained, messages, run_fire, run_spoilt
from tests.scenarios.fire_oracle import Comparison, compare
from tests.scenarios.fire_worker import INSTANTS
from tests.until import until

pytestmark = pytest.mark.slow

SEED = 1
EVENTS = int(os.environ.get("HEADRACE_FIRE_EVENTS", "12000"))
"""So many that a hot entity is beyond the row budget."""
KAFKA_EVENTS = min(EVENTS, 4000)
SPOILT_EVENTS = 2500


def check(outcome: Outcome, found: Comparison) -> None:
    print(outcome)
    assert (outcome.lost, outcome.counted_twice, outcome.left_pending) == (0, 0, 0), found.wrong[:5]
    assert found.wrong == []
    assert outcome.entities_exact > 100
    assert outcome.kills >= 2
    assert outcome.rebalances >= 2 + 2 * outcome.kills
    assert outcome.redis_kills >= 1
    assert outcome.zombies >= 1
    assert outcome.duplicates > 0.04 * outcome.events
    assert outcome.out_of_order > 0.04 * outcome.events


def test_nothing_is_lost_and_nothing_counts_twice_under_fire(tmp_path: Path) -> None:
    outcome, found = run_fire(tmp_path, EVENTS, SEED, rate=1500.0)
    check(outcome, found)
    assert outcome.ended_by_themselves == 0
    assert EVENTS < 12_000 or outcome.entities_beyond_budget > 0


@pytest.mark.kafka
def test_the_same_holds_when_the_log_is_kafka(tmp_path: Path, kafka: None) -> None:
    # The fire has a node of its own: what it leaves on one is nothing for other tests.
    outcome, found = run_fire(tmp_path, KAFKA_EVENTS, SEED, rate=200.0, kafka=True)
    check(outcome, found)
    assert outcome.relay_kills >= 2
    assert outcome.broker_kills >= 1


class BreaksAfter(RedisLog):
    """A sink whose answers to the first appends are lost, as those of a relay that is killed before it commits."""

    breaks_left = 2

    def append(self, messages: Sequence[Message]) -> None:
        super().append(messages)
        if self.breaks_left:
            self.breaks_left -= 1
            raise LogUnavailable("written, but the answer was lost")


def test_a_batch_that_a_relay_repeats_is_known_even_if_all_of_it_is_one_card(
    redis_db: str, other_redis_db: str
) -> None:
    payments = [payment(number, T0_US + number) for number in range(1000)]
    stop = Event()
    with closing(RedisLog(redis_db, 1)) as source, closing(BreaksAfter(other_redis_db, 1)) as sink:
        source.append(messages(payments))
        with ThreadPoolExecutor(1) as threads:
            moving = threads.submit(relay, source, sink, ["transactions"], stop, poll_timeout_ms=50)
            until(lambda: drained(source, "relay"))
            stop.set()
            assert moving.result().failures == 2
        part = Partition("transactions", 0)
        arrived = sink.read(part, 0, 10_000)
    assert len(arrived) > len(payments)
    store = MemoryOnlineStore()
    Folder(store, FRAUD.views, "sink").fold({part: arrived})
    assert compare(store, list(payments), T0_US + 1000).lost == 0
    assert compare(store, list(payments), T0_US + 1000).doubled == 0


TELLING = ("half written", "committed")
"""Amid what it writes, and when it has said that it is done. The others are between these."""


@pytest.mark.parametrize(
    "instant", [pytest.param(one, marks=() if one in TELLING else pytest.mark.thorough) for one in INSTANTS]
)
def test_a_worker_that_dies_at_any_step_does_no_harm(tmp_path: Path, instant: str) -> None:
    found = run_spoilt(tmp_path, SPOILT_EVENTS, SEED, "none", instant)
    assert found.wrong == []
    assert found.clean


@pytest.mark.parametrize(
    ("sabotage", "instant", "lost", "doubled"),
    [
        # A batch whose offsets are committed before its states are written is never read again.
        ("commit first", "polled", True, False),
        # A primary state that says "done" before the others are written keeps them from being written.
        pytest.param("primaries first", "half written", True, False, marks=pytest.mark.thorough),
        # Without offsets in the states, what was written before the crash is written again.
        ("no offset check", "half written", False, True),
        # Without ids in the primary states, a copy is another event.
        pytest.param("no recent ids", "never", False, True, marks=pytest.mark.thorough),
    ],
)
def test_each_sabotage_is_detected(tmp_path: Path, sabotage: str, instant: str, lost: bool, doubled: bool) -> None:
    found = run_spoilt(tmp_path, SPOILT_EVENTS, SEED, sabotage, instant)
    print(f"{sabotage}: lost {found.lost}, counted twice {found.doubled}, differences {len(found.wrong)}")
    assert not found.clean
    assert (found.lost > 0, found.doubled > 0) == (lost, doubled)
