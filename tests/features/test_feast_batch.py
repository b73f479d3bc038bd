"""States computed in batch, through Feast: point-in-time frames, and Redis loaded by `materialize`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from features.feature_set import EntityRef
from features.fraud import FRAUD
from features.history import History
from features.online_store import MemoryOnlineStore, OnlineStore, RedisOnlineStore
from features.worker import Folder
from stream.connection import RedisConnection
from stream.log import Entry, Partition
from stream.records import Label, Transaction, encode, from_micros, micros
from tests.oracle import DAY, HOUR, MINUTE, T0_US, differences, payment, read
from training.states import write_states

pytestmark = pytest.mark.slow
PAYMENTS = Partition("transactions", 0)
LABELS = Partition("labels", 0)
START = from_micros(T0_US - 60 * DAY)
NEWEST_US = T0_US
AMOUNT = 100.0


def stream() -> list[Transaction | Label]:
    """Sixty days of payments and, as they become known, some frauds among them; in time order."""
    random = Random(3)
    payments = [
        payment(
            number,
            T0_US - random.randint(0, 50 * DAY),
            card_id=f"c{random.randint(0, 7)}",
            merchant_id=f"m{random.randint(0, 4)}",
            device_id=random.choice([None, "d0", "d1"]),
            latitude=random.choice([None, random.uniform(-90, 90)]),
            amount=random.uniform(0, AMOUNT),
        )
        for number in range(500)
    ]
    labels = [
        Label(
            event_id=one.event_id,
            label="fraud",
            labelled_at=from_micros(micros(one.event_timestamp) + 5 * DAY),
            event_timestamp=one.event_timestamp,
            merchant_id=one.merchant_id,
        )
        for one in payments[::7]
        if micros(one.event_timestamp) + 5 * DAY < T0_US
    ]
    return sorted([*payments, *labels], key=came_us)


def came_us(record: Transaction | Label) -> int:
    return micros(record.labelled_at if isinstance(record, Label) else record.event_timestamp)


RECORDS = stream()
OLD, NEW = RECORDS[:400], RECORDS[400:]
OLD_END = from_micros(came_us(OLD[-1]))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def opened(home: Path, redis_url: str) -> Iterator[tuple[Any, RedisOnlineStore]]:
    """Feast's store and ours over one Redis."""
    from feature_repo.repository import apply, open_store

    plan = apply(home, redis_url)
    with RedisConnection(redis_url) as connection:
        yield open_store(home, redis_url), RedisOnlineStore(connection, plan, ttl_ms=3_600_000)


@pytest.fixture
def empty(opened: tuple[Any, RedisOnlineStore], redis_db: str) -> tuple[Any, RedisOnlineStore]:
    """The two, and nothing in Redis."""
    return opened


def asked(count: int) -> list[dict[str, Any]]:
    random = Random(5)
    rows = []
    for _ in range(count):
        one = random.choice(RECORDS)
        wait_us = random.choice([0, 1, MINUTE, HOUR, 10 * DAY])
        rows.append(
            {
                "card_id": f"c{random.randint(0, 9)}",
                "merchant_id": f"m{random.randint(0, 5)}",
                "device_id": random.choice([None, "d0", "d1", "d2"]),
                "at_us": came_us(one) + wait_us,
            }
        )
    # Twice the same, and one after all windows.
    return [*rows, rows[0], rows[1] | {"at_us": T0_US + 200 * DAY}]


def from_oracle(row: dict[str, Any]) -> list[float | None]:
    values: list[float | None] = []
    for view in FRAUD.views:
        past = [
            record
            for record in RECORDS
            if isinstance(record, view.source)
            and row[view.entity] is not None
            and getattr(record, view.entity) == row[view.entity]
            and came_us(record) <= row["at_us"]
        ]
        if row[view.entity] is None:
            values += [None] * len(view.features)
            continue
        if view.source is Label:
            past = [payment(0, came_us(record)) for record in past]
        # At its own time, an event is the current one.
        current = past.pop() if past and view.source is Transaction and came_us(past[-1]) == row["at_us"] else None
        values += read(view, past, row["at_us"], current)
    return values


def names_of() -> list[str]:
    return [name for view in FRAUD.views for name in view.names]


def from_rows(states: list[tuple[int, str, str, bytes]], row: dict[str, Any], until_us: int) -> np.ndarray[Any, Any]:
    """What our reader says of the newest state at or before a time."""
    parts = []
    for view in FRAUD.views:
        own = [
            (at_us, state)
            for at_us, name, value, state in states
            # Feast's join forgets states that are older than every window.
            if name == view.name and value == row[view.entity] and until_us - view.horizon_us <= at_us <= until_us
        ]
        newest = max(own, default=(0, None))[1]
        if row[view.entity] is None:
            parts.append(np.full(len(view.features), np.nan))
        else:
            parts.append(FRAUD.read_at(view.name, History.decode(view, newest), row["at_us"]))
    return np.concatenate(parts)


def states_in(home: Path) -> list[tuple[int, str, str, bytes]]:
    import pyarrow.parquet as pq

    return [
        (micros(row["event_timestamp"]), view.name, row[view.entity], row[view.state_view])
        for view in FRAUD.views
        for row in pq.read_table(home / "states" / f"{view.state_view}.parquet").to_pylist()
    ]


def test_a_training_frame_says_what_was_known_at_each_time(opened: Any, home: Path) -> None:
    from feature_repo.repository import point_in_time

    write_states(FRAUD, RECORDS, home / "states", every="event")
    rows = asked(60)
    found = point_in_time(opened[0], FRAUD, rows)
    states = states_in(home)
    for row, values in zip(rows, found, strict=True):
        expected = from_rows(states, row, row["at_us"])
        assert np.array_equal(values, expected, equal_nan=True), row
    assert np.isfinite(found).sum() > 1000


def test_the_first_moment_of_an_event_has_it_and_the_moment_before_has_not(opened: Any, home: Path) -> None:
    from feature_repo.repository import point_in_time

    write_states(FRAUD, RECORDS, home / "states", every="event")
    last = next(record for record in reversed(RECORDS) if isinstance(record, Transaction))
    at_us = micros(last.event_timestamp)
    row = {"card_id": last.card_id, "merchant_id": last.merchant_id, "device_id": None, "at_us": at_us}
    before, after = point_in_time(opened[0], FRAUD, [row | {"at_us": at_us - 1}, row])
    position = names_of().index("card_count_30d")
    assert after[position] == before[position] + 1
    assert not differences(names_of(), after.tolist(), from_oracle(row), size=AMOUNT)


def test_states_of_each_day_are_those_of_the_last_event_before(opened: Any, home: Path) -> None:
    from feature_repo.repository import point_in_time

    write_states(FRAUD, RECORDS, home / "states", every="day")
    rows = asked(20)
    states = states_in(home)
    for row, values in zip(rows, point_in_time(opened[0], FRAUD, rows), strict=True):
        assert np.array_equal(values, from_rows(states, row, row["at_us"]), equal_nan=True), row


def load(feast: Any, home: Path, end: datetime = OLD_END, views: list[str] | None = None) -> None:
    write_states(FRAUD, OLD, home / "states")
    feast.materialize(START, end, feature_views=views)


def live(store: OnlineStore, records: list[Transaction | Label], first: int = 1000) -> None:
    """Fold records as the worker does; their offsets begin at `first`."""
    folder = Folder(store, FRAUD.views, "log")
    for number, record in enumerate(records, first):
        partition = LABELS if isinstance(record, Label) else PAYMENTS
        folder.fold({partition: [Entry(number, record.key, encode(record))]})


def everything(store: OnlineStore, at_us: int) -> dict[str, list[float]]:
    """Every entity's features at one time."""
    found = {}
    refs = {
        EntityRef(view.entity, value)
        for view in FRAUD.views
        for record in RECORDS
        if (value := getattr(record, view.entity, None)) is not None
    }
    for ref in sorted(refs):
        (entity,) = store.read_states([ref])
        for view in FRAUD.views:
            if view.entity == ref.entity:
                history = History.decode(view, entity.states.get(view.name))
                found[f"{view.name} {ref.value}"] = FRAUD.read_view(view.name, history, at_us).tolist()
    return found


def same(found: dict[str, list[float]], expected: dict[str, list[float]]) -> bool:
    return found.keys() == expected.keys() and all(
        np.array_equal(found[key], expected[key], equal_nan=True) for key in found
    )


def clean_pass(*parts: list[Transaction | Label]) -> MemoryOnlineStore:
    store = MemoryOnlineStore()
    live(store, [record for part in parts for record in part])
    return store


def test_materialized_states_read_alike_for_feast_and_for_us(empty: Any, home: Path) -> None:
    feast, ours = empty
    load(feast, home)
    at_us = micros(OLD_END) + HOUR
    rows = [
        {"card_id": f"c{n}", "merchant_id": f"m{n % 5}", "device_id": f"d{n % 3}", "at_us": at_us} for n in range(9)
    ]
    answer = feast.get_online_features(features=feast.get_feature_service("fraud_v1"), entity_rows=rows).to_dict()
    mine = everything(ours, at_us)
    assert same(mine, everything(clean_pass(OLD), at_us))
    compared = 0
    for i, row in enumerate(rows):
        for view in FRAUD.views:
            expected = mine.get(f"{view.name} {row[view.entity]}")
            for name, value in zip(view.names, expected or [], strict=expected is not None):
                found = answer[name][i]
                assert found == value or (math.isnan(value) and (found is None or math.isnan(found))), (name, row)
                compared += 1
    assert compared > 300


def test_the_next_live_events_continue_from_materialized_states(empty: Any, home: Path) -> None:
    feast, ours = empty
    load(feast, home)
    live(ours, NEW)
    assert same(everything(ours, NEWEST_US), everything(clean_pass(OLD, NEW), NEWEST_US))


def test_materialized_entities_expire_as_live_ones_do(empty: Any, home: Path) -> None:
    feast, ours = empty
    load(feast, home)
    horizon_ms = max(view.horizon_us for view in FRAUD.views) // 1000
    left_ms = ours.connection.one("PTTL", ours.key(EntityRef("card_id", "c0")))
    assert horizon_ms - 60_000 < left_ms <= horizon_ms


def test_an_entity_that_was_active_after_the_end_is_left_out(empty: Any, home: Path) -> None:
    feast, ours = empty
    last = next(record for record in reversed(OLD) if isinstance(record, Transaction))
    load(feast, home, end=from_micros(micros(last.event_timestamp) - 1))
    (entity,) = ours.read_states([EntityRef("card_id", last.card_id)])
    assert entity.states == {}
    others = {record.card_id for record in OLD if isinstance(record, Transaction)} - {last.card_id}
    assert all(stored.states for stored in ours.read_states([EntityRef("card_id", card) for card in sorted(others)]))


def test_pending_events_survive_materialize(empty: Any, home: Path) -> None:
    feast, ours = empty
    ref = EntityRef("card_id", "c0")
    ours.add_pending([ref], "waiting", b"row")
    load(feast, home)
    (entity,) = ours.read([ref])
    assert entity.pending == {"waiting": b"row"}
    assert "card" in entity.states


def test_a_newer_live_state_is_kept_whole_and_the_batch_state_is_dropped(empty: Any, home: Path) -> None:
    # Feast compares times only: what the batch knows of that entity is lost to it. Hence: load first, then go live.
    feast, ours = empty
    live(ours, NEW)
    before = everything(ours, NEWEST_US)
    load(feast, home)
    after = everything(ours, NEWEST_US)
    touched = {f"card {record.card_id}" for record in NEW if isinstance(record, Transaction)}
    assert touched
    assert all(np.array_equal(after[key], before[key], equal_nan=True) for key in touched)
    assert not same(after, everything(clean_pass(OLD, NEW), NEWEST_US))


def test_an_event_folded_between_feasts_look_and_its_write_is_lost(
    empty: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Hence: no worker runs during materialize. Its log waits.
    feast, ours = empty
    load(feast, home, views=["card_state"])
    one = next(record for record in NEW if isinstance(record, Transaction))
    client = feast._get_provider().online_store._get_client(feast.config.online_store)
    opening = client.pipeline
    executed = 0

    def pipeline(**options: Any) -> Any:
        opened_now = opening(**options)
        execute = opened_now.execute

        def then_live() -> Any:
            nonlocal executed
            replies = execute()
            executed += 1
            if executed == 1:
                live(ours, [one])
            return replies

        opened_now.execute = then_live
        return opened_now

    monkeypatch.setattr(client, "pipeline", pipeline)
    feast.materialize(START, OLD_END, feature_views=["merchant_state"])
    assert executed == 2
    key = f"merchant {one.merchant_id}"
    without = everything(clean_pass(OLD), NEWEST_US)[key]
    assert np.array_equal(everything(ours, NEWEST_US)[key], without, equal_nan=True)
    # The card's state remembers the event, so that reading the log again does not bring it back.
    live(ours, [one])
    assert np.array_equal(everything(ours, NEWEST_US)[key], without, equal_nan=True)
