"""A shop for tests: items, visitors and a sequence over a real Redis, and recommending as the service has it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from features.declared import FEATURE_SETS, pending
from features.online_store import RedisOnlineStore
from features.store_plan import StorePlan, ViewFields
from models.registry import Registry
from scoring.api import Answer
from scoring.catalogue import Catalogue
from scoring.item_table import ItemTable
from scoring.ledger import Ledger
from scoring.ranker_feed import RankerFeed
from scoring.recommend_api import RecommendApi
from scoring.recommend_bodies import Context, RecommendRequest
from scoring.recommender_feed import RecommenderFeed
from scoring.recommending import Recommending
from scoring.slate_file import load_slate_policy
from scoring.slate_log import SlateLog
from stream.connection import RedisConnection
from stream.records import Action, Item, Slate, encode
from stream.sequence import NO_MARK, Sequence

TTL_MS = 31 * 86_400_000
DEADLINE_MS = 60_000.0
"""Far more than an answer takes: these tests ask what it is, not how fast."""
ITEM_SOURCE, ACTION_SOURCE = "redis/items/0", "redis/actions/0"
PLAN = StorePlan(
    project="test",
    definition_hash="by hand",
    key_prefixes={entity: f"{entity}:".encode().hex() for one in FEATURE_SETS.values() for entity in one.entities},
    views={
        view.name: ViewFields(view.entity, f"{view.name}:state".encode().hex(), f"_ts:{view.name}")
        for one in FEATURE_SETS.values()
        for view in one.views
    },
)


def item(item_id: str, category: str | None = None, **fields: Any) -> Item:
    """One of the catalogue."""
    title = fields.pop("title", f"The {item_id}")
    return Item(
        event_id=f"put-{item_id}",
        event_timestamp=ago(days=9),
        item_id=item_id,
        title=title,
        category=category,
        **fields,
    )


def action(user_id: str, item_id: str, event_id: str = "", kind: str = "click", **fields: Any) -> Action:
    """What a user did just now, unless it says when."""
    moment = fields.pop("at", None) or ago(seconds=1)
    named = event_id or f"{kind}-{user_id}-{item_id}-{moment.timestamp()}"
    return Action(event_id=named, event_timestamp=moment, action=kind, user_id=user_id, item_id=item_id, **fields)


def ago(**length: float) -> datetime:
    return datetime.now(UTC) - timedelta(**length)


def sequenced(url: str, source: str, records: Iterable[Item | Action | Slate]) -> None:
    """Append records to the sequence as a sequencer would."""
    with RedisConnection(url) as connection:
        sequence = Sequence(connection)
        mark = sequence.marks().get(source, NO_MARK)
        payloads = list(enumerate(map(encode, records), mark + 1))
        for first in range(0, len(payloads), 500):
            some = payloads[first : first + 500]
            assert sequence.append(source, mark, some)
            mark = some[-1][0]


class Shop:
    """Recommending over one Redis, in this process. Two shops over one Redis are two processes of a service."""

    def __init__(self, url: str, home: Path, outbox: int = 10_000) -> None:
        self.url = url
        self.connection = RedisConnection(url)
        self.ledger = Ledger(self.connection, RedisOnlineStore(self.connection, PLAN, TTL_MS), 2, 60_000, outbox, 1000)
        self.feed = RecommenderFeed(url)
        store = RedisOnlineStore(RedisConnection(url), PLAN, TTL_MS)
        self.table = ItemTable(store, lambda: self.feed.ids)
        self.feed.touched, self.feed.renumbered = self.table.touch, self.table.forget
        self.rankers = RankerFeed(Registry(home))
        log = SlateLog(self.ledger, 60_000)
        self.recommending = Recommending(log, self.feed, self.table, lambda: self.rankers.current, load_slate_policy())
        self.api = RecommendApi(self.recommending, Catalogue(self.ledger), 60_000, DEADLINE_MS)

    def __enter__(self) -> Shop:
        self.catch_up()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.feed.stop()
        self.table.stop()
        self.connection.close()

    def catch_up(self) -> None:
        """Take in all of the sequence, and read the items' features."""
        while self.feed.refresh(block_ms=0):
            pass
        self.table.refresh()

    def accept(self, *actions: Action) -> None:
        """As POST /events does."""
        for one in actions:
            assert self.ledger.commit(one, pending(one)) == 0

    def slate(self, user_id: str = "", **fields: Any) -> Slate:
        """A slate, through the same call as the API's."""
        context = Context(**fields.pop("context", {}))
        request = (
            RecommendRequest(user_id=user_id, context=context, **fields)
            if user_id
            else RecommendRequest(context=context, **fields)
        )
        return self.recommending.recommend(request, DEADLINE_MS)

    def ids(self, user_id: str = "", **fields: Any) -> list[str]:
        """The items of a slate."""
        return [one.item_id for one in self.slate(user_id, **fields).items]


def body_of(answer: Answer, status: int = 200) -> Any:
    """What was answered."""
    assert answer.status == status, answer.body
    return msgspec.json.decode(answer.body)
