"""A shop's past becomes this installation's: the catalogue knows its items, the log carries its history up to now."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from features.store_plan import PLAN_FILE, StorePlan
from headrace.assembly import open_ledger, open_outbox
from headrace.settings import Settings
from headrace.shop_load import load_shop
from headrace.shop_source import MadeUpShop
from scoring.catalogue import Catalogue
from stream.connection import RedisConnection
from stream.log import Partition
from stream.records import Action, Item, decode

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def read(settings: Settings, topic: str) -> list[bytes]:
    with closing(open_outbox(settings)) as log:
        partitions = [Partition(topic, number) for number in range(settings.partitions)]
        return [message.value for each in partitions for message in log.read(each, 0, 100_000)]


def test_a_shop_is_loaded_whole_and_its_history_ends_now(redis_db: str, tmp_path: Path) -> None:
    StorePlan("headrace", "none", {}, {}).save(tmp_path / PLAN_FILE)
    settings = Settings({"home": str(tmp_path), "redis": redis_db}, environ={})
    shop = MadeUpShop(5, items=200, shoppers=150, days=3)
    loaded = load_shop(settings, shop, NOW)
    items: list[Item] = [decode(value, Item) for value in read(settings, "items")]
    actions: list[Action] = [decode(value, Action) for value in read(settings, "actions")]
    assert {item.item_id for item in items} == {item.item_id for item in shop.catalogue()}
    assert len(loaded.items) == len(items) > 150
    assert sorted(actions, key=lambda action: action.event_timestamp) == loaded.actions
    assert len(loaded.actions) > 500
    assert all(first.event_timestamp <= second.event_timestamp for first, second in pairwise(loaded.actions))
    ages = [NOW - action.event_timestamp for action in loaded.actions]
    assert timedelta() < min(ages) < timedelta(hours=1) < timedelta(days=2) < max(ages) < timedelta(days=3)
    first = loaded.actions[0]
    assert first.item_id in loaded.acted_on[first.user_id]
    with RedisConnection(redis_db) as connection:
        found = Catalogue(open_ledger(settings, connection)).find(items[0].item_id)
    assert found is not None and found.title == items[0].title


def test_a_shop_that_is_loaded_twice_has_each_item_once(redis_db: str, tmp_path: Path) -> None:
    StorePlan("headrace", "none", {}, {}).save(tmp_path / PLAN_FILE)
    settings = Settings({"home": str(tmp_path), "redis": redis_db}, environ={})
    shop = MadeUpShop(5, items=100, shoppers=20, days=1)
    load_shop(settings, shop, NOW)
    assert len(load_shop(settings, shop, NOW).items) == len(read(settings, "items"))
