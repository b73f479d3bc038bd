"""What a shop was before it opened, as records of this installation: its catalogue, and its history in the log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec

from headrace.assembly import open_ledger, open_outbox
from headrace.recommend_load import load_into_log
from headrace.settings import Settings
from headrace.shop_source import Shop
from scoring.catalogue import Catalogue
from stream.connection import RedisConnection
from stream.records import Action, Item

CATALOGUE_BATCH = 500


class Loaded(NamedTuple):
    """What there was, and by visitor the items acted on."""

    items: list[Item]
    actions: list[Action]
    acted_on: dict[str, set[str]]


def load_shop(settings: Settings, shop: Shop, now: datetime | None = None) -> Loaded:
    """Put the catalogue, then append the history to the log, moved so that it ends now.

    Items go through the catalogue, as they would over HTTP, so that every process knows them. Raises the refusal of
    an item that was not taken.
    """
    shift = (now or datetime.now(UTC)) - shop.opens
    with RedisConnection(settings.redis) as connection:
        _put_all(Catalogue(open_ledger(settings, connection)), items := list(shop.catalogue()))
    acted_on: dict[str, set[str]] = {}
    actions = list(_moved(shop.history(), shift))
    for action in actions:
        if action.item_id is not None:
            acted_on.setdefault(action.user_id, set()).add(action.item_id)
    with closing(open_outbox(settings)) as log:
        load_into_log(log, actions)
    return Loaded(items, actions, acted_on)


def _put_all(catalogue: Catalogue, items: list[Item]) -> None:
    for first in range(0, len(items), CATALOGUE_BATCH):
        for said in catalogue.put(items[first : first + CATALOGUE_BATCH]):
            if isinstance(said, Exception):
                raise said


def _moved(history: Iterator[Action], shift: timedelta) -> Iterator[Action]:
    for action in history:
        yield msgspec.structs.replace(action, event_timestamp=action.event_timestamp + shift)
