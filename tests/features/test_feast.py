"""It stays Feast: Feast's own client reads, from the same Redis, what our reader reads."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from features.declared import all_views
from features.feature_set import EntityRef
from features.fraud import FRAUD
from features.history import History
from features.online_store import RedisOnlineStore
from features.store_plan import PLAN_FILE, load_plan
from features.worker import Folder
from stream.connection import RedisConnection
from stream.log import Entry, Partition
from stream.records import Label, Transaction, encode, from_micros
from tests.oracle import DAY, HOUR, MINUTE, T0_US, payment

pytestmark = pytest.mark.slow
NOW_US = T0_US + DAY


def traffic() -> list[Transaction]:
    random = Random(0)
    return [
        payment(
            number,
            T0_US - random.randint(0, 20 * DAY),
            card_id=f"c{random.randint(0, 9)}",
            # One merchant is busy enough for merged rows.
            merchant_id="m0" if number % 2 else f"m{random.randint(1, 4)}",
            device_id=random.choice([None, "d0", "d1"]),
            latitude=random.choice([None, random.uniform(-90, 90)]),
            amount=random.uniform(0, 100),
        )
        for number in range(900)
    ]


@pytest.fixture(scope="module")
def connection(redis_url: str) -> Iterator[RedisConnection]:
    with RedisConnection(redis_url) as opened:
        opened.one("FLUSHALL")
        yield opened


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory, redis_url: str, connection: RedisConnection) -> Any:
    """Feast's store and ours over one Redis, with some traffic folded."""
    from feature_repo.repository import apply, open_store

    home: Path = tmp_path_factory.mktemp("home")
    plan = apply(home, redis_url)
    assert load_plan(home / PLAN_FILE) == plan
    ours = RedisOnlineStore(connection, plan, ttl_ms=3_600_000)
    payments = [Entry(n, record.card_id, encode(record)) for n, record in enumerate(traffic())]
    at = from_micros(T0_US - 8 * DAY)
    fraud = Label(event_id="e1", label="fraud", labelled_at=at, event_timestamp=at, merchant_id="m0")
    folder = Folder(ours, FRAUD.views, "log")
    folder.fold({Partition("transactions", 0): payments[:500]})
    folder.fold({Partition("transactions", 0): payments[500:], Partition("labels", 0): [Entry(0, "e1", encode(fraud))]})
    return open_store(home, redis_url), ours


def ours_at(store: RedisOnlineStore, row: dict[str, Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for view in FRAUD.views:
        (entity,) = store.read([EntityRef(view.entity, row[view.entity])])
        history = History.decode(view, entity.states.get(view.name))
        found |= zip(view.names, FRAUD.read_view(view.name, history, row["at_us"]).tolist(), strict=True)
    return found


def test_feast_serves_exactly_what_our_reader_reads(applied: Any) -> None:
    feast, ours = applied
    random = Random(1)
    rows = [
        {
            "card_id": f"c{random.randint(0, 11)}",  # Two of them are unknown.
            "merchant_id": f"m{random.randint(0, 5)}",
            "device_id": f"d{random.randint(0, 2)}",
            "at_us": NOW_US - random.choice([0, MINUTE, HOUR, DAY, DAY + HOUR]),
        }
        for _ in range(20)
    ]
    rows[0] |= {"merchant_id": "m0"}
    answer = feast.get_online_features(features=feast.get_feature_service("fraud_v1"), entity_rows=rows).to_dict()
    nulls = 0
    for i, row in enumerate(rows):
        for name, expected in ours_at(ours, row).items():
            found = answer[name][i]
            if math.isnan(expected):
                nulls += 1
                assert found is None or math.isnan(found), (name, row)
            else:
                assert found == expected, (name, row)
    assert 0 < nulls < 20 * len(FRAUD.names)
    assert history_of(ours, "m0").merged != b""


def history_of(store: RedisOnlineStore, merchant: str) -> History:
    view = next(view for view in FRAUD.views if view.name == "merchant")
    return History.decode(view, store.read([EntityRef("merchant_id", merchant)])[0].states["merchant"])


def test_every_view_and_entity_is_registered(applied: Any) -> None:
    feast, _ = applied
    assert {view.name for view in feast.list_feature_views()} == {view.state_view for view in all_views()}
    assert {view.name for view in feast.list_on_demand_feature_views()} == {view.name for view in all_views()}
    service = feast.get_feature_service("fraud_v1")
    named = [feature.name for projection in service.feature_view_projections for feature in projection.features]
    assert set(named) == {name for view in FRAUD.views for name in view.names}


def test_applying_again_changes_nothing(applied: Any, tmp_path: Path, redis_url: str) -> None:
    from feature_repo.repository import apply

    _, ours = applied
    assert apply(tmp_path, redis_url) == ours.plan
