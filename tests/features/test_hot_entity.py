"""A merchant far beyond the row budget: bounded bytes, errors within the stated bound, bounded retries."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import product
from random import Random

import numpy as np
import pytest

from features.distinct import RELATIVE_ERROR
from features.feature_set import EntityRef
from features.fraud import CARD, MERCHANT
from features.history import History
from features.merging import span_bound
from features.online_store import MemoryOnlineStore, OnlineStore, RedisOnlineStore
from features.scan import Scan
from features.view import MEMBER_LIMIT, Feature
from features.worker import FoldCount, Folder
from stream.connection import RedisConnection
from stream.log import Entry, Partition
from stream.records import Transaction, encode, micros
from tests.oracle import DAY, HOUR, MINUTE, T0_US, payment
from tests.scenarios.fire_oracle import window_bounds, youngest_merged_us
from tests.scoring.conftest import PLAN, TTL_MS

HOT = EntityRef("merchant_id", "hot")
QUIET_EVENTS = 5_000
HOT_EVENTS = int(os.environ.get("HEADRACE_HOT_EVENTS", "40000"))
EACH = 6000
"""Events of each of two folders."""
BATCH = 1000
STATE_BYTES_LIMIT = 32_768
SCAN = Scan(MERCHANT)


def stream() -> list[Transaction]:
    """38 quiet days, so that every window has an edge in the history, then an hour of 11 events a second.

    `HEADRACE_HOT_EVENTS=3600000` makes it 1000 a second, in some ten minutes and 4 GB.
    """
    random = Random(5)
    hour_began_us = T0_US + 38 * DAY
    times = [random.randrange(T0_US, hour_began_us) for _ in range(QUIET_EVENTS)]
    times += [hour_began_us + number * HOUR // HOT_EVENTS for number in range(HOT_EVENTS)]
    return [
        payment(
            number,
            at_us,
            card_id=f"c{random.randrange(2000)}",
            merchant_id=HOT.value,
            amount=round(random.lognormvariate(2.5, 1.2), 2),
        )
        for number, at_us in enumerate(sorted(times))
    ]


def batches(records: list[Transaction], partition: Partition, start: int = 0) -> Iterator[dict[Partition, list[Entry]]]:
    """As a worker polls them."""
    for at in range(0, len(records), BATCH):
        some = records[at : at + BATCH]
        yield {partition: [Entry(start + at + n, record.key, encode(record)) for n, record in enumerate(some)]}


def history_of(store: OnlineStore) -> tuple[History, int]:
    """The hot merchant's history, and the bytes of its state."""
    (entity,) = store.read_states([HOT])
    state = entity.states[MERCHANT.name]
    return History.decode(MERCHANT, state), len(state)


@pytest.mark.slow
def test_a_hot_merchant_stays_small_and_within_the_bound() -> None:
    records = stream()
    store = MemoryOnlineStore()
    folder = Folder(store, [MERCHANT], "log")
    most_bytes = 0
    for batch in batches(records, Partition("transactions", 0)):
        assert folder.fold(batch).conflicts == 0
        most_bytes = max(most_bytes, history_of(store)[1])
    history, _ = history_of(store)
    assert history.held == len(records)
    assert most_bytes <= STATE_BYTES_LIMIT
    errors: dict[str, float] = {}
    # At the end and half an hour later, when the edge of the hour lies in the midst of the heat.
    for feature, at_us in product(MERCHANT.features, (history.newest_us, history.newest_us + 30 * MINUTE)):
        values, approximate = SCAN.read(history, at_us)
        found = float(values[MERCHANT.names.index(feature.name)])
        exact, low, high = bounds(feature, records, at_us)
        errors[feature.name] = max(errors.get(feature.name, 0.0), round(abs(found - exact) / max(exact, 1e-9), 5))
        assert low - 1e-6 <= found <= high + 1e-6, (feature.name, found, exact)
        assert feature.name in approximate or found == pytest.approx(exact, rel=1e-9), feature.name
    print(f"{len(records)} events, state at most {most_bytes} bytes, relative errors {errors}")


def bounds(feature: Feature, records: list[Transaction], at_us: int) -> tuple[float, float, float]:
    """What is exact, and the least and most that the bound allows. Every event is at or before the time of reading."""
    times = np.array([micros(record.event_timestamp) for record in records], dtype=np.int64)
    amounts = np.array([record.amount for record in records])
    end_us = at_us - feature.delay_us
    exactly = (times > end_us - feature.window_us) & (times <= end_us)
    surely, maybe = window_bounds(times, at_us, feature.window_us, feature.delay_us)
    if feature.kind == "distinct":
        # Three standard errors of the sketch, which speaks when the table of members has forgotten some.
        seen = len({record.card_id for record, within in zip(records, exactly.tolist(), strict=True) if within})
        return seen, min(seen, max(MEMBER_LIMIT, seen * (1 - 3 * RELATIVE_ERROR))), seen * (1 + 3 * RELATIVE_ERROR)
    if feature.kind == "decayed_count":
        # An event's age is known as far as its merged row reaches.
        ages_us = (at_us - times).astype(np.float64)
        stretch = 1 + span_bound(int(times[-1] - times[0]), youngest_merged_us(times))
        weights = [0.5 ** (ages_us * factor / feature.half_life_us) for factor in (1.0, stretch, 1 / stretch)]
        return float(weights[0][exactly].sum()), float(weights[1][surely].sum()), float(weights[2][maybe].sum())
    counts = exactly.sum(), surely.sum(), maybe.sum()
    if feature.kind == "count":
        return float(counts[0]), float(counts[1]), float(counts[2])
    values = (amounts < 5).astype(np.float64) if feature.kind == "share" else amounts
    exact = float(values[exactly].mean())
    low, high = values[surely].sum() / counts[2], values[maybe].sum() / counts[1]
    if feature.kind == "std":
        squares = values**2
        least = squares[surely].sum() / counts[2] - high**2
        most = squares[maybe].sum() / counts[1] - low**2
        return float(values[exactly].std()), float(max(0.0, least) ** 0.5), float(most**0.5)
    return exact, float(low), float(high)


def test_two_folders_of_one_merchant_retry_at_most_once_for_each_write_of_the_other(redis_db: str) -> None:
    cards = [
        [payment(n, T0_US + n, card_id=f"{who}{n % 50}", merchant_id=HOT.value) for n in range(EACH)] for who in "ab"
    ]

    def fold(who: int) -> tuple[int, FoldCount]:
        total = FoldCount()
        with closing(RedisConnection(redis_db)) as connection:
            folder = Folder(RedisOnlineStore(connection, PLAN, TTL_MS), [CARD, MERCHANT], "log")
            writes = 0
            for batch in batches(cards[who], Partition("transactions", who)):
                count = folder.fold(batch)
                writes += 1
                total.folded += count.folded
                total.conflicts += count.conflicts
        return writes, total

    with ThreadPoolExecutor(2) as threads:
        (left_writes, left), (right_writes, right) = threads.map(fold, range(2))
    print(f"{left_writes} and {right_writes} batches, {left.conflicts} and {right.conflicts} retries")
    assert left.folded == right.folded == EACH
    assert left.conflicts <= right_writes
    assert right.conflicts <= left_writes
    with closing(RedisConnection(redis_db)) as connection:
        history, size = history_of(RedisOnlineStore(connection, PLAN, TTL_MS))
    assert history.held == 2 * EACH
    assert size <= STATE_BYTES_LIMIT
