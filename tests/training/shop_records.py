"""Actions, items and slates by the dozen, for tests of the sequence and of what follows it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import msgspec
import numpy as np

from models.batch_items import BatchItems, Neighbours
from scoring.sequenced import Adoption, RecommenderState
from stream.log import Message, message_of
from stream.records import Action, Item, Shown, Slate, encode
from stream.sequence import Sequenced

FIRST = datetime(2026, 3, 1, tzinfo=UTC)
Record = Action | Item | Slate


def action(number: int, kind: str = "click", slate: str | None = None, item: str | None = None) -> Action:
    """One of forty visitors does something with one of thirty items; neighbours in number are of one taste."""
    return Action(
        event_id=f"a{number}",
        event_timestamp=FIRST + timedelta(minutes=number),
        action=kind,
        user_id=f"u{number * 7 % 40}",
        item_id=item or f"i{(number * 7 % 40 + number // 40) % 30}",
        slate_id=slate,
    )


def item(number: int, deleted: bool = False, price: float = 5.0) -> Item:
    """What the catalogue says of an item."""
    return Item(
        event_id=f"c{number}-{deleted}-{price}",
        event_timestamp=FIRST,
        item_id=f"i{number}",
        deleted=deleted,
        title=None if deleted else f"Thing {number}",
        category=None if deleted else f"kind {number % 3}",
        price=None if deleted else price,
    )


def slate(number: int, items: Sequence[str], explored: int = -1) -> Slate:
    """A slate, with vectors that nobody but the archive needs."""
    places = [
        Shown(f"{name}", 0.5, "trending", "because", explored=place == explored, vector=[1.0] * 40)
        for place, name in enumerate(items)
    ]
    return Slate(
        event_id=f"s{number}",
        event_timestamp=FIRST + timedelta(minutes=number),
        user_id=f"u{number * 7 % 40}",
        items=places,
        vector=[1.0] * 30,
        definition_hash="h",
    )


def messages(records: Iterable[Record]) -> list[Message]:
    """As a log takes them."""
    return [message_of(record) for record in records]


def sequenced(records: Iterable[Record], first: int = 1) -> list[Sequenced]:
    """As entries of a sequence."""
    return [
        Sequenced(b"%d-0" % number, f"redis/{record.topic}/0", number, encode(record), number)
        for number, record in enumerate(records, first)
    ]


def nothing(version: str) -> bytes | None:
    return None


def applied(entries: list[Sequenced]) -> RecommenderState:
    state = RecommenderState()
    for entry in entries:
        state.apply(entry, nothing)
    return state


def a_day() -> list[Record]:
    """Items, what was shown and what was done, in one order."""
    records: list[Record] = [item(number) for number in range(20)]
    for number in range(300):
        if number % 10 == 0:
            records.append(slate(number, [f"i{(number + place) % 30}" for place in range(5)], explored=4))
        kind = ("click", "purchase", "hide")[number % 3]
        records.append(action(number, kind, f"s{number // 10 * 10}"))
    return [*records, item(3, deleted=True), item(4, price=9.0)]


def a_fit() -> bytes:
    first, items = np.array([0, 1, 2], dtype=np.int64), np.array([1, 0], dtype=np.int32)
    neighbours = Neighbours(first, items, np.array([0.5, 0.5], dtype=np.float32))
    return BatchItems("b1", 1, ("i1", "i2"), neighbours).encode()


def adoption(content: bytes, version: str = "b1") -> bytes:
    return msgspec.json.encode(Adoption(version, sha256(content).hexdigest(), 1))
